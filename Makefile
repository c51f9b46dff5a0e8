# Two commands matter: `make demo` shows the whole product on synthetic births, `make test` proves it.
GO      ?= go
BIN     := $(CURDIR)/bin
TOOLS   := $(CURDIR)/.tools
DATA    ?= data
ORDERERS ?= 1
LINT    := $(TOOLS)/golangci-lint
LINT_VERSION := v2.15.0

export CGO_ENABLED ?= 0

.PHONY: build demo dist test-dist test-upgrade test test-tools fabric-up fabric-down race lint bench soak clean

build:
	$(GO) build -trimpath -o $(BIN)/elicence ./cmd/elicence

demo: build
	$(BIN)/elicence demo --births testdata/births/births.jsonl --data $(DATA)

# One archive a processor, for machines without a network: docs/operations.md, “Install”.
dist:
	sh scripts/dist.sh

# What an administrator does with an archive, and the way to a newer program and back.
test-dist:
	sh scripts/test-dist.sh

test-upgrade:
	sh scripts/test-upgrade.sh

# What the tests need from Debian is installed first; where that cannot be, the script says what is missing.
test-tools:
	sh scripts/test-tools.sh

test: test-tools
	sh scripts/test.sh

# A Hyperledger Fabric network of commission, police and archive on this machine, in data/fabric. ORDERERS=3 for three.
fabric-up:
	sh scripts/fabric-tools.sh
	$(GO) run ./ledger/fabric/network/lab --orderers $(ORDERERS) up

fabric-down:
	$(GO) run ./ledger/fabric/network/lab down

$(LINT):
	mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

lint: $(LINT)
	test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt these:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(LINT) run ./...
	$(LINT) run --build-tags fabricsdk ./ledger/fabric/...

bench: build
	$(BIN)/elicence bench issue -n 2000
	$(BIN)/elicence bench render -n 2000
	$(BIN)/elicence bench sign -n 2000
	$(BIN)/elicence bench verify -n 2000

# The large counts: hours of kills, fuzzing and growth. docs/performance.md keeps the last result.
soak: build test-tools
	sh scripts/soak.sh

clean:
	rm -rf $(BIN) $(TOOLS) reports dist
