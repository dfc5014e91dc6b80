#!/usr/bin/env bash
# sign_test.sh builds sign_test.c, runs it and compares HMACs of many lengths with openssl's.
#
# Copyright (c) 2026 the notepay authors
# SPDX-License-Identifier: MIT
set -euo pipefail
cd "$(dirname "$0")"
src=../../../firmware/notepay/src
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
gcc -std=c99 -Wall -Wextra -Wconversion -Werror -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-DNOTEPAY_SIGN -I.. -I$src sign_test.c ../world.c $src/notepay.c -o "$out/sign"
"$out/sign"
for n in 0 1 37 52 53 54 55 56 57 61 62 63 64 65 100 119 120 128 200; do
	key=$(openssl rand -hex 32)
	text=$(openssl rand -hex 100)
	text=${text:0:n}
	want=$(printf %s "$text" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" | awk '{ print $NF }')
	got=$("$out/sign" "$key" "$text")
	if [ "$got" != "$want" ]; then
		echo "FAIL: the HMAC of $n bytes is $got; openssl says $want"
		exit 1
	fi
done
echo "ok: HMACs of 19 lengths agree with openssl's"
