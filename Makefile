# `make` or `make help` lists the targets.

WASM   := target/oauth2_filter.wasm
# The filter with a request that kills it: for tests only.
PANICS := target/oauth2_filter_panics.wasm
TARGET := wasm32-wasip1
# Where Cargo keeps sources stays out of the module, and where rustup keeps those of the standard
# library if it has them: the module is the same wherever it is built. The compact SHA-256 is 7 kB
# smaller than the unrolled one. Only small functions are inlined: more of it takes 4 kB.
FLAGS   = $(patsubst %,--remap-path-prefix=%=,$(shell ls -d $(SOURCES)/*/ 2>/dev/null)) \
	--remap-path-prefix=$(shell rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(COMMIT) \
	--cfg sha2_backend_soft="compact" -C llvm-args=-inline-threshold=15 \
	-C linker=src/tools/link/rust-lld
SOURCES = $(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src
COMMIT  = $(shell rustc --verbose --version | sed -n 's/^commit-hash: //p')

# The dynamic module: that of this machine, and that of another in a folder by its name.
HERE    := $(patsubst arm64,aarch64,$(shell uname -m))
ARCH    ?= $(HERE)
DYNAMIC  = $(if $(filter $(HERE),$(1)),target,target/$(1))/liboauth2_filter.so
ALL     := x86_64 aarch64
NATIVES  = $(foreach arch,$(ALL),$(call DYNAMIC,$(arch)))

# What is released is optimized, also where `build` comes first, and runs on other machines.
ifneq ($(filter image native-image dist distcheck,$(MAKECMDGOALS)),)
export OPTIMIZE = required
export ZIG = required
endif

# Tools that Cargo installs: unoptimized, they are built in a third of the time, and quick enough.
INSTALL = cargo install --locked --debug --config profile.dev.debug=false

# Each brings work for every core, and two at a time get in each other's way: at the locks of Cargo
# and apt-get.
.NOTPARALLEL:

.PHONY: help
help: ## this list
	@echo "usage: make TARGET    (ENVOY=/path/to/envoy uses that Envoy instead of installing one)"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: demo
demo: build envoy tools ## set everything up, and walk through what the filter does in a real Envoy
	@echo "== building the demo (first time: about a minute)"
	@cargo build --quiet --package oauth2-filter-testbed --bin servers
	@sh tests/testbed/demo.sh

.PHONY: run
run: build envoy tools ## the same set-up, left running for you to try
	@echo "== building the demo (first time: about a minute)"
	@cargo build --quiet --package oauth2-filter-testbed --bin servers
	@sh tests/testbed/demo.sh --stay

.PHONY: servers
servers: ## two authorization servers and a service, to try the pages of docs/ with
	@echo "== building them (first time: about a minute)"
	@cargo run --quiet --package oauth2-filter-testbed --bin servers

.PHONY: build
build: toolchain ## the filter, as target/oauth2_filter.wasm
	@echo "== building $(WASM) (first time: about a minute)"
	@# One crate type: only then does the linker see the whole program.
	@RUSTFLAGS='$(FLAGS)' cargo rustc --release --lib --crate-type cdylib --target $(TARGET)
	@cargo run --quiet --package trim -- target/$(TARGET)/release/oauth2_filter.wasm $(WASM).trimmed
	@sh src/tools/optimize.sh $(WASM).trimmed $(WASM) target/binaryen
	@rm $(WASM).trimmed

# In a folder of its own: in the usual one it would take the place of the filter that is used.
.PHONY: panics
panics: toolchain
	@echo "== building $(PANICS) (first time: about a minute)"
	@RUSTFLAGS='$(FLAGS)' cargo rustc --release --lib --crate-type cdylib --target $(TARGET) \
		--features panic-on-command --target-dir target/panics
	@cargo run --quiet --package trim -- target/panics/$(TARGET)/release/oauth2_filter.wasm $(PANICS)

.PHONY: native
native: ## the filter as a dynamic module, target/liboauth2_filter.so (ARCH=aarch64: for that, in target/aarch64)
	@sh src/tools/native.sh $(ARCH) $(call DYNAMIC,$(ARCH))

# For every machine that Envoy runs on.
.PHONY: natives
natives:
	@$(foreach arch,$(ALL),sh src/tools/native.sh $(arch) $(call DYNAMIC,$(arch)) &&) true

# With requests that make it panic: for tests only, so it is built for this machine alone.
.PHONY: nativepanics
nativepanics: toolchain
	@echo "== building target/liboauth2_filter_panics.so"
	@cargo build --quiet --package oauth2-filter-dynamic-module --lib --features panic-on-command
	@cp target/debug/liboauth2_filter_dynamic_module.so target/liboauth2_filter_panics.so.new
	@mv target/liboauth2_filter_panics.so.new target/liboauth2_filter_panics.so

.PHONY: command
command: ## the command that checks and explains configurations: target/release/oauth2-filter
	@echo "== building target/release/oauth2-filter (first time: about a minute)"
	@cargo build --quiet --release --package oauth2-filter-command

.PHONY: image
image: build ## the filter as an OCI image, in target/image: for Istio and other hosts
	@cargo run --quiet --package dist -- image $(WASM) target/image

.PHONY: native-image
native-image: natives ## the dynamic module as an OCI image for both architectures, in target/native-image
	@cargo run --quiet --package dist -- image $(NATIVES) target/native-image

.PHONY: dist
dist: build natives ## what a release has, in target/dist: modules, images, bills of materials, checksums, …
	@cargo run --quiet --package dist -- gather $(WASM) $(NATIVES) target/dist

.PHONY: distcheck
distcheck: image native-image dist ## both, as others take them: through a registry, as Istio does
	@sh src/tools/distcheck.sh target

.PHONY: reproducible
reproducible: toolchain ## two builds in two places: the same bytes
	@sh src/tools/reproducible.sh target/reproducible

# What is tested with the dynamic module, too: some of all that the host does.
SMOKE := table:: native:: abi:: sharing:: trailers:: bodies::a_large_body clients::rs_http_04 \
	client_authentication::cl_7523_02_assertions leaving::d6_13_clients observing::every_statistic \
	outbound::both::mcp_07 outbound::machines::an_update outbound::observing::the_statistics \
	outbound::placing::cl_9700_04 retrying::the_program_sees updates::d6_11 updates::no_request \
	updates::requests_that_wait waiting::d6_13_the_others waiting::rs_7662_09

# The dynamic module in an Envoy that only pretends, whose requests may make it panic.
PANICKING := --package oauth2-filter-dynamic-module --features panic-on-command --lib --test stub

.PHONY: test
test: panics build envoy prometheus tools services $(if $(filter skip,$(NATIVE)),,native nativepanics) ## every test: units, simulated host, real Envoy, real services (SERVICES=skip leaves these out, NATIVE=skip the dynamic module)
	@OAUTH2_FILTER_SERVICES=$(SERVICES) cargo test --workspace
	@[ '$(NATIVE)' = skip ] || cargo test --quiet $(PANICKING)
	@[ '$(NATIVE)' = skip ] || FILTER_HOST=native cargo test --quiet --test envoy -- $(SMOKE)

.PHONY: native-test
native-test: panics build native nativepanics envoy tools ## all tests in Envoy with the dynamic module, and those that take long
	@FILTER_HOST=native cargo test --test envoy
	@FILTER_HOST=native cargo test --test envoy native:: -- --ignored --nocapture

.PHONY: native-asan
native-asan: toolchain ## the dynamic module in an Envoy that only pretends, under AddressSanitizer
	@RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --target $(HERE)-unknown-linux-gnu \
		--target-dir target/asan $(PANICKING) -- --nocapture

.PHONY: native-tsan
native-tsan: toolchain ## the same under ThreadSanitizer, with a standard library that is built for it
	@rustup component add rust-src
	@RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread cargo test -Zbuild-std --target $(HERE)-unknown-linux-gnu \
		--target-dir target/tsan $(PANICKING) -- --nocapture

.PHONY: flood
flood: build envoy ## a million refused tokens, then a million malformed ones: what memory the proxy takes
	@cargo test --test envoy a_million -- --ignored --nocapture

.PHONY: renewals
renewals: build envoy ## minutes of load: tokens of three seconds, a server that is away, a service that refuses all
	@cargo test --test envoy outbound:: -- --ignored --nocapture --test-threads 1

.PHONY: observability
observability: panics build envoy prometheus ## dashboard and alerts: a real Prometheus looks at a real Envoy (needs Node.js)
	@sh tests/setup/grafana_schema.sh target/grafana-schema
	@cargo test --test observability -- --include-ignored

.PHONY: micro
micro: ## what the core costs by itself, natively, in instructions
	@sh tests/setup/tools.sh valgrind
	@gungraun-runner --version 2>/dev/null | grep --quiet 0.20.0 || $(INSTALL) gungraun-runner@0.20.0
	@echo "== building the benchmark (first time: about a minute)"
	@cargo bench --quiet --package micro -- --callgrind-metrics=ir

# The modules that the filter is compared with; the one by the SDK with and without the exports
# that it does not need.
FLOOR := target/bench
SDK   := _initialize,memory,proxy_abi_version_0_2_1,proxy_on_context_create,proxy_on_delete
SDK   := $(SDK),proxy_on_memory_allocate,proxy_on_request_headers

.PHONY: bench
bench: build native envoy ## how fast it is, beside what people use instead: a quarter of an hour
	@sh tests/setup/tools.sh wrk
	@echo "== building the bench (first time: about a minute)"
	@cargo build --quiet --release --target $(TARGET) --package floor --examples
	@mkdir -p $(FLOOR)
	@cp target/$(TARGET)/release/examples/empty.wasm target/$(TARGET)/release/examples/header.wasm \
		target/$(TARGET)/release/examples/bare.wasm $(FLOOR)
	@cargo run --quiet --package trim -- $(FLOOR)/header.wasm $(FLOOR)/header-trimmed.wasm $(SDK)
	@cargo run --quiet --package oauth2-filter-bench -- \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(WRITE),--write)

.PHONY: check
check: toolchain ## format, lints for both targets, documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo clippy --package oauth2-filter-core --all-targets -- --deny warnings
	cargo clippy --package oauth2-filter-dynamic-module --all-targets --all-features -- --deny warnings
	@# Cargo refuses the filter without the linker of the module, whatever it is to do with it.
	@RUSTFLAGS='$(FLAGS)' cargo clippy --lib --target $(TARGET) -- --deny warnings
	@RUSTFLAGS='$(FLAGS)' cargo clippy --lib --target $(TARGET) --all-features -- --deny warnings
	cargo clippy --package floor --examples --target $(TARGET) -- --deny warnings
	RUSTDOCFLAGS=--deny=warnings cargo doc --workspace --no-deps --document-private-items
	@RUSTFLAGS='$(FLAGS)' RUSTDOCFLAGS=--deny=warnings \
		cargo doc --lib --target $(TARGET) --no-deps --document-private-items

.PHONY: deny
deny: toolchain ## dependencies: licences and sources, by deny.toml
	@command -v cargo-deny >/dev/null || $(INSTALL) cargo-deny@0.20.2
	cargo deny check bans licenses sources

.PHONY: interop
interop: build envoy ## both directions against authorization servers of others, which it installs (SERVERS="keycloak hydra")
	@echo "== building the runner (first time: about a minute)"
	@cargo run --quiet --package oauth2-filter-testbed --features tls --bin interop -- $(SERVERS)

.PHONY: mcp
mcp: build envoy ## real MCP clients and servers with envoy/mcp*.yaml, which it installs (Node.js; ONLY="Inspector" runs some)
	@sh tests/setup/mcp.sh target/mcp
	@sh tests/mcp/run.sh

# What `make matrix` runs: the newest of each minor release, as PyPI has it.
ENVOYS := 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0

.PHONY: matrix
matrix: build native ## a smoke test with each supported version of Envoy, which it installs (ENVOYS="1.39.3 1.40.0")
	@echo "== building the runner (first time: about a minute)"
	@cargo run --quiet --package oauth2-filter-testbed --bin matrix -- $(ENVOYS)

.PHONY: istio
istio: ## envoy/istio against the definitions that Istio publishes (needs Node.js)
	@sh tests/setup/istio_schemas.sh target/istio-schemas
	@cargo test --test istio -- --include-ignored

# The control planes of others, built once. What they need, they say before they begin.
.PHONY: gateway
gateway: gatewayneeds image crashing native envoy ## envoy/gateway under the real Envoy Gateway (root, Go; at first 15 minutes, 4 GB)
	@sh tests/platforms/run.sh gateway

# An image of the module that dies on command.
.PHONY: crashing
crashing: panics
	@cargo run --quiet --package dist -- image $(PANICS) target/platforms/panics

.PHONY: gatewayneeds
gatewayneeds:
	@sh tests/setup/platforms.sh target/platforms gateway

.PHONY: cluster
cluster: clusterneeds image crashing envoy ## envoy/istio under the real istiod (root, Go; at first 30 minutes, 10 GB)
	@sh tests/platforms/run.sh cluster

.PHONY: clusterneeds
clusterneeds:
	@sh tests/setup/platforms.sh target/platforms cluster

.PHONY: setup
setup: toolchain envoy prometheus tools services ## what the other targets need: the wasm target, Envoy, Prometheus, curl, openssl, services

.PHONY: toolchain
toolchain:
	@sh src/tools/toolchain.sh $(TARGET)
	@# The flags of the module name the folders that it brings.
	@cargo fetch --target $(TARGET)

.PHONY: envoy
envoy:
	@sh tests/setup/envoy.sh target/envoy

.PHONY: tools
tools:
	@sh tests/setup/tools.sh curl openssl

.PHONY: prometheus
prometheus:
	@sh tests/setup/prometheus.sh target/prometheus

.PHONY: services
services:
	@if [ '$(SERVICES)' != skip ]; then sh tests/setup/services.sh target/services; fi

.PHONY: clean
clean: ## remove everything that was built or installed here
	cargo clean
