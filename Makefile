# The commands of this repository; each is a line or two. What they need is found, or fetched, by .ci/prepare.

.PHONY: help demo test pingora otlp torture fuzz bench instructions pgo deb tarball check deny advisories
.DEFAULT_GOAL := help

# Cargo has a job server of its own, and warns about make's.
ready := unset MAKEFLAGS MFLAGS && . ./.ci/prepare
release := "$${CARGO_TARGET_DIR:-target}/release"

help: ## what there is
	@sed -n 's/^\([a-z]*\): ## /\1 /p' Makefile | while read -r name what; do printf '  make %-11s %s\n' "$$name" "$$what"; done
	@echo "  Arguments follow as ARGS: make demo ARGS='--requests 1000'"

demo: ## Bookinfo's reviews, three versions behind the gateway; Ctrl-C ends it
	@profile=release && $(ready) && cargo build --release -p trysail --locked && exec $(release)/trysail demo $(ARGS)

test: ## every test, with nextest where it can be had
	@$(ready) && set -- --workspace --locked $${CI:+--no-fail-fast} $(ARGS) && \
	{ promtool --version >/dev/null 2>&1 || echo 'skipped: prometheus is not installed, which the dashboards are tested with: apt-get install prometheus' >&2; } && \
	{ TRYSAIL_HELM=$$(.ci/tool helm) && export TRYSAIL_HELM || echo 'skipped: no helm, which the chart is tested with' >&2; } && \
	{ TRYSAIL_KUBECTL=$$(.ci/tool kubectl) && export TRYSAIL_KUBECTL || echo 'skipped: no kubectl, which the API server of the tests is tested with' >&2; } && \
	if nextest=$$(.ci/tool cargo-nextest); then exec "$$nextest" nextest run "$$@"; \
	else echo 'cargo-nextest could not be had: cargo test instead' >&2; exec cargo test "$$@"; fi

pingora: ## the tests of traffic once more, with all of it by Pingora's proxy
	@$(ready) && TRYSAIL_TEST_EXPRESS=0 exec "$$(.ci/tool cargo-nextest)" nextest run -p trysail --test it --locked $${CI:+--no-fail-fast} \
	-E 'not test(/^(cluster|package|service|page|cli|check|import|start|status|wrong_input|admin|dashboards)::/)' $(ARGS)

otlp: ## clippy and the tests of traces, which a build has only with the feature otlp
	@$(ready) && cargo clippy -p trysail --all-targets --features otlp --locked -- -D warnings && \
	exec cargo test -p trysail --features otlp --locked -- trac otlp $(ARGS)

torture: ## 5,000 slow clients of each kind, 100,000 mutated requests; takes minutes, and 20,000 descriptors
	@profile=release && $(ready) && ulimit -n 20000 && exec cargo test --release -p trysail --test it --test wire --locked -- --ignored --nocapture \
	five_thousand hundred_thousand $(ARGS)

SECONDS := 30
fuzz: ## what holds for any bytes, fuzzed: SECONDS=30 for each property
	@$(ready) && exec .ci/fuzz $(SECONDS) $(ARGS)

bench: ## what a request costs beside bare Pingora, nginx, HAProxy and Envoy, which it fetches; on a release build, twenty minutes; PGO=1 with the packaged build
	@profile=release && $(ready) && cargo build --release -p trysail --locked && \
	cargo build --release -p trysail-load-tests --bins --locked && \
	{ [ -z "$(PGO)" ] || { packaged=$$(packaging/pgo) && cp "$$packaged" $(release)/trysail-pgo; }; } && \
	TRYSAIL_PEERS=$$(load-tests/peers) exec cargo run --quiet --release -p trysail-load-tests --bin bench --locked -- $(ARGS)

instructions: ## user instructions per request, by valgrind, beside load-tests/instructions.json; ARGS=--write renews it
	@profile=release && $(ready) && cargo build --release -p trysail --locked && \
	cargo build --release -p trysail-load-tests --bin instructions --bin origin --locked && \
	exec "$${CARGO_TARGET_DIR:-target}/release/instructions" $(ARGS)

pgo: ## a release build that a run under load has shown the hot paths; two builds, prints where it is
	@profile=release && $(ready) && exec packaging/pgo $(ARGS)

deb: ## a Debian package in target/packages; PGO=1 as by make pgo, BINARY=PATH of a binary that is there
	@profile=release && $(ready) && binary=$$(packaging/binary deb) && exec packaging/deb "$$binary" "$${CARGO_TARGET_DIR:-target}/packages"

tarball: ## the same for any Linux; PGO=1, BINARY=PATH, STATIC=1 with musl
	@profile=release && $(ready) && binary=$$(packaging/binary tarball) && exec packaging/tarball "$$binary" "$${CARGO_TARGET_DIR:-target}/packages"

check: ## formatting and clippy, warnings as errors
	@$(ready) && cargo fmt --check && exec cargo clippy --workspace --all-targets --locked -- -D warnings

deny: ## licences, sources and banned or doubled crates of the tree
	@deny=$$(.ci/tool cargo-deny) && exec "$$deny" --locked check bans licenses sources $(ARGS)

advisories: ## known vulnerabilities in the tree; fetches RustSec's database
	@deny=$$(.ci/tool cargo-deny) && exec "$$deny" --locked check advisories $(ARGS)
