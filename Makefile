# `make` or `make help` lists the targets.

WASM   := target/oauth2_filter.wasm
# The filter with a request that kills it: for tests only.
PANICS := target/oauth2_filter_panics.wasm
TARGET := wasm32-wasip1

.PHONY: help
help: ## this list
	@echo "usage: make TARGET    (ENVOY=/path/to/envoy uses that Envoy instead of installing one)"
	@echo
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: demo
demo: build envoy ## set everything up, and walk through what the filter does in a real Envoy
	@echo "== building the demo (first time: about a minute)"
	@cargo run --quiet --package oauth2-filter-testbed --bin demo

.PHONY: run
run: build envoy ## the same set-up, left running for you to try
	@echo "== building the demo (first time: about a minute)"
	@cargo run --quiet --package oauth2-filter-testbed --bin demo -- --stay

.PHONY: build
build: toolchain ## the filter, as target/oauth2_filter.wasm
	@echo "== building $(WASM) (first time: about a minute)"
	@# One crate type: only then does the linker see the whole program.
	@cargo rustc --release --lib --crate-type cdylib --target $(TARGET)
	@cargo run --quiet --package trim -- target/$(TARGET)/release/oauth2_filter.wasm $(WASM)

# In a folder of its own: in the usual one it would take the place of the filter that is used.
.PHONY: panics
panics: toolchain
	@echo "== building $(PANICS) (first time: about a minute)"
	@cargo rustc --release --lib --crate-type cdylib --target $(TARGET) \
		--features panic-on-command --target-dir target/panics
	@cargo run --quiet --package trim -- target/panics/$(TARGET)/release/oauth2_filter.wasm $(PANICS)

.PHONY: test
test: panics build envoy prometheus ## every test: units, simulated host, real Envoy
	@cargo test --workspace

.PHONY: flood
flood: build envoy ## a million refused tokens, then a million malformed ones: what memory the proxy takes
	@cargo test --test envoy a_million -- --ignored --nocapture

.PHONY: renewals
renewals: build envoy ## minutes of load: tokens of three seconds, a server that is away, a service that refuses all
	@cargo test --test envoy outbound:: -- --ignored --nocapture --test-threads 1

.PHONY: observability
observability: panics build envoy prometheus ## dashboard and alerts, in a real Prometheus that looks at a real Envoy
	@cargo test --test observability

.PHONY: micro
micro: ## what the core costs by itself, natively: instructions (with valgrind) and time
	@echo "== building the benchmark (first time: about a minute)"
	@cargo bench --quiet --package micro

.PHONY: check
check: toolchain ## format, lints for both targets, documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo clippy --lib --target $(TARGET) -- --deny warnings
	cargo clippy --lib --target $(TARGET) --all-features -- --deny warnings
	RUSTDOCFLAGS=--deny=warnings cargo doc --workspace --no-deps --document-private-items
	RUSTDOCFLAGS=--deny=warnings cargo doc --lib --target $(TARGET) --no-deps --document-private-items

.PHONY: interop
interop: build envoy ## both directions against authorization servers of others, which it installs
	@echo "== building the runner (first time: about a minute)"
	@cargo run --quiet --package oauth2-filter-testbed --features tls --bin interop

.PHONY: setup
setup: toolchain envoy prometheus ## what the other targets need: the wasm target, Envoy, Prometheus

.PHONY: toolchain
toolchain:
	@sh tests/setup/toolchain.sh $(TARGET)

.PHONY: envoy
envoy:
	@sh tests/setup/envoy.sh target/envoy

.PHONY: prometheus
prometheus:
	@sh tests/setup/prometheus.sh target/prometheus

.PHONY: clean
clean: ## remove everything that was built or installed here
	cargo clean
