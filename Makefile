# Thin: every target is a Python module in tools/. PYTHON is the interpreter that makes .venv.
PYTHON ?= python3
VENV := .venv/bin/python

# The option for a variable that stands on make's own command line; a shell's PROMPT is none of ours.
given = $(if $(filter command line,$(origin $(1))),$(2) "$$$(1)")

.PHONY: help demo test test-matrix ui install lint clean

help:
	@echo "make demo                          a picture edited three times in ComfyUI, with the tiny model"
	@echo "make demo PHOTO=p.png PROMPT='...' the same with your picture and instruction"
	@echo "make ui [PORT=8188]                ComfyUI with this pack, until Ctrl+C"
	@echo "make test                          set-up, checks and tests"
	@echo "make test-matrix                   what make test leaves out: details once more on other front ends, and on Ray"
	@echo "make test-matrix FRONT_ENDS=1.27.10 the same for these front ends alone; COMFYUI_PATH=/path in that ComfyUI"
	@echo "make lint                          the checks alone"
	@echo "make install COMFYUI=/path         this pack into a ComfyUI of yours"
	@echo "make clean                         removes .venv and what the tools cached in this folder"

demo:
	@$(PYTHON) -m tools.start setup_env
	@$(VENV) -m tools.start demo $(call given,PHOTO,--photo) $(call given,PROMPT,--prompt)

test:
	@$(PYTHON) -m tools.start setup_env --chromium
	@$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(VENV) -m pytest -n 2 --dist loadfile -m "not gpu and not weights and not matrix" --timeout 900 --durations 25

test-matrix:
	@$(PYTHON) -m tools.start setup_env --chromium
	OMP_NUM_THREADS=1 $(VENV) -m pytest -n 2 --dist loadfile -m matrix --timeout 900 --durations 25

ui:
	@$(PYTHON) -m tools.start setup_env
	@$(VENV) -m tools.start ui $(call given,PORT,--port)

install:
	@$(PYTHON) -m tools.start install $(if $(COMFYUI),"$$COMFYUI")

lint: export PATH := $(CURDIR)/.venv/bin:$(PATH)
lint:
	ruff format --check . && ruff check . && pyright && lint-imports && python -m tools.web_checks

clean:
	rm -rf .venv build .pytest_cache .ruff_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
