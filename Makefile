# CAM-OS Edge. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GOOS_ARCHES := amd64 arm64
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.buildVersion=$(VERSION)
GOTOOL := go tool -modfile=tools.mod
STATE ?= ./var
LAB := cd packaging/lab && go test -tags lab -count=1 -timeout 30m
LAB_CORE := 10-install 15-tpm 20-agents 30-restart 50-reload 80-upgrade 90-purge
# Coverage of hand-written code must not sink below this.
COVERAGE_FLOOR := 85

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/cam-node (static) and its link bin/camctl
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/cam-node ./cmd/cam-node
	@ln -sf cam-node bin/camctl

.PHONY: cross
cross: ## Build for every architecture that we ship
	@for arch in $(GOOS_ARCHES); do \
	  echo "bin/cam-node-linux-$$arch"; \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -ldflags '$(LDFLAGS)' -o bin/cam-node-linux-$$arch ./cmd/cam-node; \
	done

.PHONY: packages
packages: ## Build .deb and .rpm for every architecture, into dist/
	@packaging/build.sh dist $(GOOS_ARCHES)

.PHONY: check-packages
check-packages: ## Build the packages twice, and hold them to what they promise
	@packaging/check.sh dist

.PHONY: run
run: build ## Build and run the node here, state in ./var (ARGS="--metrics-address localhost:9500" adds flags)
	@mkdir -p $(STATE)
	exec bin/cam-node run --state-dir $(STATE) --socket $(STATE)/cam.sock $(ARGS)

.PHONY: demo
demo: build ## Two agents on simulated power: what the node charges beside the truth
	exec packaging/demo/demo.sh

.PHONY: setup
setup: ## Install what the tests need (as root; otherwise say what is missing)
	@.ci/setup

.PHONY: test
test: setup build lint generated cross unit kernels check-packages lab-core ## Everything: lint, generated files, tests, older kernels, packages, a device

.PHONY: unit
unit: ## Go tests with coverage, on this kernel
	@.ci/unit $(COVERAGE_FLOOR)

.PHONY: kernels
kernels: ## The sensor's tests on Debian's older kernels, in guests
	@packaging/lab/kernels/run.sh

.PHONY: lab
lab: setup ## Install on a virtual device, run the scenarios, cut its power
	@$(LAB)

.PHONY: lab-core
lab-core: setup ## The scenarios that matter most, on one boot, and ten power cuts
	@export CAM_LAB_SCENARIOS='$(LAB_CORE:%=scenarios/%.txtar)'; $(LAB) -run 'TestScenarios|TestPowerCut'

.PHONY: lab-all
lab-all: ## The same on every kernel and architecture, with 200 power cuts; writes packaging/lab/RESULTS.md
	@.ci/setup lab-all
	@packaging/lab/all.sh

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, gosec, buf lint
	@unformatted="$$(gofmt -l $$(git ls-files '*.go'))"; \
	  if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	GOARCH=arm64 go vet ./...
	go vet -tags lab ./packaging/lab/...
	$(GOTOOL) staticcheck ./...
	$(GOTOOL) gosec -quiet -severity medium -exclude-generated ./...
	$(GOTOOL) buf lint

.PHONY: generate
generate: ## Make the BPF objects and the protobuf code anew
	go generate ./ebpf/... ./store/...
	$(GOTOOL) buf generate

.PHONY: generated
generated: ## Check that generated files are what their sources give
	@.ci/generated

.PHONY: bench
bench: build ## What it costs; writes bench/RESULTS.md
	@bench/run.sh

.PHONY: clean
clean: ## Remove what was built (not ./var)
	rm -rf bin dist coverage.*
