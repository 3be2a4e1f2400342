# make           run the notebook: runs/S5_Normalization.html to open in a browser, figures and results beside it
# make test      lint and tests
# make publish   run the notebook in place on full MNIST, and make README, docs and figures anew
# make clean     remove runs/ and the virtual environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NOTEBOOK := S5_Normalization.ipynb

.PHONY: study test publish clean

study: $(VENV)/study
	$(BIN)/python -m normbench.notebook $(NOTEBOOK)

test: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# The notebook shows pictures that the report draws, and the report says what the notebook's trainings gave.
publish: $(VENV)/study
	$(BIN)/python -m normbench report
	DATASET=mnist EPOCHS=20 OUTPUT_DIR=. $(BIN)/python -m normbench.notebook $(NOTEBOOK)
	$(BIN)/python -m normbench report

clean:
	rm -rf runs $(VENV)

# A file in the environment says which of the two lists is installed, in the versions of constraints.txt.
$(VENV)/study: requirements.txt constraints.txt
	@echo "Installing PyTorch and what else the study needs into $(VENV): some 6 GB, which takes minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

$(VENV)/dev: $(VENV)/study requirements-dev.txt requirements-ray.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	touch $@
