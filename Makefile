# `make` or `make help` lists the targets.

WASM   := target/oauth2_filter.wasm
# The filter with a request header that makes it panic: for tests only.
PANICS := target/oauth2_filter_panics.wasm
TARGET := wasm32-wasip1
# The paths of the sources of Cargo and of the standard library are remapped, so that builds are
# reproducible. The compact SHA-256 is 7 kB smaller than the unrolled one. Only small functions are
# inlined: more inlining adds 1 kB.
FLAGS   = $(patsubst %,--remap-path-prefix=%=,$(shell ls -d $(SOURCES)/*/ 2>/dev/null)) \
	--remap-path-prefix=$(shell rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(COMMIT) \
	--cfg sha2_backend_soft="compact" -C llvm-args=-inline-threshold=10 \
	-C linker=src/tools/link/rust-lld
SOURCES = $(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src
COMMIT  = $(shell rustc --verbose --version | sed -n 's/^commit-hash: //p')

# The dynamic module: of this machine in target, of another architecture in a folder with its name.
HERE    := $(patsubst arm64,aarch64,$(shell uname -m))
ARCH    ?= $(HERE)
DYNAMIC  = $(if $(filter $(HERE),$(1)),target,target/$(1))/liboauth2_filter.so
ALL     := x86_64 aarch64
NATIVES  = $(foreach arch,$(ALL),$(call DYNAMIC,$(arch)))

# Release artifacts are optimized, even if `build` is another goal, and run on other machines.
ifneq ($(filter image native-image dist distcheck,$(MAKECMDGOALS)),)
export OPTIMIZE = required
export ZIG = required
endif

# Tools that Cargo installs. Without optimization they build in a third of the time, and are fast enough.
INSTALL = cargo install --locked --debug --config profile.dev.debug=false

# Each target uses all cores, and parallel ones would block each other on the locks of Cargo and
# apt-get.
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@echo "usage: make TARGET    (ENVOY=/path/to/envoy uses that Envoy instead of installing one)"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: demo
demo: build envoy tools ## set everything up, and demonstrate the filter in a real Envoy
	@echo "== building the demo (first time: about a minute)"
	@cargo build --quiet --package oauth2-filter-testbed --bin servers
	@sh tests/testbed/demo.sh

.PHONY: run
run: build envoy tools ## set up the same, and keep it running
	@echo "== building the demo (first time: about a minute)"
	@cargo build --quiet --package oauth2-filter-testbed --bin servers
	@sh tests/testbed/demo.sh --stay

.PHONY: servers
servers: ## run two authorization servers and a service, for the examples in docs/
	@echo "== building the servers (first time: about a minute)"
	@cargo run --quiet --package oauth2-filter-testbed --bin servers

.PHONY: build
build: toolchain ## build the filter as a WebAssembly module: target/oauth2_filter.wasm
	@echo "== building $(WASM) (first time: about a minute)"
	@# A single crate type, so that the linker can optimize the whole program.
	@RUSTFLAGS='$(FLAGS)' cargo rustc --release --lib --crate-type cdylib --target $(TARGET)
	@cargo run --quiet --package trim -- target/$(TARGET)/release/oauth2_filter.wasm $(WASM).trimmed
	@sh src/tools/optimize.sh $(WASM).trimmed $(WASM) target/binaryen
	@rm $(WASM).trimmed

# In a separate target directory, so that it does not replace the actual module.
.PHONY: panics
panics: toolchain
	@echo "== building $(PANICS) (first time: about a minute)"
	@RUSTFLAGS='$(FLAGS)' cargo rustc --release --lib --crate-type cdylib --target $(TARGET) \
		--features panic-on-command --target-dir target/panics
	@cargo run --quiet --package trim -- target/panics/$(TARGET)/release/oauth2_filter.wasm $(PANICS)

.PHONY: native
native: ## build the filter as a dynamic module: target/liboauth2_filter.so (ARCH=aarch64: target/aarch64/liboauth2_filter.so)
	@sh src/tools/native.sh $(ARCH) $(call DYNAMIC,$(ARCH))

# For all architectures of Envoy.
.PHONY: natives
natives:
	@$(foreach arch,$(ALL),sh src/tools/native.sh $(arch) $(call DYNAMIC,$(arch)) &&) true

# With a request header that makes it panic: for tests only, so it is built only for this machine.
.PHONY: nativepanics
nativepanics: toolchain
	@echo "== building target/liboauth2_filter_panics.so"
	@cargo build --quiet --package oauth2-filter-dynamic-module --lib --features panic-on-command
	@cp target/debug/liboauth2_filter_dynamic_module.so target/liboauth2_filter_panics.so.new
	@mv target/liboauth2_filter_panics.so.new target/liboauth2_filter_panics.so

.PHONY: command
command: ## build the command that checks and explains configurations: target/release/oauth2-filter
	@echo "== building target/release/oauth2-filter (first time: about a minute)"
	@cargo build --quiet --release --package oauth2-filter-command

.PHONY: image
image: build ## build the OCI image of the module, for Istio and other hosts: target/image
	@cargo run --quiet --package dist -- image $(WASM) target/image

.PHONY: native-image
native-image: natives ## build the OCI image of the dynamic module, for both architectures: target/native-image
	@cargo run --quiet --package dist -- image $(NATIVES) target/native-image

.PHONY: dist
dist: build natives ## build the release artifacts: target/dist (modules, images, bills of materials, checksums, …)
	@cargo run --quiet --package dist -- gather $(WASM) $(NATIVES) target/dist

.PHONY: distcheck
distcheck: image native-image dist ## verify the images and release artifacts, also through a registry as Istio does
	@sh src/tools/distcheck.sh target

.PHONY: reproducible
reproducible: toolchain ## build twice in different environments, and compare the results
	@sh src/tools/reproducible.sh target/reproducible

# The tests in Envoy that also run with the dynamic module: a selection that covers the host.
SMOKE := table:: native:: abi:: sharing:: trailers:: bodies::a_large_body clients::rs_http_04 \
	client_authentication::cl_7523_02_assertions leaving::d6_13_clients observing::every_statistic \
	outbound::both::mcp_07 outbound::machines::an_update outbound::observing::the_statistics \
	outbound::placing::cl_9700_04 retrying::the_program_sees updates::d6_11 updates::no_request \
	updates::requests_that_wait waiting::d6_13_the_others waiting::rs_7662_09

# The dynamic module in a mock Envoy, with requests that make it panic.
PANICKING := --package oauth2-filter-dynamic-module --features panic-on-command --lib --test stub

.PHONY: test
test: panics build envoy prometheus tools services $(if $(filter skip,$(NATIVE)),,native nativepanics) ## run all tests: units, simulated host, Envoy, real services (SERVICES=skip and NATIVE=skip omit the services and the dynamic module)
	@OAUTH2_FILTER_SERVICES=$(SERVICES) cargo test --workspace
	@[ '$(NATIVE)' = skip ] || cargo test --quiet $(PANICKING)
	@[ '$(NATIVE)' = skip ] || FILTER_HOST=native cargo test --quiet --test envoy -- $(SMOKE)

.PHONY: native-test
native-test: panics build native nativepanics envoy tools ## run all tests in Envoy with the dynamic module, including slow ones
	@FILTER_HOST=native cargo test --test envoy
	@FILTER_HOST=native cargo test --test envoy native:: -- --ignored --nocapture

.PHONY: native-asan
native-asan: toolchain ## test the dynamic module in a mock Envoy, under AddressSanitizer
	@RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --target $(HERE)-unknown-linux-gnu \
		--target-dir target/asan $(PANICKING) -- --nocapture

.PHONY: native-tsan
native-tsan: toolchain ## test the dynamic module in a mock Envoy, under ThreadSanitizer (builds the standard library)
	@rustup component add rust-src
	@RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread cargo test -Zbuild-std --target $(HERE)-unknown-linux-gnu \
		--target-dir target/tsan $(PANICKING) -- --nocapture

.PHONY: flood
flood: build envoy ## measure the memory of the proxy after a million rejected and a million malformed tokens
	@cargo test --test envoy a_million -- --ignored --nocapture

.PHONY: renewals
renewals: build envoy ## run load tests of token renewal for minutes: short lifetimes, an unavailable server, a service that rejects every token
	@cargo test --test envoy outbound:: -- --ignored --nocapture --test-threads 1

.PHONY: observability
observability: panics build envoy prometheus ## test the dashboard and alerts with a real Prometheus and Envoy (needs Node.js)
	@sh tests/setup/grafana_schema.sh target/grafana-schema
	@cargo test --test observability -- --include-ignored

.PHONY: micro
micro: ## count the instructions of the core, compiled natively
	@sh tests/setup/tools.sh valgrind
	@gungraun-runner --version 2>/dev/null | grep --quiet 0.20.0 || $(INSTALL) gungraun-runner@0.20.0
	@echo "== building the benchmark (first time: about a minute)"
	@cargo bench --quiet --package micro -- --callgrind-metrics=ir

# The modules that the filter is compared with. The one with the SDK is built with and without
# unneeded exports.
FLOOR := target/bench
SDK   := _initialize,memory,proxy_abi_version_0_2_1,proxy_on_context_create,proxy_on_delete
SDK   := $(SDK),proxy_on_memory_allocate,proxy_on_request_headers

.PHONY: bench
bench: build native envoy ## measure the performance, compared with alternatives (15 minutes)
	@sh tests/setup/tools.sh wrk
	@echo "== building the benchmark (first time: about a minute)"
	@cargo build --quiet --release --target $(TARGET) --package floor --examples
	@mkdir -p $(FLOOR)
	@cp target/$(TARGET)/release/examples/empty.wasm target/$(TARGET)/release/examples/header.wasm \
		target/$(TARGET)/release/examples/bare.wasm $(FLOOR)
	@cargo run --quiet --package trim -- $(FLOOR)/header.wasm $(FLOOR)/header-trimmed.wasm $(SDK)
	@cargo run --quiet --package oauth2-filter-bench -- \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(WRITE),--write)

.PHONY: check
check: toolchain ## check formatting, lints for both targets, and rustdoc
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo clippy --package oauth2-filter-core --all-targets -- --deny warnings
	cargo clippy --package oauth2-filter-dynamic-module --all-targets --all-features -- --deny warnings
	@# Cargo rejects the filter for this target without the linker of the module, even for lints.
	@RUSTFLAGS='$(FLAGS)' cargo clippy --lib --target $(TARGET) -- --deny warnings
	@RUSTFLAGS='$(FLAGS)' cargo clippy --lib --target $(TARGET) --all-features -- --deny warnings
	cargo clippy --package floor --examples --target $(TARGET) -- --deny warnings
	RUSTDOCFLAGS=--deny=warnings cargo doc --workspace --no-deps --document-private-items
	@RUSTFLAGS='$(FLAGS)' RUSTDOCFLAGS=--deny=warnings \
		cargo doc --lib --target $(TARGET) --no-deps --document-private-items

.PHONY: deny
deny: toolchain ## check the licences and sources of dependencies (deny.toml)
	@command -v cargo-deny >/dev/null || $(INSTALL) cargo-deny@0.20.2
	cargo deny check bans licenses sources

.PHONY: interop
interop: build envoy ## test both directions with real authorization servers, which it installs (SERVERS="keycloak hydra")
	@echo "== building the runner (first time: about a minute)"
	@cargo run --quiet --package oauth2-filter-testbed --features tls --bin interop -- $(SERVERS)

.PHONY: mcp
mcp: build native envoy ## real MCP clients and servers with envoy/mcp*.yaml, which it installs (Node.js; ONLY="Inspector" runs some)
	@sh tests/setup/mcp.sh target/mcp
	@sh tests/mcp/run.sh

# What `make matrix` runs: the newest of each minor release, as PyPI has it.
ENVOYS := 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0

.PHONY: matrix
matrix: build native ## run a smoke test with each supported version of Envoy, which it installs (ENVOYS="1.39.3 1.40.0")
	@echo "== building the runner (first time: about a minute)"
	@cargo run --quiet --package oauth2-filter-testbed --bin matrix -- $(ENVOYS)

.PHONY: istio
istio: ## validate envoy/istio against the schemas of Istio (needs Node.js)
	@sh tests/setup/istio_schemas.sh target/istio-schemas
	@cargo test --test istio -- --include-ignored

# The control planes are built once. Missing prerequisites are reported before the build.
.PHONY: gateway
gateway: gatewayneeds image crashing native envoy ## test envoy/gateway with a real Envoy Gateway (needs root and Go; first time: 15 minutes, 4 GB)
	@sh tests/platforms/run.sh gateway

# An image of the module that panics on command.
.PHONY: crashing
crashing: panics
	@cargo run --quiet --package dist -- image $(PANICS) target/platforms/panics

.PHONY: gatewayneeds
gatewayneeds:
	@sh tests/setup/platforms.sh target/platforms gateway

.PHONY: cluster
cluster: clusterneeds image crashing envoy ## test envoy/istio with a real istiod (needs root and Go; first time: 30 minutes, 10 GB)
	@sh tests/platforms/run.sh cluster

.PHONY: clusterneeds
clusterneeds:
	@sh tests/setup/platforms.sh target/platforms cluster

.PHONY: setup
setup: toolchain envoy prometheus tools services ## install what the other targets need: the wasm target, Envoy, Prometheus, curl, openssl, services

.PHONY: toolchain
toolchain:
	@sh src/tools/toolchain.sh $(TARGET)
	@# The remapped paths in FLAGS are those of the fetched sources.
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
clean: ## remove all build results and installed tools from target
	cargo clean
