# The two commands are `make run` and `make test`. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: run cluster servers uppy screenshots test test-all lint types migrations docs release bench bench-quick chaos hosts check lock clean

run: $(VENV)/run.stamp  ## Serve the demo portal with S3, web and Celery (PORT=8000 DATA_DIR=./var)
	@exec $(BIN)/python -m devstack.run

cluster: $(VENV)/run.stamp  ## The same with two web hosts: PORT and the next; one of them may die
	@exec $(BIN)/python -m devstack.run --hosts 2

test: $(VENV)/dev.stamp  ## Run the tests that take minutes (ARGS="-k admin" for pytest)
	$(BIN)/python -m tests.lanes $(ARGS)

test-all: $(VENV)/dev.stamp  ## Run all tests with every combination (LANE=mariadb for one lane)
	$(BIN)/python -m tests.lanes --all --lane "$(LANE)"

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/dev.stamp
	$(BIN)/mypy

migrations: $(VENV)/dev.stamp
	SECRET_KEY=check $(BIN)/python manage.py makemigrations --check --dry-run

docs: $(VENV)/dev.stamp  ## Write the tables of the documentation anew, and the site
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m docs.tables
	$(BIN)/zensical build --strict

release: $(VENV)/dev.stamp  ## Build what would be published, and verify it; nothing is published
	rm -rf var/dist && mkdir -p var/dist
	$(BIN)/uv build -q --out-dir var/dist
	$(BIN)/twine check --strict var/dist/*
	$(BIN)/check-wheel-contents --ignore W004 var/dist/*.whl
	$(BIN)/python -m venv --clear var/dist/env
	var/dist/env/bin/pip install -q "$$(echo var/dist/*.whl)[s3]"
	var/dist/env/bin/python -c "import uploads, storages"
	@echo 'Install it elsewhere: pip install "'$$(echo var/dist/*.whl)'[s3,celery]"'
	@echo 'Publish it: twine upload var/dist/django_*'

bench: $(VENV)/dev.stamp  ## Measure against the store alone and against other servers (needs npm)
	$(BIN)/python -m bench $(ARGS)

bench-quick: $(VENV)/dev.stamp
	$(BIN)/python -m bench --quick $(ARGS)

chaos: $(VENV)/dev.stamp  ## Many clients, random faults and kills (ARGS="--minutes 10 --seed 7")
	$(BIN)/python -m tests.faults.chaos $(ARGS)

hosts: $(VENV)/dev.stamp  ## Which checks of the contract hold in which portal
	$(BIN)/python -m tests.hosts.run

servers: $(VENV)/dev.stamp  ## The portal behind each web server and proxy: writes the table of docs/servers.md
	$(BIN)/python -m tests.servers.run

uppy:  ## A page with Uppy's dashboard in the portal of make run (needs npm)
	npm install --silent --no-audit --no-fund --prefix $${DATA_DIR:-var}/uppy $$(sed -n 's/.*"uppy": "\(.*\)".*/uppy@\1/p' tests/faults/clients/package.json)

screenshots: $(VENV)/dev.stamp  ## A picture of every page, in var/screenshots
	$(BIN)/python -m tests.screenshots

check: lint types migrations test test-all

lock: $(VENV)/dev.stamp  ## Write requirements/ anew from pyproject.toml
	$(BIN)/uv pip compile -q -U pyproject.toml --all-extras --group portal --universal --python-version 3.11 \
	  --custom-compile-command "make lock" -o requirements/run.txt
	$(BIN)/uv pip compile -q -U pyproject.toml --all-extras --group portal --group test --group lint --universal \
	  --python-version 3.11 -c requirements/run.txt --custom-compile-command "make lock" -o requirements/dev.txt

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run.stamp: requirements/run.txt $(VENV)/python.stamp
	@echo "Installing what the portal needs into $(VENV); only the first time, about a minute."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/python.stamp
	@echo "Installing what the tests need into $(VENV); only the first time, a minute or two."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@ $(VENV)/run.stamp

clean:
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
