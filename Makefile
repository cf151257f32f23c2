# captioner: `make run` shows the whole pipeline at work, `make test` runs every test.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
BRANCH := $(shell git symbolic-ref --short -q HEAD 2>/dev/null)
DATA_DIR ?= data

# The flags that bind the engine to TensorFlow. The recipe's shell asks for the
# folder, so that only targets that need TensorFlow fetch it. Changing a flag
# makes cgo compile the binding again.
TENSORFLOW := tf="$$(tools/tensorflow)"; \
	export CGO_ENABLED=1 CGO_CFLAGS="-I$$tf/include" \
	CGO_LDFLAGS="-L$$tf/lib -Wl,-rpath,$$tf/lib -Wl,-rpath,\$$ORIGIN/../lib -ltensorflow -ltensorflow_framework" \
	TF_CPP_MIN_LOG_LEVEL=2;

# What the tests of the whole system start.
BINARIES := temporal="$$(tools/temporal)"; \
	export CAPTIONER_BINARY="$(CURDIR)/bin/captioner" CAPTIONER_ENGINE="$(CURDIR)/bin/captioner-engine" \
	CAPTIONER_TEMPORAL="$$temporal" CAPTIONER_FAILPOINT_BINARIES="$(CURDIR)/bin/failpoints";

# Packages whose tests link TensorFlow, and the others that need no built program.
TEST_BINARIES := go list -test -f '{{.ImportPath}} {{join .Deps " "}}' ./... | grep '^[^ ]*\.test '
ENGINE_PACKAGES := $(TEST_BINARIES) | grep ' github.com/wamuir/graft/tensorflow\( \|$$\)' | sed 's/\.test .*//'
PURE_PACKAGES := $(TEST_BINARIES) | grep -v ' github.com/wamuir/graft/tensorflow\( \|$$\)' | sed 's/\.test .*//' | grep -v '/internal/e2e$$'

# The tests of deploy/, in a module of their own for their dependencies.
DEPLOY_TEST := (cd tools/deploytest && CGO_ENABLED=0 go test -json -count=1 ./...)

REPORT := go run tools/testreport/main.go $(if $(CI),-no-skips)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Use

.PHONY: run run-once
run: build ## Build all, start the local mode, train on the demonstration data, caption, serve until Ctrl-C
	@$(BINARIES) exec bin/captioner demo --data-dir $(DATA_DIR)

run-once: build ## The same, but end once the captions are printed
	@$(BINARIES) exec bin/captioner demo --once --data-dir $(DATA_DIR)

.PHONY: build control engine
build: preflight control engine ## Build both programs into bin/
	@tools/temporal >/dev/null

control: ## Build the control plane, bin/captioner
	@CGO_ENABLED=0 go build -ldflags "-X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.branch=$(BRANCH)" -o bin/captioner ./cmd/captioner

engine: ## Build the TensorFlow process, bin/captioner-engine
	@$(TENSORFLOW) go build -ldflags "-X main.version=$(VERSION)" -o bin/captioner-engine ./cmd/captioner-engine

.PHONY: failpoints
failpoints: ## Build both programs so that they can be killed at their failpoints, into bin/failpoints
	@CGO_ENABLED=0 go build -tags failpoints -o bin/failpoints/captioner ./cmd/captioner
	@$(TENSORFLOW) go build -tags failpoints -o bin/failpoints/captioner-engine ./cmd/captioner-engine

.PHONY: preflight
preflight:
	@tools/preflight

.PHONY: docker up down
docker: ## Build the images captioner-control, captioner-cpu and captioner-gpu
	@for target in control cpu gpu; do \
		docker build -f deploy/Dockerfile --target $$target -t captioner-$$target \
			--build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --build-arg BRANCH=$(BRANCH) .; \
	done

up: ## Start everything in containers: docker-compose.yml
	@docker compose up --detach --wait

down: ## Stop it again; what it has kept stays
	@docker compose down

.PHONY: migrate
migrate: control ## Bring the database of DATA_DIR to the newest schema
	@bin/captioner migrate up --data-dir $(DATA_DIR)

##@ Test

.PHONY: test test-short test-engine test-e2e deploy-test race
test: build failpoints ## Run every test: fast ones, those with TensorFlow, end-to-end ones on a real Temporal server, those of deploy/
	@$(TENSORFLOW) $(BINARIES) { go test -json -timeout 60m ./... || failed=1; $(DEPLOY_TEST) && [ -z "$${failed:-}" ]; } | $(REPORT)

