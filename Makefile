.PHONY: demo build test race histories postgres mutants contract check fuzz kill chaos bench help

demo:  ## the whole system on this machine, simulated: prints a URL to scan and to pay
	go run . demo

# These packages are large and seldom on the hot path: without inlining, the binary is a megabyte smaller.
BUILDFLAGS = -trimpath -ldflags=-s\ -w -gcflags=github.com/stripe/stripe-go/v82=-l -gcflags=github.com/jackc/pgx/v5/pgtype=-l -gcflags=google.golang.org/protobuf/...=-l -gcflags=notepay/internal/sandbox=-l -gcflags=notepay/internal/demo=-l

build: ## one static binary: ./notepay
	CGO_ENABLED=0 go build $(BUILDFLAGS) -o notepay .

test:  ## all tests but those below; needs nothing but Go, three minutes on two cores
	go test -shuffle=on -parallel 16 ./...

race:  ## the same tests with the race detector; needs a C compiler
	go test -race -shuffle=on -parallel 16 -timeout 15m ./...

HISTORIES ?= 100000
histories: ## HISTORIES random payments end as promised
	NOTEPAY_HISTORIES=$(HISTORIES) go test -count=1 -run 'Histories|Shelf' ./internal/bridge ./tests/stories

postgres: ## the tests that need a PostgreSQL server, on one of their own (Debian: apt-get install postgresql)
	tests/postgres.sh go test -race -count=1 -parallel 8 -run Postgres ./internal/ledger ./tests/process

mutants: ## each guard is taken away in turn, and its test must fail; two minutes on two cores
	NOTEPAY_MUTANTS=1 go test -count=1 -timeout 20m -run TestMutants ./tests/mutants

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
chaos: ## a third of all calls fails, events are lost, machines break and the service is killed for CHAOSTIME: every payment comes to its end
	NOTEPAY_CHAOS_TIME=$(CHAOSTIME) go test -race -count=1 -timeout 0 -run '^TestChaos$$' -v ./tests/process

bench: ## the figures of docs/performance.md, measured anew on this machine; ten minutes in which it should do nothing else
	NOTEPAY_BENCH=1 go test -count=1 -timeout 20m -run '^TestBench$$' -v ./tests/bench
	@cat docs/performance.md

help:  ## this list
	@grep -hE '^[a-z]+: +##' $(MAKEFILE_LIST) | sed 's/: *##/:/'

.PHONY: firmware firmwarefuzz
firmware: ## the firmware for Notecard hosts; needs gcc, node and Debian's gcc-avr avr-libc arduino-core-avr gcc-arm-none-eabi
	tests/firmware/run.sh

firmwarefuzz: ## 3,000,000 mutated lines through the firmware's reader
	tests/firmware/run.sh fuzz
