#!/usr/bin/env bash
# Starts a PostgreSQL of its own on loopback, runs a command with its URL in NOTEPAY_TEST_POSTGRES, and removes it afterwards:
#
#   tests/postgres.sh go test ./internal/ledger
#   tests/postgres.sh -     reads verbs from standard input and answers each with a line: stop, restart, crash, promote, hang, resume. It ends with its input.
#
# The server does not wait for its disk, unless POSTGRES_FSYNC=on.
# It needs the server's programs (Debian: apt-get install postgresql). PostgreSQL refuses to run as root, so root starts it as "postgres".
set -euo pipefail

bin=${POSTGRES_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
[ -n "$bin" ] || bin=$(dirname "$(command -v initdb)") || { echo "no PostgreSQL server is installed" >&2; exit 1; }
as=()
if [ "$(id -u)" = 0 ]; then
	as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/notepay-postgres-XXXXXX")
chmod 755 "$dir"
[ "${#as[@]}" = 0 ] || chown postgres "$dir"
ctl() { (cd "$dir" && "${as[@]}" "$bin/pg_ctl" -D "$dir/data" -s -w -t 30 -m fast -l "$dir/server.log" "$@" </dev/null); }
begin() { ctl -o "-h 127.0.0.1 -p $port -k '$dir' -c fsync=${POSTGRES_FSYNC:-off} -c max_connections=400" start; }
servers() { # the first process and its children
	local first
	first=$(head -1 "$dir/data/postmaster.pid")
	echo "$first" "$(cat "/proc/$first/task/$first/children")"
}
remove() {
	if [ -f "$dir/data/postmaster.pid" ]; then
		kill -CONT $(servers) 2>/dev/null || true
		ctl -m immediate stop || true
	fi
	rm -rf "$dir"
}
trap remove EXIT
trap 'exit 1' HUP INT TERM

(cd "$dir" && "${as[@]}" "$bin/initdb" -D data -U notepay -A trust -E UTF8 --locale=C -N) >"$dir/initdb.log" || { cat "$dir/initdb.log" >&2; exit 1; }
for attempt in 1 2 3 4 5; do # another program may take the port meanwhile
	port=$((20000 + RANDOM % 10000))
	if begin; then
		break
	fi
	[ "$attempt" != 5 ] || { cat "$dir/server.log" >&2; exit 1; }
done
export NOTEPAY_TEST_POSTGRES="postgres://notepay@127.0.0.1:$port/postgres"

if [ "${1-}" != - ]; then
	"$@"
	exit
fi
echo "$NOTEPAY_TEST_POSTGRES"
while read -r verb; do
	case $verb in
	stop) ctl stop ;;
	restart) ctl restart ;;
	crash) # every process of the server dies, and it recovers from its log
		ctl -m immediate stop
		begin
		;;
	promote) # as a replica is
		ctl stop
		"${as[@]}" touch "$dir/data/standby.signal"
		begin
		ctl promote
		;;
	hang) kill -STOP $(servers) ;;
	resume) kill -CONT $(servers) ;;
	*) echo "unknown verb: $verb" >&2; exit 2 ;;
	esac
	echo "$verb"
done
