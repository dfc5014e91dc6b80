#!/usr/bin/env bash
# Builds the files of a release into a directory: release.sh DIRECTORY. The version is the tag of the commit, or one that Go
# derives from the commit. The same commit gives the same bytes on every computer.
#
# SIGN_KEY=FILE signs the checksums with an SSH key of the maintainer.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
key=${SIGN_KEY:+$(realpath "$SIGN_KEY")}
cd "$(dirname "$0")/.."
[ -z "$(ls -A "$out")" ] || { echo "$out is not empty"; exit 1; }
[ -z "$(git status --porcelain)" ] || { echo "a release is a commit, and these changes are in none:"; git status --short; exit 1; }

# Go finds no version in a linked work tree, and files that Git ignores are in no clone.
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
git clone -q . "$source"
cd "$source"

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH CGO_ENABLED=0 GOFLAGS=-buildvcs=true GOTOOLCHAIN=local
go=$(go env GOVERSION)
[ "$go" = "${RELEASE_GO:-$go}" ] || { echo "a release is built with $RELEASE_GO, not $go"; exit 1; }
go build -trimpath -o "$out/probe" ./packaging/version
version=$("$out/probe")
rm "$out/probe"
packaging/changes.sh "$version" <CHANGELOG.md >"$out/CHANGES.md"

for target in linux/amd64 linux/arm64 linux/arm/7 darwin/amd64 darwin/arm64 windows/amd64; do
	IFS=/ read -r os arch arm <<<"$target"
	suffix=
	[ "$os" != windows ] || suffix=.exe
	binary=$out/notepay_${version}_${os}_$arch${arm:+v$arm}$suffix
	GOOS=$os GOARCH=$arch GOARM=$arm make --no-print-directory -s build OUTPUT="$binary"
	# What is in it, in the CycloneDX format, from what the linker wrote into the binary.
	go version -m "$binary" | awk -v version="$version" '
		BEGIN { printf "{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\"metadata\":{\"component\":" \
			"{\"type\":\"application\",\"name\":\"notepay\",\"version\":\"%s\"}},\"components\":[", version }
		NR == 1 { printf "{\"type\":\"platform\",\"name\":\"go\",\"version\":\"%s\"}", $NF }
		$1 == "dep" { printf ",\n{\"type\":\"library\",\"name\":\"%s\",\"version\":\"%s\",\"purl\":\"pkg:golang/%s@%s\"}", $2, $3, $2, $3 }
		END { print "]}" }' >"$binary.sbom.json"
	case $target in
	linux/amd64) packaging/deb.sh "$binary" amd64 "$version" "$out" ;;
	linux/arm64) packaging/deb.sh "$binary" arm64 "$version" "$out" ;;
	linux/arm/7) packaging/deb.sh "$binary" armhf "$version" "$out" ;;
	esac
done

SIGN_KEY=$key packaging/checksums.sh "$out"
ls -l "$out"
