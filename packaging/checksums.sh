#!/usr/bin/env bash
# Writes the checksums of all files in a directory: checksums.sh DIRECTORY. SIGN_KEY=FILE signs them with an SSH key of the maintainer.
set -euo pipefail
cd "$1"
rm -f SHA256SUMS SHA256SUMS.sig
sums=$(sha256sum -- *)
echo "$sums" >SHA256SUMS
if [ -n "${SIGN_KEY:-}" ]; then
	ssh-keygen -q -Y sign -f "$SIGN_KEY" -n notepay SHA256SUMS
fi