test-short: ## Run the fast tests: no TensorFlow, no Temporal server
	@CGO_ENABLED=0 go test -json -short $$($(PURE_PACKAGES)) | go run tools/testreport/main.go

test-engine: engine ## Run the tests that link TensorFlow
	@$(TENSORFLOW) export CAPTIONER_ENGINE="$(CURDIR)/bin/captioner-engine"; \
	go test -json -timeout 30m $$($(ENGINE_PACKAGES)) | $(REPORT)

test-e2e: build failpoints ## Run the end-to-end tests
	@$(BINARIES) CGO_ENABLED=0 go test -json -count=1 -timeout 60m ./internal/e2e/... | $(REPORT)

deploy-test: control ## Run the tests of what captioner is deployed with
	@$(BINARIES) $(DEPLOY_TEST) | $(REPORT)

.PHONY: verify
BASE ?=
verify: build failpoints ## Run every test and the long ones: the full demonstration, other data, upgrades from the last tag (or BASE)
	@old="$$(BASE="$(BASE)" tools/oldbuild)"; export CAPTIONER_OLD="$$old"; \
	$(TENSORFLOW) $(BINARIES) export CAPTIONER_LONG_TESTS=1; go test -json -tags verify -timeout 120m ./... | $(REPORT)

race: ## Run the fast tests under the race detector
	@CGO_ENABLED=1 go test -json -race -short -timeout 20m $$($(PURE_PACKAGES)) | go run tools/testreport/main.go

RUNS ?= 200
MINUTES ?= 240
.PHONY: torture
torture: build failpoints ## Kill runs at every failpoint and RUNS times at random, for MINUTES at most; SEED=N repeats a run
	@$(BINARIES) export CAPTIONER_TORTURE_KILLS=$(RUNS) CAPTIONER_TORTURE_MINUTES=$(MINUTES) CAPTIONER_TORTURE_SEED=$(SEED); \
	CGO_ENABLED=0 go test -count=1 -v -timeout 0 -run '^(TestTorture|TestNoFailpoints)$$' ./internal/e2e

.PHONY: lint fmt workflowcheck fuzz bench gpu-check cover
lint: ## Check formatting and lint
	@unformatted="$$(gofmt -l $$(git ls-files '*.go'))"; [ -z "$$unformatted" ] || { echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; }
	@$(TENSORFLOW) go vet ./...
	@cd tools/lint && go build -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@$(TENSORFLOW) bin/golangci-lint run --timeout 15m ./...
	@cd tools/deploytest && ../../bin/golangci-lint run --timeout 15m ./...

fmt: ## Format the code
	@gofmt -w $$(git ls-files '*.go')

workflowcheck: ## Check that the workflows are deterministic
	@cd tools/workflowcheck && go build -o ../../bin/workflowcheck go.temporal.io/sdk/contrib/tools/workflowcheck
	@bin/workflowcheck ./workflows/...

.PHONY: histories
histories: ## Record the histories of workflows/testdata anew, on a real Temporal server
	@$(BINARIES) CGO_ENABLED=0 go test -count=1 -timeout 15m -run '^TestRecord$$' ./workflows -update

FUZZTIME ?= 20s
fuzz: ## Fuzz every parser for FUZZTIME each
	@for package in $$($(PURE_PACKAGES)); do \
		for name in $$(CGO_ENABLED=0 go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$name"; CGO_ENABLED=0 go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

BENCH ?= .
# Encoders are measured as the engine that extracts runs them.
bench: build ## Run the benchmarks of docs/results.md, or those that match BENCH, and compare with what is promised
	@$(TENSORFLOW) $(BINARIES) { \
		go test -run '^$$' -bench '$(BENCH)' -skip '^BenchmarkExtract$$' -timeout 3h $$(go list ./... | grep -v '/ml/encoder$$'); \
		TF_ENABLE_ONEDNN_OPTS=1 go test -run '^$$' -bench '$(BENCH)' -skip '^BenchmarkGreedy$$' -timeout 3h ./ml/encoder ./ml/predict; \
	} | go run ./internal/benchreport

gpu-check: ## Compare GPU and processor, and measure the GPU, where there is one
	@$(TENSORFLOW) tools/gpucheck

cover: build failpoints ## Write cover.out and print the coverage of each package
	@$(TENSORFLOW) $(BINARIES) go test -coverprofile cover.out -timeout 60m ./... | grep -v 'no test files'
	@go tool cover -func cover.out | tail -1

.PHONY: clean
clean: ## Remove what was built; data and downloads stay
	@rm -rf bin cover.out
