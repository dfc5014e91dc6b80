.PHONY: demo build test race histories postgres mutants contract check fuzz kill chaos storm movetest upgradetest bench sustain help

demo:  ## the whole system on this machine, simulated: prints a URL to scan and to pay
	@go build -o bin/notepay-demo . && exec bin/notepay-demo demo

# These packages are large and seldom on the hot path: without inlining, the binary is a megabyte smaller.
BUILDFLAGS = -trimpath -ldflags=-s\ -w\ -funcalign=8 -gcflags=github.com/stripe/stripe-go/...=-l -gcflags=github.com/jackc/...=-l -gcflags=github.com/VictoriaMetrics/...=-l -gcflags=golang.org/x/text/...=-l -gcflags=golang.org/x/oauth2/...=-l -gcflags=crypto/x509=-l -gcflags=crypto/tls=-l -gcflags=encoding/asn1=-l -gcflags=regexp/syntax=-l -gcflags=encoding/xml=-l -gcflags=text/template/...=-l -gcflags=html/template=-l -gcflags=math/big=-l -gcflags=golang.org/x/crypto/...=-l -gcflags=notepay/internal/certs=-l -gcflags=notepay/internal/sandbox=-l -gcflags=notepay/internal/demo=-l -gcflags=notepay/internal/setup=-l -gcflags=notepay/internal/check=-l -gcflags=notepay/internal/config=-l -gcflags=notepay/internal/web/console=-l -gcflags=notepay/internal/app=-l -gcflags=notepay/internal/web/customer=-l -gcflags=notepay/internal/checkout=-l -gcflags=notepay/internal/web/api=-l -gcflags=notepay/internal/backup=-l -gcflags=notepay/internal/alert=-l -gcflags=notepay/internal/notify=-l -gcflags=net/smtp=-l -gcflags=notepay/internal/demo/launch=-l -gcflags=golang.org/x/net/...=-l -gcflags=image/...=-l -gcflags=mime/...=-l -gcflags=compress/...=-l -gcflags=github.com/caarlos0/...=-l -gcflags=github.com/joho/...=-l -gcflags=rsc.io/qr/...=-l -gcflags=notepay/internal/listen=-l -gcflags=notepay/internal/problem=-l -gcflags=vendor/golang.org/x/net/...=-l -gcflags=vendor/golang.org/x/text/...=-l -gcflags=os=-l -gcflags=database/sql=-l -gcflags=log/slog=-l -gcflags=notepay/internal/notehub=-l -gcflags=notepay/internal/metrics=-l

OUTPUT ?= notepay
build: ## one static binary: ./notepay
	CGO_ENABLED=0 go build $(BUILDFLAGS) -o $(OUTPUT) .

# The longest run first, so that they share the processors with the others.
PACKAGES = ./tests/process ./tests/stories ./...

test:  ## all tests but those below; needs nothing but Go, three minutes on two cores
	go test -shuffle=on -parallel 16 $(PACKAGES)

race:  ## the same tests with the race detector; needs a C compiler
	go test -race -shuffle=on -parallel 16 -timeout 25m $(PACKAGES)

