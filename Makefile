# make run    starts an example: Redis Cluster, Envoy with the filter, a small upstream
# make dashboard   for that Envoy: Prometheus and a page with charts
# make stop   stops both
# make cli    the native command, as target/headgate
# make image  the filter as an OCI image layout, target/image, for Istio and Envoy Gateway
# make release  modules, images, the command for x86-64 and arm64, manifests, dashboards, schema, bills of materials and
#             checksums, in target/release-VERSION; FORCE=1 from any tree
# make publish-check   checks that the crates for crates.io can be published
# make deny   checks licences, bans and sources of the crates, by deny.toml
# make test   every check and every test, except the slow ones
# make test-envoy ENVOY_VERSION=1.36.2   the end-to-end tests on another Envoy, which it fetches
# make test-valkey   the tests that use Redis, with Valkey in its place; VALKEY_VERSION=9.1.2 for one of its versions
# make test-meshes   the manifests in real meshes: Istio's and Envoy Gateway's control planes on a Kubernetes API server,
#             built once into .tools/mesh (Go, 11 GB, 33 minutes of CPU time). MESH=istio, gateway, func-e, ratelimit or
#             clients runs one part. Part of `make test-all`, unless SKIP_MESHES=1
# make fuzz   the fuzz targets for hours: 10 million runs for what reads RESP and frames, 200,000 histories, 2 million for the others.
#             Shorter, or one of them: make fuzz RUNS=100000 TARGETS=resp
# make bench  Headgate, other limiters and none at all side by side: bench/results.md and .svg. About 40 minutes on a
#             machine that does nothing else; shorter: make bench ROUNDS=1 SECONDS=2 SETUPS=none,rls,headgate/single.
#             With Go installed, envoyproxy/ratelimit is one of them: SETUPS=ratelimit
# make bench-pairs BASE=path/to/other.wasm   what a change costs: that module and target/headgate.wasm in interleaved
#             pairs, the ratios of Envoy's CPU time and of throughput with intervals; also in target/pairs.md. PAIRS=15,
#             SECONDS=2 a measurement, SETUPS=headgate/paths (default: four others), CONNECTIONS=128, KEYS=1000,
#             PATH_SENT=/orders/42 for the path of the requests (also of make bench), HEADGATE_WASM=… for another new module
#
# Each target installs what it needs. Ports: make run PORT=… ADMIN_PORT=… UPSTREAM_PORT=… REDIS_PORT=… (the first
# of three). PROMETHEUS_PORT=… is the dashboard's. VARIANT=single-redis or tls-auth runs another of envoy/*.yaml.
# ENVOY=/path/to/envoy uses your own Envoy.

export PORT ADMIN_PORT UPSTREAM_PORT REDIS_PORT PROMETHEUS_PORT VARIANT ENVOY WASM_OPT_FLAGS FORCE
# of `make bench`: see bench/runner/main.rs
export ROUNDS SECONDS SETUPS CONNECTIONS KEYS UPSTREAM BENCH_OUT PAIRS PATH_SENT

CARGO_OUT := $(or $(CARGO_TARGET_DIR),target)
LOCKED    := $(if $(CI),--locked)
# Tests wait more than they compute. Those in a `mod quiet` measure time and run one by one.
THREADS   := --test-threads 4
# All crates with the transport for Higress, which the module for Higress needs: so each crate is built only once for all tests.
ALL       := --workspace --features redis-call/higress

.PHONY: run stop test test-all test-size test-envoy test-valkey test-meshes test-client test-dashboard test-higress chaos fuzz \
	bench bench-pairs lint lint-apart build build-all build-fault-injection build-higress build-example build-cli build-commands run-cli cli image release publish-check deny dashboard setup setup-run setup-release setup-meshes setup-dashboard setup-bench clean

# The command, for `headgate doctor` at the end, is built beside the module: unoptimised, which takes the other core
# about as long as the module takes one.
run: setup-run
	@$(MAKE) --no-print-directory -j2 build run-cli
	@scripts/run.sh start

dashboard: setup-dashboard
	@scripts/run.sh dashboard

stop:
	@scripts/run.sh stop

test: lint deny build-all test-size
	cargo test $(LOCKED) $(ALL) --doc
	cargo test $(LOCKED) $(ALL) --test e2e -- --test-threads 1 quiet::
	$(MAKE) --no-print-directory test-client test-dashboard test-higress
	cargo test $(LOCKED) $(ALL) --lib --bins --tests -- $(THREADS) --skip quiet::

test-all: lint deny build-all test-size
	@$(MAKE) --no-print-directory build-commands
	cargo test $(LOCKED) $(ALL) --doc
	cargo test $(LOCKED) $(ALL) --test e2e -- --include-ignored --test-threads 1 quiet::
	STORM_SECONDS=120 $(MAKE) --no-print-directory test-client test-dashboard test-higress
	cargo test $(LOCKED) $(ALL) --lib --bins --tests -- --include-ignored $(THREADS) --skip quiet::
	$(MAKE) --no-print-directory lint-apart publish-check
	$(MAKE) --no-print-directory test-valkey
	@if [ -n "$(SKIP_MESHES)" ]; then echo "SKIP_MESHES: make test-meshes is left out"; \
		else $(MAKE) --no-print-directory test-meshes; fi

