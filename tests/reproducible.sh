#!/usr/bin/env bash
# Builds a release twice, the second time from a clone in another directory and with an empty build cache, and compares all files.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
packaging/release.sh "$work/first" >/dev/null
echo "built after $SECONDS s"
git clone -q . "$work/elsewhere"
GOCACHE=$work/cache "$work/elsewhere/packaging/release.sh" "$work/second" >/dev/null
echo "built from nothing after $SECONDS s"
diff -r "$work/first" "$work/second"
echo "the same, byte for byte:"
cat "$work/first/SHA256SUMS"
