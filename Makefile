# The short list: make, make run, make test, make race, make lint, make bench. `make help` tells each.
GO       ?= go
TOOLS    := internal/tools/go.mod
GENERATE  = $(GO) -C internal/tools run ./generate
PACKAGES := ./...

FUZZTIME ?= 30s
IDLE     := 64,256

.PHONY: soak sim seeds mutants js peers all build run cluster demo-replay loadtest test race lint fmt bench generate fuzz crash crash-cluster upgrade pause idle check help

all: build

build: ## build bin/switchboard
	$(GO) build -trimpath -o bin/switchboard ./cmd/switchboard

run: build ## start the demo: a node, a FAQ bot, a web page
	bin/switchboard demo

cluster: build ## start three nodes of a cluster here, each with the page; Ctrl-C stops all (NODES=n)
	bin/switchboard demo --nodes $(or $(NODES),3)

demo-replay: build ## play the shipped dialogues, with hand-offs and lost connections, and compare what arrived with what was sent
	bin/switchboard loadtest replay --addr= --data= --token-cmd= --disconnects 0.2 --repeat 10

loadtest: build ## run a scenario against a node of its own (SCENARIO=chat; ARGS='--set steady=5s --html r.html')
	bin/switchboard loadtest run --addr= --data= --token-cmd= $(or $(SCENARIO),chat) $(value ARGS)

soak: build ## the same load for an hour: memory must not grow, latency must not creep (STEADY=30m; ARGS='--html soak.html')
	bin/switchboard loadtest run --addr= --data= --token-cmd= soak --set steady=$(or $(STEADY),1h) --json soak.json $(value ARGS)

sim: ## run simulated clusters, each under its own seed: of replicas and of few whole nodes (SEEDS=n, default 1000, each), of more of them for longer (a tenth of that, three times; FROM=n)
	SWITCHBOARD_SEEDS=$(or $(SEEDS),1000) $(GO) test ./shard/journal/replica -run TestSimulation -count=1 -v -timeout 120m
	SWITCHBOARD_SIM_SEEDS=$(or $(SEEDS),1000) SWITCHBOARD_SIM_FROM=$(or $(FROM),0) $(GO) test ./internal/sim -run TestBrief -count=1 -v -timeout 240m
	SWITCHBOARD_SIM_SEEDS=$(shell expr \( $(or $(SEEDS),1000) + 9 \) / 10) SWITCHBOARD_SIM_FROM=$(or $(FROM),0) $(GO) test ./internal/sim -run 'TestCluster|TestSplit|TestFloor' -count=1 -v -timeout 240m

seeds: seeds-0 seeds-1000 ## simulated clusters of replicas, 2,000 seeds in minutes, each the same every time: CI runs them behind the tests (with -j2 in half the time)
seeds-%:
	SWITCHBOARD_SEEDS=1000 SWITCHBOARD_FROM=$* $(GO) test ./shard/journal/replica -run TestSimulation -count=1 -timeout 60m

mutants: ## plant classic mistakes, one at a time, and see that each is found (WHICH=word of a name, file or test)
	SWITCHBOARD_MUTANTS='$(or $(WHICH),all)' $(GO) test ./internal/sim/mutants -run TestMutants -count=1 -v -timeout 60m

crash: ## kill -9 the real binary, and cut its disk's power, again and again under load; check every acknowledged word (CRASHES=n)
	SWITCHBOARD_CRASHES=$(or $(CRASHES),50) $(GO) test ./cmd/switchboard -run 'TestKill|TestPowerCut' -count=1 -v -timeout 60m

pause: ## measure what sessions notice when shards move, also under RATE=1000 words a second, and when nodes are stopped and killed (PAUSES=n)
	SWITCHBOARD_PAUSES=$(or $(PAUSES),3) SWITCHBOARD_RATE=$(or $(RATE),1000) $(GO) test ./cmd/switchboard -run 'TestClusterPause|TestClusterMoves' -count=1 -v -timeout 120m

idle: ## measure what three nodes cost when nobody says anything (SHARDS=64,256)
	SWITCHBOARD_IDLE=$(or $(SHARDS),$(IDLE)) $(GO) test ./cmd/switchboard -run TestClusterIdle -count=1 -v -timeout 60m

crash-cluster: ## kill, freeze, stop, move and drain the nodes of a real cluster under load, cut their power, again and again; check every acknowledged word (CRASHES=n)
	SWITCHBOARD_CRASHES=$(or $(CRASHES),10) $(GO) test ./cmd/switchboard -run 'TestClusterCrash|TestClusterPowerCut|TestClusterNet|TestClusterSplit' -count=1 -v -timeout 120m
	SWITCHBOARD_CRASHES=$(or $(CRASHES),10) $(GO) test ./node -run TestOneDiskHealsItself -count=1 -v -timeout 60m

upgrade: ## replace the nodes of a cluster of an older version, built from the history, by this one's under load (OLDER=commit, default the last that spoke the version before)
	SWITCHBOARD_OLDER=$(or $(OLDER),auto) $(GO) test ./cmd/switchboard -run TestClusterOlder -count=1 -v -timeout 30m

fuzz: ## fuzz every target for FUZZTIME
	@for pkg in $$($(GO) list $(PACKAGES)); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' | sort -u); do \
	    echo "== $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg || exit 1; \
	  done; \
	done

test: ## run all tests
	$(GO) test -timeout 30m $(PACKAGES)

js: build client/js/node_modules/.package-lock.json ## run the JavaScript client's tests against the real node and, with Chromium, the page's
	cd client/js && SWITCHBOARD_BIN=$(CURDIR)/bin/switchboard node --test --test-reporter=spec

# Only the page's test needs what is installed here; where it cannot be, that test says so and the others run.
client/js/node_modules/.package-lock.json: client/js/package-lock.json
	-@cd client/js && npm ci --no-audit --no-fund --ignore-scripts --prefer-offline --fetch-retries=0 --fetch-timeout=20000

race: ## run all tests under the race detector
	$(GO) test -race -timeout 60m $(PACKAGES)

lint: ## go vet, the linter, and a look whether wire/wirepb is what make generate writes: all silent when all is well
	$(GO) vet $(PACKAGES)
	$(GENERATE) -check $(CURDIR)/wire/switchboard.proto $(CURDIR)/wire/wirepb
	$(GO) tool -modfile=$(TOOLS) golangci-lint run $(PACKAGES)

fmt: ## format as the linter wants it
	$(GO) tool -modfile=$(TOOLS) golangci-lint fmt

bench: build ## run the benchmarks and compare with the last run (SUITE=journal COUNT=6 BENCH=. PROFILE=cpu|mem|block KEEP=0)
	@GO="$(GO)" SUITE="$(or $(SUITE),all)" COUNT="$(or $(COUNT),6)" BENCH="$(or $(BENCH),.)" PROFILE="$(PROFILE)" KEEP="$(or $(KEEP),1)" bench/suite

peers: ## compare round trips with NATS, JetStream, Redis and others on this machine (ARGS="--rates max,1000,5000")
	cd bench/peers && $(GO) build -o bin/ ./... github.com/nats-io/nats-server/v2
	$(GO) build -trimpath -ldflags "-X main.version=$$(git describe --always --dirty 2>/dev/null || echo unknown)" -o bench/peers/bin/switchboard ./cmd/switchboard
	bench/peers/bin/peers $(value ARGS)

check: lint test ## what must be green before and after a commit

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

generate: ## write wire/wirepb from wire/switchboard.proto again
	$(GENERATE) $(CURDIR)/wire/switchboard.proto $(CURDIR)/wire/wirepb