# Gives a command a PostgreSQL server of its own, where one is installed. Elsewhere the tests that need one are skipped.
POSTGRES = $(if $(wildcard /usr/lib/postgresql/*/bin/initdb),tests/postgres.sh)

HISTORIES ?= 100000
REALHISTORIES ?= 1000
histories: ## HISTORIES random payments end as promised, and REALHISTORIES with a ledger and vendors, in some seven minutes
	NOTEPAY_HISTORIES=$(HISTORIES) NOTEPAY_REAL_HISTORIES=$(REALHISTORIES) go test -timeout 60m -count=1 -run 'Histories|Shelf' ./internal/bridge ./tests/stories

postgres: ## the tests that need a PostgreSQL server, on one of their own (Debian: apt-get install postgresql pgbouncer)
	tests/postgres.sh go test -race -count=1 -parallel 8 -run 'Postgres|Instance' ./internal/ledger ./internal/bridge ./tests/process

mutants: ## each guard is taken away in turn, and its test must fail; half an hour on two cores
	NOTEPAY_MUTANTS=1 go test -count=1 -timeout 90m -run TestMutants ./tests/mutants

contract: ## notepay against what Stripe and Notehub publish, Stripe's tool and a browser; tests/contract/doc.go says what it needs
	cd tests/contract && go test -race -shuffle=on -parallel 8 -count=1 ./... # not from the cache, which does not see notepay's own files

check: ## formatting, vet, staticcheck, spelling, and the rules for text and layout
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	cd tests/contract && go vet ./... && go tool -modfile=../../tools/go.mod staticcheck ./...
	git ls-files '*.go' '*.md' '*.html' '*.yml' .env.example ':!tests/prose' | xargs go tool -modfile=tools/go.mod misspell -locale US -i lustre -error
	go test ./tests/prose

FUZZTIME ?= 60s
fuzz:  ## each fuzz target in turn, FUZZTIME each
	@grep -rE --include='*_test.go' '^func Fuzz' --exclude-dir=contract . | sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z]*).*|\1 \2|' | \
		while read -r dir target; do go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null || exit 1; done

KILLTIME ?= 90s
kill:  ## the service is killed again and again for KILLTIME, and nothing may be lost
	NOTEPAY_KILL_TIME=$(KILLTIME) go test -race -count=1 -timeout 0 -run TestKill -v ./tests/process

CHAOSTIME ?= 90s
chaos: ## a third of all calls fails, events are lost, machines break, the service is killed and its database crashes for CHAOSTIME: every payment comes to its end
	NOTEPAY_CHAOS_TIME=$(CHAOSTIME) $(POSTGRES) go test -race -count=1 -timeout 0 -parallel 5 -run '^TestChaos$$' -v ./tests/process

STORMTIME ?= 60s
storm: ## three instances share a PostgreSQL server, directly and through pgbouncer; they are killed, the server crashes and the lead changes for STORMTIME; then each change is seen at all within 250 ms
	NOTEPAY_STORM_TIME=$(STORMTIME) tests/postgres.sh go test -race -count=1 -timeout 0 -run '^TestInstances(StormBehindAPooler|WithoutALeader)?$$' -v ./tests/process
	NOTEPAY_STORM_TIME=$(STORMTIME) tests/postgres.sh go test -count=1 -parallel 1 -run '^TestInstances(SeeEachOther|ShowEachOthersPayments)$$' -v ./tests/process

MOVEPAYMENTS ?= 100000
movetest: ## a ledger with MOVEPAYMENTS payments moves from SQLite to PostgreSQL within a minute, is killed ten times on the way, and is equal in the end
	NOTEPAY_MOVE_PAYMENTS=$(MOVEPAYMENTS) tests/postgres.sh go test -count=1 -timeout 60m -run '^TestPostgresMoveKilled$$' -v ./tests/process

UPGRADEPAYMENTS ?= 500000
upgradetest: ## two instances are under load while a newer one changes a schema with UPGRADEPAYMENTS payments
	NOTEPAY_UPGRADE_PAYMENTS=$(UPGRADEPAYMENTS) POSTGRES_FSYNC=on tests/postgres.sh go test -count=1 -timeout 30m -run '^TestInstancesUpgrade$$' -v ./tests/process

BASE ?=
PART ?=
ROUNDS ?= 8
bench: ## the figures of docs/performance.md, measured again on a machine that does nothing else; PART=webhook,wire measures these only, BASE=commit compares with a commit in ROUNDS pairs
ifeq ($(BASE),)
	NOTEPAY_BENCH=1 NOTEPAY_BENCH_PART="$(PART)" POSTGRES_FSYNC=on $(POSTGRES) go test -count=1 -timeout 60m -run '^TestBench$$' -v ./tests/bench
	@cat docs/performance.md
else
	NOTEPAY_BENCH_BASE="$(BASE)" NOTEPAY_BENCH_PART="$(PART)" NOTEPAY_BENCH_ROUNDS=$(ROUNDS) go test -count=1 -timeout 60m -run '^TestPairs$$' -v ./tests/bench
endif

SUSTAINTIME ?= 10m
sustain: ## notepay takes half of its highest rate for SUSTAINTIME: memory stays flat, the log bounded, and the webhook's p99 is printed as a series
	NOTEPAY_SUSTAIN_TIME=$(SUSTAINTIME) go test -count=1 -timeout 0 -run '^TestSustained$$' -v ./tests/bench

help:  ## this list
	@grep -hE '^[a-z]+: +##' $(MAKEFILE_LIST) | sed 's/: *##/:/'

.PHONY: firmware firmwarefuzz
firmware: ## the firmware for Notecard hosts; needs gcc, node and Debian's gcc-avr avr-libc arduino-core-avr gcc-arm-none-eabi
	tests/firmware/run.sh

firmwarefuzz: ## 3,000,000 mutated lines through the firmware's reader
	tests/firmware/run.sh fuzz

.PHONY: release reproducible debtest
RELEASE ?= bin/release
release: ## the files of a release in RELEASE (bin/release): binaries, .deb, checksums; SIGN_KEY signs them
	packaging/release.sh $(RELEASE)

reproducible: ## two builds of a release are the same, byte for byte; the second is built elsewhere and from nothing
	tests/reproducible.sh

debtest: $(if $(wildcard $(RELEASE)),,build)
debtest: ## the Debian package of RELEASE, or else of this tree, in an empty Debian, and an owner's story there; needs root, mmdebstrap and Chromium
	timeout --kill-after=30 900 packaging/deb_test.sh $(or $(wildcard $(RELEASE)),$(OUTPUT))

.PHONY: vulncheck
vulncheck: ## known vulnerabilities of what is linked in; needs vuln.go.dev, so it is not part of make check
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

.PHONY: years
YEARS ?= 10000000
years: ## a SQLite ledger with YEARS payments starts within a second; needs 10 GB
	NOTEPAY_YEARS=$(YEARS) go test -count=1 -timeout 60m -run '^TestYears$$' -v ./tests/bench
