# What README and CI run. Every target installs what it needs; CI=true turns what could not be run into a failure.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
ENGINES := bash deploy/engines/engines
BIN := target/release/tidemark
# What `prove` proves: the program that the tests were built with, since a release takes as long again to build. Before one is given
# away: make prove PROGRAM=target/release/tidemark
PROGRAM ?= target/debug/tidemark
# Tests that `prove` runs at full size. Where both run, SKIP_PROVED=yes leaves them out of `test`.
PROVED := embedded::thirty_kills engines:: kafka_kills:: memory::three_million redrives::a_redrive_on_kafka restore::what_is_lost \
	upload_memory:: uploads::a_held_upload_on_kafka uploads::a_held_upload_in_the_single
DENY := target/tools/bin/cargo-deny
SCHEMATHESIS := target/schemathesis

.PHONY: run release check test prove secure bench engines-up engines-down tools systemd languages browser prometheus schemathesis

run: release ## build, start everything in one process, load the sample, go on serving
	$(BIN) run --load sample/events.csv

release: tools ## the program
	cargo build --release --locked -p cli
	@if grep -q CONTROL_WITHOUT_RULE $(BIN); then echo "the release can be told to leave a rule out" >&2; exit 1; fi

tools: ## what builds need beside Rust: a C compiler, and for librdkafka the headers of zlib and OpenSSL
	@command -v cc >/dev/null && command -v make >/dev/null || { apt-get update && apt-get install -y build-essential; }
	@[ -e /usr/include/zlib.h ] || ls /usr/include/*/zlib.h >/dev/null 2>&1 || { apt-get update && apt-get install -y zlib1g-dev; }
	@[ -e /usr/include/openssl/ssl.h ] && command -v pkg-config >/dev/null || { apt-get update && apt-get install -y libssl-dev pkg-config; }

$(DENY): ## licences, bans and sources; nothing of it ends up in the program, and it is built to run once
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --version 0.20.2 --locked --no-default-features --debug --root target/tools --target-dir target/tools/build
	rm -rf target/tools/build

systemd: ## what checks the unit
	@command -v systemd-analyze >/dev/null || { apt-get update && apt-get install -y --no-install-recommends systemd; }

languages: ## what the producers of the documentation need beside Rust and Go
	@command -v javac >/dev/null || { apt-get update && apt-get install -y --no-install-recommends openjdk-17-jdk-headless; }
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3 python3-venv; }

check: tools systemd prometheus $(DENY) ## format, lints, docs, the rules that no tool knows, and what deploys it
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	PATH="$$PWD/target/tools/bin:$$PATH" bash deploy/checks
	deploy/prometheus/check
	deploy/deployment-check

browser: ## Chromium, in which the console is tested
	@command -v chromium chromium-browser google-chrome >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium; }

prometheus: ## Prometheus, by which dashboards and alert rules are tested
	@command -v prometheus promtool >/dev/null || { apt-get update && apt-get install -y --no-install-recommends prometheus; }

schemathesis: $(SCHEMATHESIS)/ready ## Schemathesis, which calls all that the API's document holds

$(SCHEMATHESIS)/ready: deploy/schemathesis/requirements.txt
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3 python3-venv; }
	rm -rf $(SCHEMATHESIS); python3 -m venv $(SCHEMATHESIS)
	$(SCHEMATHESIS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

test: tools browser schemathesis prometheus ## all tests, on the real engines and in a real browser
	cargo test --workspace --locked --no-run
	# Else what was built is still on its way to the disk while the tests wait for theirs.
	sync
	# Not before: beside the build they would only take time from it.
	$(ENGINES) up
	# Alerts wait for minutes and hardly work: meanwhile come tests that need no turn. In a group of its own, which ends with this shell.
	eval "$$($(ENGINES) env)"; failed=0; \
	  setsid cargo test --workspace --locked --test scenarios -- --nocapture monitoring:: >target/monitoring.log 2>&1 & alerts=$$!; \
	  trap 'kill -- -$$alerts 2>/dev/null || true' EXIT; \
	  cargo test --workspace --locked -- --skip monitoring:: $(if $(SKIP_PROVED),$(PROVED:%=--skip %)) || failed=1; \
	  wait $$alerts && grep "^test result" target/monitoring.log || { cat target/monitoring.log >&2; failed=1; }; \
	  exit $$failed

# Engines of their own, since they are killed as well. Tests are named with --workspace: for one package alone cargo would
# choose other features of the dependencies, and build those again.
prove: export TIDEMARK_ENGINES_INSTANCE ?= prove
prove: export TIDEMARK_ENGINES_PORT_BASE ?= 30090
prove: $(if $(filter %$(BIN),$(PROGRAM)),release) tools languages ## the longer kill and fault runs, the commands of the documentation, and what deploys it
	rm -rf target/controls; mkdir -p target/controls
	cargo build --workspace --locked
	$(ENGINES) up
	# Built with debug assertions the program leaves a rule out where it is told to. Then the tears of the real broker must fail: else
	# they would show nothing.
	eval "$$($(ENGINES) env)"; trap '$(ENGINES) down' EXIT; \
	  for control in chain=tears::a_zombie read-back=tears::late_ends; do \
	    rule=$${control%%=*}; log=target/controls/$$rule.log; \
	    if CONTROL_WITHOUT_RULE=$$rule TIDEMARK_SETTLE_S=30 TIDEMARK_BIN="$$PWD/target/debug/tidemark" \
	        cargo test --workspace --locked --test scenarios -- --nocapture --test-threads 1 "$${control#*=}" >"$$log" 2>&1; then \
	      echo "prove: the tears of the real broker pass without the $$rule rule: they show nothing" >&2; exit 1; \
	    fi; \
	    how=$$(grep -aoE -m 1 '[0-9]+ totals differ.*|not settled after .*' "$$log") || { tail -n 40 "$$log" >&2; exit 1; }; \
	    echo "prove: the tears of the real broker fail without the $$rule rule, as they must: $$how"; \
	  done; \
	  deploy/docs-check $(PROGRAM); \
	  TIDEMARK_BIN="$$(realpath $(PROGRAM))" TIDEMARK_KILLS=30 TIDEMARK_KEYS=1000000 TIDEMARK_RESTORE_S=15 TIDEMARK_HELD_ROWS=100000 TIDEMARK_LETTERS=10000 \
	  cargo test --workspace --locked --test scenarios -- --nocapture --test-threads 1 --include-ignored $(PROVED)
	# A million rows by `tidemark send`, stopped by Ctrl-C three times, its server killed twice.
	TIDEMARK_SEND_ROWS=1000000 cargo test --workspace --locked --test program -- send::a_file_that_is_stopped
	# The same simulation with a rule switched off must fail: else it would show nothing.
	for rule in chain read-back; do \
	  log=target/controls/simulated-$$rule.log; \
	  if CONTROL_WITHOUT_RULE=$$rule PROPTEST_DISABLE_FAILURE_PERSISTENCE=true \
	      cargo test --workspace --locked --test lanes chain:: >"$$log" 2>&1; then \
	    echo "prove: the chain tests pass without the $$rule rule: they show nothing" >&2; exit 1; \
	  fi; \
	  how=$$(grep -aoE -m 1 'test result: FAILED.*failed' "$$log") || { tail -n 40 "$$log" >&2; exit 1; }; \
	  echo "prove: the chain tests fail without the $$rule rule, as they must: $$how"; \
	done
	deploy/deployment-check $(PROGRAM)
	if [ "$$(id -u)" = 0 ] || [ "$${CI:-}" = true ]; then deploy/image/check $(PROGRAM); else echo "prove: NOT RUN without root: deploy/image/check" >&2; fi
	$(MAKE) secure

# Engines that encrypt every link and let in who is known alone.
secure: export TIDEMARK_ENGINES_INSTANCE = secure
secure: export TIDEMARK_ENGINES_PORT_BASE = 31090
secure: export TIDEMARK_ENGINES_SECURE = yes
secure: tools ## a million rows and kills over TLS, and everybody who must be refused
	cargo build --workspace --locked
	$(ENGINES) up
	eval "$$($(ENGINES) env)"; trap '$(ENGINES) down' EXIT; \
	  TIDEMARK_BIN="$$(realpath $(PROGRAM))" cargo test --workspace --locked --test scenarios -- --nocapture --test-threads 1 --include-ignored secure::

bench: tools engines-up ## rates and processor time beside the bare client's
	cargo build --release --locked -p cli -p bench
	eval "$$($(ENGINES) env)"; TIDEMARK_BIN="$$PWD/$(BIN)" target/release/bench

engines-up:
	$(ENGINES) up

engines-down:
	$(ENGINES) down