# See tests/mesh/run.py. Setup, build and modules first: what runs in the sandbox reaches no network.
test-meshes:
	@python3 tests/mesh/run.py --check $(MESH)
	@$(MAKE) --no-print-directory setup-meshes build build-fault-injection build-cli
	@python3 tests/mesh/run.py $(MESH)

# The maximum size of the module.
MOST_BYTES := 512000
test-size: build
	@bytes=$$(wc -c <target/headgate.wasm); [ $$bytes -le $(MOST_BYTES) ] || \
		{ echo "target/headgate.wasm has $$bytes bytes, and may have $(MOST_BYTES): see scripts/wasm.sh" >&2; exit 1; }

test-envoy: setup build-all
	@scripts/setup.sh envoy $(or $(ENVOY_VERSION),$(error which? ENVOY_VERSION=1.36.2))
	ENVOY_VERSION=$(ENVOY_VERSION) cargo test $(LOCKED) $(ALL) --test e2e -- --test-threads 3 --skip quiet::
	ENVOY_VERSION=$(ENVOY_VERSION) cargo test $(LOCKED) $(ALL) --test e2e -- --test-threads 1 quiet::

# The tests that use Redis, with Valkey. Its packages come without TLS, so the two tests that need it are left out.
VALKEY_TESTS := cluster concurrency costs failover faults guard leases limits local moving overrides shipped survival upgrades windows
test-valkey: setup build build-fault-injection build-cli
	@for version in $(or $(VALKEY_VERSION),8.1.8 9.1.2); do \
		scripts/setup.sh valkey $$version || exit 1; \
		export REDIS_SERVER="$(CURDIR)/.tools/valkey-$$version/valkey-server"; \
		cargo test $(LOCKED) $(ALL) --test script || exit 1; \
		cargo test $(LOCKED) $(ALL) --test e2e -- --test-threads 3 --skip quiet:: --skip the_tls_variant_limits \
			--skip with_a_wrong_password_nothing $(addsuffix ::,$(VALKEY_TESTS)) || exit 1; \
	done

# The module for Higress in a gateway of the tests' own, and the suite for both transports to Redis.
test-higress: build build-higress
	cargo test $(LOCKED) --manifest-path tests/higress/Cargo.toml --target-dir $(CARGO_OUT) -- $(THREADS)

# The client's tests against Envoy with the module, in Node and in a browser.
test-client: setup
	cd clients/typescript && npm ci --silent && npm test --silent

