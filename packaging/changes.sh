#!/usr/bin/env bash
# Prints the part of the changelog about a version: changes.sh VERSION <CHANGELOG.md. A commit between two releases has the part
# about what is not released yet.
set -euo pipefail
version=${1#v}
wanted=$version
if [[ $version =~ [.-]0\.[0-9]{14}- || $version == 0.0.0-[0-9]* ]]; then # Go derived it from a commit without a tag
	wanted=Unreleased
fi
awk -v wanted="$wanted" '
	/^## / { on = $2 == wanted }
	on { print; lines += NF > 0 }
	END { exit lines < 2 }' || { echo "CHANGELOG.md says nothing about $wanted" >&2; exit 1; }
