# make           run the notebook: runs/S5_Normalization.html to open in a browser, figures and results beside it
# make test      lint, types and tests
# make publish   run the notebook in place on full MNIST, and make README, docs and figures anew
# make colab     pack the project as a zip file to upload to Google Colab
# make clean     remove runs/ and the virtual environment

VENV ?= .venv
BIN := $(VENV)/bin
NOTEBOOK := S5_Normalization.ipynb

# PYTHON=python3.12 make takes that Python, and makes a virtual environment of another one anew. By default it is the
# environment's own, where there is one that can be used.
IS_NEW := 'import sys; sys.exit(sys.version_info < (3, 11))'
VERSION_OF := 'import sys; print("%d.%d" % sys.version_info[:2])'
ifndef PYTHON
PYTHON := $(shell $(BIN)/python -c $(IS_NEW) 2>/dev/null && echo $(BIN)/python || echo python3)
endif
VERSION := $(shell $(PYTHON) -c $(VERSION_OF) 2>/dev/null)
TOO_OLD := $(shell $(PYTHON) -c $(IS_NEW) 2>/dev/null || echo yes)

.PHONY: study test publish colab clean

study: $(VENV)/study-$(VERSION)
	$(BIN)/python -m study notebook $(NOTEBOOK)

test: $(VENV)/dev-$(VERSION)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# The notebook shows pictures that the report draws, and the report says what the notebook's trainings gave.
publish: $(VENV)/study-$(VERSION)
	$(BIN)/python -m study report
	DATASET=mnist EPOCHS=20 OUTPUT_DIR=. $(BIN)/python -m study notebook $(NOTEBOOK)
	mv results/notebook.jsonl study/results/ && rm -r results
	$(BIN)/python -m study report

colab: $(VENV)/study-$(VERSION)
	$(BIN)/python -m study colab

clean:
	rm -rf runs $(VENV)

# A file in the environment says which of the two lists is installed, in the versions of constraints.txt, for which Python.
$(VENV)/study-$(VERSION): requirements.txt constraints.txt
	$(if $(TOO_OLD),$(error Python 3.11 or newer is needed, and $(PYTHON) is $(or $(VERSION),not there): name one, as in PYTHON=python3.12 make))
	@echo "Installing PyTorch and what else the study needs into $(VENV): some 6 GB, which takes minutes."
	@[ "$$($(BIN)/python -c $(VERSION_OF) 2>/dev/null)" = $(VERSION) ] || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

$(VENV)/dev-$(VERSION): $(VENV)/study-$(VERSION) requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	touch $@
