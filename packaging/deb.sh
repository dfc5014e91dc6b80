#!/usr/bin/env bash
# Packs a binary as a .deb: deb.sh BINARY ARCHITECTURE VERSION DIRECTORY. The same input gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")"
binary=$1 architecture=$2 version=$3 out=$4

# A pre-release sorts before its release: 1.2.0~rc.1.
version=${version#v}
version=${version/-/\~}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"
install -D -m 0755 "$binary" "$root/usr/bin/notepay"
install -D -m 0644 notepay.service "$root/lib/systemd/system/notepay.service"
doc=$root/usr/share/doc/notepay
install -D -m 0644 ../LICENSE "$doc/copyright"
install -m 0644 ../README.md ../CHANGELOG.md "$doc"
install -m 0644 ../.env.example "$doc/env.example"
mkdir "$root/DEBIAN"
install -m 0755 deb/postinst deb/prerm deb/postrm "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: notepay
Version: $version
Architecture: $architecture
Maintainer: The notepay maintainers <maintainers@notepay.invalid>
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f1)
Depends: passwd
Recommends: ca-certificates
Section: net
Priority: optional
Description: starts machines that customers pay for
 A customer scans the sticker on a machine, pays on Stripe's page, and the
 machine starts through Blues Notehub, or the money comes back.
CONTROL
find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:?}" {} +
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/notepay_${version}_$architecture.deb" >/dev/null
