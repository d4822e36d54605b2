# run, test, lint, evaluate, train, bench, doctor: each creates what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data
RUN_FOLDER ?= runs/embedded
STEPS ?= 6000
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: run test lint evaluate evaluate-media train bench doctor clean

run: $(VENV)/installed $(VENV)/system-packages
ifdef TASK
	@$(BIN)/llmos run "$$TASK"
else
	@$(BIN)/llmos
endif

export TASK

test: $(VENV)/installed-dev $(VENV)/system-packages
	$(BIN)/pytest $(TESTS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

evaluate: $(VENV)/installed
	for set in core core_2 core_3 unseen dialogues dialogues_2; do \
	    echo $$set; $(BIN)/llmos eval tests/evaluation/$$set.jsonl || exit; done

# The models of draw and look, on what their training never saw; sheets in docs/media.
evaluate-media: $(VENV)/installed-dev $(VENV)/system-packages
	for tool in draw look; do echo $$tool; \
	    $(BIN)/python -m media_training.evaluate_$$tool || exit; done

# Two processes with one compute thread each: faster than one with two.
train: $(VENV)/installed-dev
	nice -n 19 $(BIN)/torchrun --nproc-per-node 2 -m llmos_kernel.training.recipe \
	    --data $(DATA) --out $(RUN_FOLDER) --steps $(STEPS)

# ONLY names one part: serving, decode, state, grammar, growth, traps, memory, tools, media or calls.
bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks $(ONLY)

doctor: $(VENV)/installed
	@$(BIN)/llmos doctor

# PyTorch first, at the tested version; a plain `torch` may pull gigabytes of CUDA.
$(VENV)/torch: constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	    { echo "no virtual environment could be made: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing llmos into $(VENV) (once; some minutes) ..." >&2
	@$(BIN)/pip install --quiet --upgrade "pip>=25" "setuptools<81"
	@$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	@touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[all]"
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

# llama.cpp is compiled, which takes minutes; without it the benchmarks leave its column out.
$(VENV)/installed-bench: $(VENV)/installed-dev
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bench]" || \
	    echo "The benchmarks go on without llama.cpp: it could not be built." >&2
	@touch $@

# What tools need of the system: installed where we may, else the command is printed.
$(VENV)/system-packages: | $(VENV)/torch
	@missing=; \
	command -v bwrap >/dev/null || missing="$$missing bubblewrap"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v tesseract >/dev/null || missing="$$missing tesseract-ocr"; \
	command -v espeak-ng >/dev/null || missing="$$missing espeak-ng"; \
	command -v ffmpeg >/dev/null || missing="$$missing ffmpeg"; \
	if [ -z "$$missing" ]; then touch $@; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing$$missing ..." >&2; \
	    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } \
	        >/dev/null && touch $@; \
	else echo "Some tools need more: sudo apt-get install$$missing" >&2; fi

clean:
	rm -rf $(VENV)
