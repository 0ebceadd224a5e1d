# The commands of the lab. Windows, or no make: README.md has the same in plain pip form.

# Python keeps what it compiles, also in containers that forbid it, where each of the tests' forty Pythons did it anew.
export PYTHONDONTWRITEBYTECODE =
PIP = .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check
PYTHON ?= python3 python3.12 python3.11 python
CHECK = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
EXECUTE = .venv/bin/jupyter nbconvert --log-level WARN --to notebook --execute \
	--ExecutePreprocessor.record_timing=False \
	--ExecutePreprocessor.store_widget_state=False

.PHONY: help notebooks test test-browser test-faults test-stability record lab render html release points grade formgrader clean

help:
	@echo "make notebooks       set up, run every notebook, write .ipynb and pages to build/"
	@echo "make test            set up, run ruff and all tests, re-execute every notebook"
	@echo "make test-browser    the widgets in Chromium (skipped where there is none)"
	@echo "make test-faults     the whole fault suite (20 minutes); writes the table in tests/README.md"
	@echo "make test-stability  the whole test suite five times, in random order (half an hour)"
	@echo "make record          seconds to a published loss, the usual way and our fastest (hours; needs the real data)"
	@echo "make lab             set up, open JupyterLab"
	@echo "make html            the notebooks as they are, as pages to read offline, in build/html/"
	@echo "make render          run every notebook in the full profile, in place (needs the real data)"
	@echo "make release         the students' version, without solutions, in build/release/"
	@echo "make points          a table of all points and mark schemes"
	@echo "make grade SUBMISSIONS=folder"
	@echo "                     points and feedback, in course/, for what a learning platform exported or folder/<student>/"
	@echo "make formgrader      open the form in which written answers are read and marked"
	@echo "make clean           remove .venv, build/ and caches; data, weights and course/ stay"

# .grading: with what instructors need on top (notebooks/README.md), and the extras, which are tested, too.
.venv/.ready: EXTRAS =
.venv/.grading: EXTRAS = -e .[grading,photos,parquet]

# The first Python of the list that the pinned packages have wheels for.
.venv/.ready .venv/.grading: requirements.txt pyproject.toml setup.py
	@for python in $(PYTHON); do \
	  if $$python -c '$(CHECK)' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "The lab needs Python 3.11 or 3.12 (numpy<2.0 has no wheels for 3.13), and '$(PYTHON)' is not:" \
	    "install one, or name it with make PYTHON=/path/to/python3.12." >&2; exit 1; \
	fi; \
	echo "Setting up .venv with $$found: a minute or two, 5.5 GB on Linux."; \
	$$found -m venv .venv
	$(PIP) --upgrade pip
	$(PIP) --no-compile -r requirements.txt $(EXTRAS)
	@.venv/bin/python -m compileall -q -j 0 -x /tests/ .venv/lib >/dev/null || true  # on all cores; pip takes one
	@touch .venv/.ready $@

# Two at a time, each with half of the cores; the last line is the path of an index page.
notebooks: .venv/.ready
	@mkdir -p build && rm -f build/*.ipynb build/*.html build/*.log
	@threads=$$((($$(getconf _NPROCESSORS_ONLN) + 1) / 2)); echo "Running the notebooks, two at a time: some minutes."; \
	printf '%s\n' notebooks/*.ipynb | OMP_NUM_THREADS=$$threads xargs -n 1 -P 2 sh -c \
	  'start=$$(date +%s); log=build/$$(basename "$$0").log; \
	   if $(EXECUTE) --output-dir build "$$0" >"$$log" 2>&1; \
	   then rm "$$log"; echo "done: $$0, $$(($$(date +%s) - start)) s"; \
	   else cat "$$log"; echo "FAILED: $$0, see its error above"; exit 1; fi' || failed=1; \
	.venv/bin/python notebooks/teaching/pages.py build build && exit $$failed

test: .venv/.grading
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	OMP_NUM_THREADS=1 .venv/bin/pytest --nbval-lax --numprocesses logical --dist loadscope --no-loadscope-reorder

test-browser: .venv/.ready
	$(PIP) -e .[browser]
	.venv/bin/pytest -m browser -rs tests/lessons/test_browser.py

test-faults: .venv/.grading
	OMP_NUM_THREADS=1 .venv/bin/pytest -m "not browser" -rs --numprocesses logical --dist loadscope tests/faults

test-stability: .venv/.grading
	for seed in 1 2 3 4 5; do \
	  OMP_NUM_THREADS=1 .venv/bin/pytest --nbval-lax --numprocesses logical --dist loadscope --no-loadscope-reorder \
	    --random-order-bucket=module --random-order-seed=$$seed tests && \
	  OMP_NUM_THREADS=1 .venv/bin/pytest --nbval-lax --numprocesses logical --dist loadscope notebooks || exit 1; \
	done

record: .venv/.ready
	.venv/bin/python tests/benchmarks/record.py

lab: .venv/.ready
	.venv/bin/jupyter lab notebooks

html: .venv/.ready
	.venv/bin/python notebooks/teaching/pages.py

release: .venv/.grading
	.venv/bin/python notebooks/teaching/release.py

points: .venv/.ready
	@.venv/bin/python notebooks/teaching/points.py

grade: .venv/.grading
	.venv/bin/python notebooks/teaching/grade.py $(if $(SUBMISSIONS),"$(SUBMISSIONS)")

formgrader: .venv/.grading
	cd notebooks/teaching && ../../.venv/bin/jupyter lab --ServerApp.root_dir=../.. --LabApp.default_url=/formgrader

render: .venv/.ready
	.venv/bin/python notebooks/teaching/render.py

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache data/cache
	find . -name __pycache__ -prune -exec rm -rf {} +