# The page of `make dashboard` in a browser; pictures of it are in target/dashboard/.
test-dashboard: setup build-cli
	node --test dashboards/test/*.test.js

BENCH := cargo bench $(LOCKED) --manifest-path bench/Cargo.toml --target-dir $(CARGO_OUT)/bench --bench bench
bench: setup-bench build
	$(BENCH)

# See bench/runner/pairs.rs.
bench-pairs: setup-bench build
	BASE=$(abspath $(or $(BASE),$(error which module? BASE=path/to/other.wasm))) \
		$(if $(HEADGATE_WASM),HEADGATE_WASM=$(abspath $(HEADGATE_WASM))) $(BENCH) -- pairs

lint: setup
	cargo fmt --all --check
	cargo fmt --check --manifest-path tests/higress/Cargo.toml
	cargo fmt --check --manifest-path bench/Cargo.toml
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy $(LOCKED) $(ALL) --all-targets -- -D warnings
	cargo clippy $(LOCKED) $(ALL) --test chaos --test mesh_clients --bench runner -- -D warnings
	cargo clippy $(LOCKED) -p headgate --lib --target wasm32-wasip1 -- -D warnings
	cargo clippy $(LOCKED) -p headgate --features higress --lib --target wasm32-wasip1 -- -D warnings
	cargo clippy $(LOCKED) -p redis-call --features proxy-wasm --lib --examples --target wasm32-wasip1 -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc $(LOCKED) $(ALL) --lib --no-deps --quiet
	RUSTDOCFLAGS="-D warnings" cargo doc $(LOCKED) -p redis-call --all-features --no-deps --quiet

# The separate crates, each of which takes half a minute or more. `make test` also finds what a change of the library breaks in
# them: `lint` checks the benchmark's runner, and tests run the fuzz targets and the suite for Higress.
lint-apart: setup-bench
	cargo clippy $(LOCKED) --manifest-path tests/higress/Cargo.toml --target-dir $(CARGO_OUT) --all-targets -- -D warnings
	cargo clippy $(LOCKED) --manifest-path bench/Cargo.toml --target-dir $(CARGO_OUT)/bench --all-targets -- -D warnings

# Only a cdylib: if an rlib is built with it, it is larger. Small functions are inlined although the module is optimised
# for size: this saves a tenth of the instructions of a request. Panic messages contain no paths of this machine, and for a
# file of a crate only the crate's name.
PATH_FLAGS := --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo \
	--remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}/registry/src/index.crates.io-1949cf8c6b5b557f= \
	--remap-path-prefix=$(CURDIR)=.
WASM_FLAGS := $(PATH_FLAGS) -Cllvm-args=-inline-threshold=30
WASM_RUSTC := CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="$(WASM_FLAGS)" \
	cargo rustc $(LOCKED) -p headgate --release --lib --target wasm32-wasip1 --crate-type cdylib

build: setup-run
	$(WASM_RUSTC)
	@scripts/wasm.sh $(CARGO_OUT)/wasm32-wasip1/release/headgate.wasm target/headgate.wasm

# Everything that the tests run, two at a time: what takes long has a target directory of its own.
build-all:
	@$(MAKE) --no-print-directory -j2 build build-fault-injection build-higress build-example build-cli

# For Higress: the Redis call by its own host functions.
build-higress: setup-run
	$(WASM_RUSTC) --features higress --target-dir $(CARGO_OUT)/higress
	@scripts/wasm.sh $(CARGO_OUT)/higress/wasm32-wasip1/release/headgate.wasm target/headgate-higress.wasm

# For tests only, with fault injection: it has the script of the next release, and panics on request.
build-fault-injection: setup-run
	$(WASM_RUSTC) --features fault-injection --target-dir $(CARGO_OUT)/fault-injection
	@scripts/wasm.sh $(CARGO_OUT)/fault-injection/wasm32-wasip1/release/headgate.wasm target/headgate-fault-injection.wasm

# The example filter of redis-call.
build-example:
	cargo build $(LOCKED) -p redis-call --features proxy-wasm --release --example visits --target wasm32-wasip1
	@mkdir -p target
	@cp $(CARGO_OUT)/wasm32-wasip1/release/examples/visits.wasm target/visits.wasm

# The native command as the end-to-end tests run it; `cli` is the one to use.
build-cli:
	cargo build $(LOCKED) $(ALL) --bin headgate

# The fault suite: about ten minutes; writes its table into docs/reliability.md.
chaos: setup build build-fault-injection
	cargo test $(LOCKED) $(ALL) --test chaos

# A nightly compiler's flags on the stable one. The targets are safe Rust: without a sanitizer they run twice as often.
# Findings are in fuzz/artifacts/; inputs that reach new code are kept in fuzz/target/corpus/.
TARGETS ?= resp frames config plan headers world
fuzz: setup-fuzz
	@cd fuzz && for target in $(TARGETS); do \
		case $$target in resp|frames) runs=10000000;; world) runs=200000;; *) runs=2000000;; esac; \
		mkdir -p target/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 ../.tools/bin/cargo-fuzz fuzz run --sanitizer none $$target target/corpus/$$target corpus/$$target \
			-- -runs=$(or $(RUNS),$$runs) -max_len=4096 -print_final_stats=1 || exit 1; \
	done

# The command for each CPU, linked statically: it runs on any Linux. Rust brings the linker and the C library.
COMMAND_TARGETS := x86_64-unknown-linux-musl aarch64-unknown-linux-musl
build-commands: setup-release
	CC_x86_64_unknown_linux_musl=x86_64-linux-gnu-gcc CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc \
		CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
		RUSTFLAGS="$(PATH_FLAGS)" cargo build $(LOCKED) -p headgate-cli --release --bin headgate $(addprefix --target ,$(COMMAND_TARGETS))
	@for target in $(COMMAND_TARGETS); do \
		mkdir -p target/commands/$${target%%-*}; \
		cp $(CARGO_OUT)/$$target/release/headgate target/commands/$${target%%-*}/headgate; \
	done

run-cli:
	cargo build $(LOCKED) -p headgate-cli --bin headgate

cli: setup-run
	cargo build $(LOCKED) -p headgate-cli --release --bin headgate
	@mkdir -p target
	@cmp -s $(CARGO_OUT)/release/headgate target/headgate || cp $(CARGO_OUT)/release/headgate target/headgate

image: build
	@python3 scripts/image.py target/headgate.wasm target/image

# The checks come first, so that a refused release builds nothing. The crates are those of the lock file.
release: setup-run
	@scripts/release.sh check
	@CI=1 $(MAKE) --no-print-directory deny build build-higress build-commands
	@scripts/release.sh write

# Checks that the published crate (only redis-call) builds from its package.
publish-check:
	cargo publish $(LOCKED) --workspace --dry-run --allow-dirty

deny:
	@scripts/setup.sh deny
	@.tools/bin/cargo-deny --locked check --hide-inclusion-graph licenses bans sources

setup:
	@scripts/setup.sh test

setup-release: setup-run
	@scripts/setup.sh release

setup-meshes:
	@scripts/setup.sh meshes

setup-fuzz:
	@scripts/setup.sh fuzz

setup-bench:
	@scripts/setup.sh bench

setup-run:
	@scripts/setup.sh run

setup-dashboard:
	@scripts/setup.sh dashboard

# Keeps .tools/, which takes long to download.
clean: stop
	cargo clean
	rm -rf target .run
