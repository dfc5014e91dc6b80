#!/usr/bin/env bash
# Installs, upgrades, removes and purges the Debian package in an empty Debian system: deb_test.sh PROGRAM, or the directory of a
# release. Then the story of an owner in another one: TestDebian of tests/contract, in a network of its own.
#
# It needs root, namespaces, mmdebstrap, Chromium, curl and the Debian mirror that apt uses here. Without a mirror or namespaces it is
# skipped, or fails if NOTEPAY_REQUIRE=1. NOTEPAY_CHROOT names a tar of an empty system that mmdebstrap made, which needs no mirror. NOTEPAY_PREVIOUS
# names the program of an older commit, from which the story upgrades instead of from this one.
set -euo pipefail
binary=$(realpath "$1")
[ ! -d "$binary" ] || binary=$(ls "$binary"/notepay_*_linux_amd64)
previous=${NOTEPAY_PREVIOUS:+$(realpath "$NOTEPAY_PREVIOUS")}
chroot=${NOTEPAY_CHROOT:+$(realpath "$NOTEPAY_CHROOT")}
cd "$(dirname "$0")"
suite=bookworm
skip() {
	echo "skipped: $*"
	[ "${NOTEPAY_REQUIRE:-}" != 1 ]
	exit
}
unshare --net --mount --pid --fork true 2>/dev/null || skip "this system lets nobody make namespaces, so nothing was installed"
if [ -z "$chroot" ]; then
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
	mirror=${mirror%/}
	if ! curl --silent --fail --max-time 20 --output /dev/null "$mirror/dists/$suite/Release"; then
		skip "no Debian mirror is reachable, so nothing was installed"
	fi
fi
work=$(mktemp -d)
server= service= builds=
cleanup() {
	for process in $server $service $builds; do kill "$process" 2>/dev/null || true; done
	umount "$work/root/proc" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work/root"

# The packages are built meanwhile. The next version is the same program with a higher number, so that only the packaging is under
# test.
export SOURCE_DATE_EPOCH=1700000000
(
	./deb.sh "$binary" amd64 v0.1.0 "$work"
	./deb.sh "$binary" amd64 v0.2.0 "$work"
	./deb.sh /bin/true amd64 v0.2.0-rc.1 "$work" # only its name counts
	mkdir "$work/previous"
	cp "$work/notepay_0.1.0_amd64.deb" "$work/previous"
	[ -z "$previous" ] || ./deb.sh "$previous" amd64 v0.1.0 "$work/previous"
	cd ../tests/contract
	go test -c -o "$work/contract.test" .
) &
builds=$!
if [ -n "$chroot" ]; then
	tar -C "$work/root" -xzf "$chroot"
else
	mmdebstrap --quiet --variant=minbase "$suite" "$work/root" "$mirror" || skip "the mirror gave no whole Debian"
	echo "an empty Debian after $SECONDS s"
fi
wait "$builds"
builds=
cp -a "$work/root" "$work/story"
mount -t proc proc "$work/root/proc"
inside() { chroot "$work/root" "$@"; }
fail() { echo "failed: $*"; exit 1; }
before=$(inside find /etc /usr /lib/systemd /var/lib/notepay -path '*notepay*' 2>/dev/null || true)
[ -z "$before" ] || fail "the empty system has $before"

[ -f "$work/notepay_0.2.0~rc.1_amd64.deb" ] || fail "a pre-release has the wrong version"
dpkg --compare-versions 0.2.0~rc.1 lt 0.2.0 || fail "a pre-release is newer than its release"
cp "$work"/*.deb "$work/root/tmp"

inside dpkg -i /tmp/notepay_0.1.0_amd64.deb
inside getent passwd notepay >/dev/null || fail "no user"
[ "$(inside stat -c '%a %U' /etc/notepay/env)" = "600 root" ] || fail "others can read the settings"
[ "$(inside stat -c '%a %U' /var/lib/notepay)" = "700 notepay" ] || fail "others can read the ledger"
inside notepay version | grep -q '^notepay ' || fail "the program does not run"
[ -f "$work/root/lib/systemd/system/notepay.service" ] || fail "no unit"
inside dpkg -V notepay

# The service runs as its own user against the simulated vendors, with settings in the package's file.
(cd "$work" && PORT=3987 DEMO_PORT=0 exec "$binary" demo --keep world) >"$work/demo" &
server=$!
for _ in $(seq 100); do [ -s "$work/world/.env" ] && break; sleep 0.1; done
cat "$work/world/.env" >>"$work/root/etc/notepay/env"
start() {
	# Not by the function inside, whose process in the background would be the shell's.
	chroot "$work/root" setpriv --reuid notepay --regid notepay --clear-groups env -i $(grep -v '^#' "$work/root/etc/notepay/env" | tr -d ' ') \
		sh -c 'cd /var/lib/notepay && exec notepay serve' >>"$work/serve" 2>&1 &
	service=$!
	for _ in $(seq 100); do curl -sf http://127.0.0.1:3987/health >/dev/null && return; sleep 0.1; done
	cat "$work/serve"
	fail "the service does not start"
}
start
inside notepay health >/dev/null || fail "notepay health does not reach the service"
inside test -s /var/lib/notepay/notepay.db || fail "the ledger is not where the package wants it"

settings=$(inside sha256sum /etc/notepay/env)
inside dpkg -i /tmp/notepay_0.2.0_amd64.deb
[ "$settings" = "$(inside sha256sum /etc/notepay/env)" ] || fail "the upgrade changed the settings"
kill "$service" && wait "$service" || fail "the service does not stop in order"
start
kill "$service" && wait "$service" || fail "the upgraded service does not stop in order"

inside dpkg -r notepay
inside test -s /etc/notepay/env || fail "removing removed the settings"
inside dpkg -P notepay
left=$(inside find /etc /usr /lib/systemd /var/lib/notepay -path '*notepay*' 2>/dev/null || true)
[ -z "$left" ] || fail "purging left $left"
! inside getent passwd notepay >/dev/null || fail "purging left the user"
inside sh -c 'test -s /var/backups/notepay-*/notepay.db' || fail "purging removed the record of payments"
echo "installed, upgraded, removed and purged after $SECONDS s"

mv "$work/previous/notepay_0.1.0_amd64.deb" "$work/story/tmp/previous.deb"
mv "$work/notepay_0.2.0_amd64.deb" "$work/story/tmp/next.deb"
cd ../tests/contract # where the test reads the module's files
export NOTEPAY_BINARY=$binary NOTEPAY_DEBIAN=$work/story NOTEPAY_REQUIRE=1
# All processes and mounts end with the namespaces.
timeout --kill-after=10 300 unshare --net --mount --pid --fork --kill-child sh -c '
	ip link set lo up
	mount -t proc proc /proc
	mount -t proc proc "$NOTEPAY_DEBIAN/proc"
	exec "$0" -test.run "^TestDebian$" -test.v -test.timeout 280s' "$work/contract.test"
echo "done after $SECONDS s"
