# make serve    the chat at http://127.0.0.1:8000/ (HOST=, PORT=; HOST=0.0.0.0 opens it to the network, PUBLIC= to those
#               who come through a tunnel that makes it known at that address, PUBLIC=https://x.example)
# make test     every test: JavaScript, Python, browser
# make test-redis    the tests that need an engine, on the redis-server that is installed
# make test-cluster  the same on a cluster of three
# make demo-failover  a leader is killed and another paused, and each topic is collected once: to be read, a minute
# make bench-topics   what a million topics cost, and how long a takeover takes; into bench/results/topics.json
# make bench          ours beside its peers: they are installed first, then about 25 minutes; into bench/results
# make soak     5,000 sockets join, chat, leave and reconnect for ten minutes, and nothing is lost nor left; Linux
# make check    format, lint, types; `make format` mends what it can
# make browser  install the browser that the browser tests drive (Debian, Ubuntu)

HOST = 127.0.0.1
PORT = 8000
PUBLIC =
PYTHON = python3
VENV = .venv
# A version to install over the others, as in DJANGO='Django==5.2.*'
DJANGO =
# OLDEST=1: the oldest version of every package that pyproject.toml allows, instead of the newest
OLDEST =
# What pytest is given, as in PYTEST='-k rooms'
PYTEST =
# What a bench is given, as in BENCH='--only fanout --rounds 1' or, for bench-topics, BENCH='--topics 50000'
BENCH =
# What the soak is given, as in SOAK='--minutes 1 --sockets 500'
SOAK =

RUN = $(VENV)/bin/python
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: serve test test-redis test-cluster demo-failover bench-topics bench soak check format browser clean venv

serve: venv
	@$(RUN) manage.py migrate --verbosity 0
	@SERVE_HOST=$(HOST) PUBLIC=$(PUBLIC) exec $(RUN) manage.py runserver $(HOST):$(PORT)

test: venv node_modules/.package-lock.json
	npm test --silent
	$(RUN) -m pytest $(PYTEST)

# Where the engine's kind may make a difference.
ENGINE_TESTS = tests/engine tests/registry tests/testing tests/test_hub.py tests/test_channels.py tests/test_publish.py \
	tests/test_topics.py tests/test_membership.py tests/test_topicserver.py tests/test_topics_command.py \
	tests/test_hostile.py tests/test_threats.py tests/test_presence.py tests/test_attendance.py tests/test_dismissal.py \
	tests/test_longpoll.py tests/e2e/test_cluster.py tests/e2e/test_candidates.py

test-redis test-cluster: test-%: venv
	REALTIME_TEST_ENGINE=$* $(RUN) -m pytest $(ENGINE_TESTS) $(PYTEST)

demo-failover: venv
	@$(RUN) -m bench.failover

bench-topics: venv
	@$(RUN) -m bench.topics $(BENCH)

bench: venv
	@$(RUN) -m bench.run $(BENCH)

soak: venv
	@$(RUN) -m bench.soak $(SOAK)

check: venv
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

format: venv
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

browser:
	$(SUDO) apt-get update
	$(SUDO) apt-get install --yes --no-install-recommends chromium

clean:
	rm -rf $(VENV) node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# The venv is made anew when it is half made or of another Python. `.made` says what was installed into it: the place
# (an editable install holds its path), the Django, whether all is the oldest, the files that list the packages; another
# one is installed over it.
TELL = import sys; v = sys.version_info[:2]; print("Python %d.%d" % v)
venv:
	@set -e; \
	wanted="$$($(PYTHON) -c '$(TELL); v < (3, 11) and sys.exit("Python 3.11 or later is needed: make PYTHON=...")')"; \
	if [ "$$($(RUN) -c 'import pip; $(TELL)' 2>&1)" != "$$wanted" ]; then \
		$(PYTHON) -m venv --clear $(VENV); \
	fi; \
	made="$(CURDIR) $$wanted $(DJANGO) $(OLDEST) $$(cat pyproject.toml requirements.txt | cksum)"; \
	if [ "$$(cat $(VENV)/.made 2>/dev/null)" != "$$made" ]; then \
		echo "Installing into $(VENV), $$wanted (half a minute, once)"; \
		rm -f $(VENV)/oldest.txt; \
		$(if $(OLDEST),$(RUN) tests/oldest.py >$(VENV)/oldest.txt;) \
		$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt $(if $(DJANGO),'$(DJANGO)') \
			$(if $(OLDEST),-c $(VENV)/oldest.txt); \
		echo "$$made" >$(VENV)/.made; \
	fi

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@
