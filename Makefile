# One command each; CI runs the same.

CARGO ?= cargo

# Of a soak: rounds of all faults, and seconds of random lives.
SOAK_ROUNDS ?= 10
SOAK_SECONDS ?= 600

# Of a proof: messages that are said.
PROVE_MESSAGES ?= 20000

# Of fuzzing: seconds for each target.
FUZZ_SECONDS ?= 60

.PHONY: help dev test soak prove bench fuzz lint

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

dev: ## Build, and run two gateways with a Redis and a Postgres of their own; ARGS="--nodes 3"
	@scripts/need rust redis postgres
	@$(CARGO) run --locked -- dev $(ARGS)

test: ## Run all tests, on real servers and with real clients
	@scripts/need rust redis postgres clients module browser promtool deploy pnpm systemd
	npm test --silent --prefix clients/js
	$(CARGO) test --locked
	CARGO="$(CARGO)" scripts/test-topologies
	# Clients must not notice that Postgres is away for the whole run; that /health does is what those left out would see.
	REALTIME_TEST_POSTGRES=away $(CARGO) test --locked --quiet --test e2e -- \
		--skip defects::process::defect_01 --skip health::health_says_what

soak: ## All faults ten times, and random lives for ten minutes; SOAK_SEED=… repeats those
	@scripts/need rust redis clients
	SOAK_ROUNDS=$(SOAK_ROUNDS) $(CARGO) test --locked --test faults -- --nocapture --test-threads 1
	SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --locked --test hot lives:: -- --nocapture

prove: ## 20,000 messages to thirty clients of each kind, with faults in between; PROVE_SEED=… repeats those
	@scripts/need rust redis clients module
	PROVE_MESSAGES=$(PROVE_MESSAGES) $(CARGO) test --release --locked --test delivery -- --nocapture --test-threads 1

bench: ## This gateway beside its peers, and as it grows, on two cores, into bench/RESULTS.md and SCALING.md; BENCH_ARGS="--rounds 1 --cases hot,rooms"
	@scripts/need rust redis peers
	npm test --silent --prefix bench/peers
	$(CARGO) bench --locked --bench compare -- --write $(BENCH_ARGS)
	$(CARGO) bench --locked --bench scaling -- --write $(SCALING_ARGS)

fuzz: ## Look for bytes that break a property, 60 seconds for each target; FUZZ_SECONDS=… for longer
	@scripts/need rust fuzz
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz

lint: ## Hold the style: format, lints, documentation, licences, scripts
	@scripts/need rust lint-tools module
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items
	scripts/check-dependencies
	shellcheck .ci/run install.sh uninstall.sh bench/peers/bun $$(find scripts actions deploy ts/dist -type f 2>/dev/null | xargs -r grep -lE '^#!.*(ba)?sh')
	scripts/check-lua
	scripts/check-nginx
	npm run --silent --prefix clients/js check
