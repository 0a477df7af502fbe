# Needs Go, make and Python 3 (for Envoy, which the tests fetch into .cache). `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run build image test test-cuts test-slow test-soak test-kubernetes test-istio test-clients check fmt lint bench fuzz
include tools.mk

FUZZTIME ?= 30s
SOAK ?= 200000
COUNT ?= 1
IMAGE ?= keyturn:dev
PLATFORMS := linux/amd64,linux/arm64
# Packages with benchmarks; those through a real Envoy are in ./test.
BENCH ?= $(sort $(dir $(shell grep -rl --include='*_test.go' '^func Benchmark' .)))
# Packages without goroutines, in which the race detector finds nothing and takes minutes.
PURE := /(sse|envoy/check|internal/coding|internal/dialect|internal/redact|internal/schema)(/|$$)
# The race detector needs a C compiler; without one Go turns cgo off.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 24

run: build ## run keyturn with keyturn.yaml; without that file, the demo
	@if [ -e keyturn.yaml ]; then exec bin/keyturn run -c keyturn.yaml --envoy-cache .cache; else exec bin/keyturn demo --envoy-cache .cache; fi

build: ## build bin/keyturn
	go build -o bin/ ./cmd/keyturn

image: ## build the container image IMAGE (keyturn:dev); PUSH=1: for amd64 and arm64, and push it
	docker buildx build -t $(IMAGE) $(if $(PUSH),--platform $(PLATFORMS) --push,--load) .

test: ## run every test, those through a real Envoy too
	@$(if $(RACE),,echo 'no C compiler: testing without the race detector')
	go vet ./...
	@# ./test has the race detector in keyturn, not in the clients and the provider around it; pure packages, which start no goroutines, have none.
	go test -shuffle=on -timeout=20m ./test $(if $(RACE),-detect)
	go test $(RACE) -shuffle=on -timeout=20m $$(go list ./... | grep -vE '/keyturn/test$$|$(PURE)')
	go test -shuffle=on $$(go list ./... | grep -E '$(PURE)')
	@# A module of its own, for what Prometheus brings.
	go -C test/grafana vet .
	go -C test/grafana test -shuffle=on .

test-cuts: ## cut every stream of the dialects' scenarios at every byte, measure what each hostile body costs, and hold stores to many turns; takes minutes
	go test -shuffle=on -timeout=30m ./internal/dialect -every
	go test -shuffle=on -timeout=30m ./internal/record/sqlite ./internal/record/postgres -many

test-slow: ## hold that no client that reads slowly, or never, harms Envoy, three versions of it; Linux, takes minutes
	go vet -tags slow ./test/slowclients
	go test -tags slow -count=1 -timeout=20m ./test/slowclients

test-soak: ## send SOAK requests (200,000) to a provider that gives every answer of its tables at random; takes minutes
	go test -count=1 -timeout=30m ./test -run '^TestSoak$$' -soak $(SOAK)

test-kubernetes: ## hold render kubernetes, the chart and the image against Kubernetes' and Helm's own packages; Linux, as root
	go -C test/kubernetes vet .
	go -C test/kubernetes test -count=1 -shuffle=on -timeout=20m .

test-istio: ## run what render istio prints with Istio's own control plane; Linux, as root; the first compile takes minutes
	go -C test/istio vet .
	go -C test/istio test -count=1 -shuffle=on -timeout=30m .

test-clients: ## every SDK's conversations, and Codex CLI, Claude Code, opencode and aider as docs/clients.md says; the first run fetches them (1.9 GB), then takes minutes
	go test -count=1 -timeout=20m ./test -run '^(TestSDKs|TestRecordsAgreeWithSDKs)$$' -sdks
	go vet -tags clients ./test/programs
	go test -tags clients -count=1 -timeout=15m ./test/programs

check: lint test ## everything before a commit

fmt: ## tidy go.mod, format the code
	go mod tidy
	go -C test/istio mod tidy
	go -C test/grafana mod tidy
	go -C test/kubernetes mod tidy
	$(GOLANGCI_LINT) fmt

lint: ## run the linters of .golangci.yml
	$(GOLANGCI_LINT) run

bench: ## run the benchmarks COUNT times (1): BENCH=./keypool for one package; BESIDE=file: beside another build of keyturn
	KEYTURN_BESIDE=$(abspath $(BESIDE)) go test -run '^$$' -bench . -benchmem -count=$(COUNT) -timeout=30m $(BENCH)

fuzz: ## fuzz every target for FUZZTIME (30s)
	@found=0; while IFS=: read -r file name; do \
		found=1; echo "$$file $$name"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=0 "./$$(dirname "$$file")"; \
	done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/func //'); \
	[ $$found = 1 ] || { echo 'no fuzz targets found'; exit 1; }
