# Needs nothing but make and Python 3.11 or newer; everything else goes into .venv, at the exact versions of the locks.

PYTHON ?=
VENV ?= .venv
NB ?=
WORKERS ?= 2
NB_WORKERS ?= 2
PORT ?= 8000
PYTEST_ARGS ?=

PY := $(VENV)/bin/python
export OMP_NUM_THREADS ?= 1
export TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help book test notebooks serve clean lock lint environment times

help:
	@echo "make book        make the environment and build the site in _build/html"
	@echo "make test        make the environment and run every check (style, types, site, tests, all notebooks)"
	@echo "make notebooks   execute the notebooks again, in place (NB=book/dual/scalar.ipynb for some)"
	@echo "make serve       show the built site on http://localhost:$(PORT) (PORT=…)"
	@echo "make lint        style and types only"
	@echo "make times       record the run times of the last make test NB_WORKERS=1 in book/data/run-times.json"
	@echo "make lock        resolve the exact versions again (requirements.lock, environment.yml)"
	@echo "make clean       remove the built site and the caches (.venv stays; remove it by hand)"
	@echo "PYTHON=…         the Python that makes the environment; the newest found from 3.11 on by default"

# The first Python that is new enough and can make an environment.
define find_python
candidates="$(PYTHON)"; \
[ -n "$$candidates" ] || candidates="python3.13 python3.12 python3.11 python3.14 python3 python"; \
found=; \
for candidate in $$candidates; do \
    "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
    found="$$candidate"; break; \
done; \
if [ -z "$$found" ]; then \
    echo "make: no usable Python among: $$candidates" >&2; \
    echo "make: need Python 3.11 or newer with the modules venv and ensurepip" >&2; \
    echo "make: (Debian, Ubuntu: apt-get install python3-venv); or name one: make PYTHON=/path/to/python3 ..." >&2; \
    exit 1; \
fi
endef

# The environment's own Python says whether it is current: one that was moved, or whose Python is gone, is made again.
environment:
	@$(PY) tools/environment.py make --check $(VENV) 2>/dev/null || { $(find_python); "$$found" tools/environment.py make $(VENV); }

# A failed build forgets what it has read: otherwise the next one would not repeat the warnings, and would pass.
book: environment
	@$(VENV)/bin/jupyter-book build book --config _config.yml --toc _toc.yml --path-output . -W --keep-going || { \
	    rm -rf _build/.doctrees; \
	    echo "make: the site did not build without warnings (see above)" >&2; exit 1; }
	@echo "The site is in _build/html. Open file://$(CURDIR)/_build/html/index.html, or: make serve"

lint: environment
	@$(PY) -m ruff check . || { echo "make: ruff found faults (above); some mend themselves: $(PY) -m ruff check --fix ." >&2; exit 1; }
	@$(PY) -m ruff format --check . || { echo "make: not in the common format; mend: $(PY) -m ruff format ." >&2; exit 1; }
	@$(PY) -m mypy || { echo "make: mypy found type errors (above)" >&2; exit 1; }

# Two notebooks at a time; for times to publish run them one at a time (NB_WORKERS=1), before make times.
test: lint book
	@$(PY) -m pytest book --nbval --nbval-current-env --nbval-cell-timeout=300 -n $(NB_WORKERS) --dist loadfile \
	    --durations=5 --junitxml=_build/reports/notebooks.xml $(PYTEST_ARGS) || { \
	    echo "make: notebooks failed (named above)" >&2; exit 1; }
	@$(PY) -m pytest tests -n $(WORKERS) --dist loadfile --durations=10 --junitxml=_build/reports/tests.xml \
	    $(PYTEST_ARGS) || { echo "make: tests failed (named above)" >&2; exit 1; }

notebooks: environment
	@$(PY) tools/notebooks.py run $(NB)

times: environment
	@$(PY) book/extensions/run_times.py

serve: book
	@echo "http://localhost:$(PORT) (stop: Ctrl-C)"
	@$(PY) -m http.server $(PORT) --bind localhost --directory _build/html

lock:
	@$(find_python); "$$found" tools/environment.py lock

clean:
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
