# Every recipe is what one would type after `. .venv/bin/activate`.
# PYTHON= chooses the CPython (3.10 to 3.12) of .venv, PORT= the dashboard's port, WORK= the folder of the runs it shows,
# WITH= a further package for dist.

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHON
export MLFLOW_DISABLE_TELEMETRY := true
# The dashboard is for looking: without this MLflow starts a second server with five workers for jobs.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
PORT ?= 5000
WORK ?= work

# `make setup` writes the folder's path into this file, last. A .venv cannot be moved, so one that was is set up anew.
READY := .venv/ready
ifneq ($(PYTHON)$(file <$(READY)),$(CURDIR))
.PHONY: $(READY)
endif

.PHONY: help setup demo test check docs bench format dashboard dist audit sbom cluster-up cluster-demo cluster-down \
	lock clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## .venv with all packages, Horovod and Java; the targets below do it themselves when needed
	@sh setup/check.sh

$(READY): pyproject.toml requirements.lock requirements-cuda.lock $(wildcard setup/*.*)
	@sh setup/check.sh

demo: $(READY) ## handwritten digits: dataset, three trained LeNet-5, their ensemble
	spark-submit jobs/preprocess.py conf/preprocess/digits.yaml
	horovodrun -np 2 python jobs/train.py conf/train/lenet5_digits.yaml seed=1
	horovodrun -np 2 python jobs/train.py conf/train/lenet5_digits.yaml seed=2
	horovodrun -np 2 python jobs/train.py conf/train/lenet5_digits.yaml seed=3
	horovodrun -np 2 python jobs/evaluate.py conf/evaluate/digits.yaml
	spark-submit jobs/ensemble.py conf/ensemble/digits.yaml

test: $(READY) ## the whole test suite
	pytest

check: $(READY) ## lint, format, types, who imports whom, links of docs/; rewrites nothing
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	mkdocs build --strict  # --quiet would not see its own warnings

docs: $(READY) ## the pages of docs/, as a site in build/site
	python -m pipelines.reference
	mkdocs build --strict
	@echo "built: build/site/index.html"

format: $(READY) ## rewrite the code in the house's format
	ruff format .
	ruff check --fix .

bench: $(READY) ## all benchmarks into one table, hours; FOLDER= of real JPEG files; BENCH=short only shows that they run
	python -m benchmarks.everything $(FOLDER) $(if $(BENCH),--$(BENCH))

dashboard: $(READY) ## runs, metrics and models in the browser
	@test -f $(WORK)/mlflow.db || { echo "There are no runs in $(WORK) yet: run 'make demo' first."; exit 1; }
	@python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT)))' 2>/dev/null || \
		{ echo "Port $(PORT) is taken: try 'make dashboard PORT=$$(( $(PORT) + 1 ))'."; exit 1; }
	@echo "In about 15 seconds the dashboard will have these experiments; Ctrl-C ends it."
	@python -m pipelines.tracking.dashboard sqlite:///$(WORK)/mlflow.db http://127.0.0.1:$(PORT)
	mlflow server --host 127.0.0.1 --port $(PORT) --workers 1 \
		--backend-store-uri sqlite:///$(WORK)/mlflow.db --artifacts-destination $(WORK)/artifacts

dist: $(READY) ## what a cluster's executors need and do not have, as one archive: dist/ (WITH=torch: for scoring)
	python setup/dist.py dist $(WITH)

audit: $(READY) ## the locked packages against PyPI's advisories; setup/audit.yaml has the accepted ones
	python setup/audit.py

sbom: $(READY) ## what is installed, as CycloneDX: dist/
	@mkdir -p dist
	uv tool run -q --from cyclonedx-bom==7.5.0 cyclonedx-py environment .venv/bin/python --of JSON -o dist/sbom.cdx.json
	@echo "written: dist/sbom.cdx.json"

COMPOSE := docker compose -f docker/compose.yaml
TRACKED := tracking.uri=http://mlflow:5000

cluster-up: ## a cluster of containers on this machine: Spark, MLflow, PostgreSQL, MinIO, two hosts that train
	@test -s docker/.env || { echo "The passwords are missing: (umask 077 && sh docker/secrets.sh > docker/.env)"; exit 1; }
	$(COMPOSE) --profile tools build
	$(COMPOSE) up --detach --wait
	@echo "MLflow: http://localhost:5000 (user strata, password MLFLOW_PASSWORD of docker/.env). Next: make cluster-demo"

cluster-demo: ## the demo on that cluster
	$(COMPOSE) run --rm submit spark-submit --master spark://spark-master:7077 jobs/preprocess.py conf/preprocess/digits.yaml
	$(COMPOSE) exec training-1 horovodrun -np 2 -H training-1:1,training-2:1 \
		python jobs/train.py conf/train/lenet5_digits.yaml 'seeds=[1..3]' $(TRACKED)
	$(COMPOSE) exec training-1 horovodrun -np 2 -H training-1:1,training-2:1 \
		python jobs/evaluate.py conf/evaluate/digits.yaml $(TRACKED)
	$(COMPOSE) run --rm submit spark-submit --master spark://spark-master:7077 \
		jobs/ensemble.py conf/ensemble/digits.yaml $(TRACKED)

cluster-down: ## end it; datasets and runs stay in its volumes
	$(COMPOSE) down
	@echo "Kept: the volumes. To remove them, too: $(COMPOSE) down --volumes"

lock: $(READY) ## take the newest versions that pyproject.toml allows into the lock files
	uv lock -q --upgrade
	uv export -q --all-extras --no-header --no-emit-project --no-emit-package horovod -o .lock.all > /dev/null
	sed -i "s/\( ;\| and\) platform_machine == 'x86_64' and sys_platform == 'linux'//" .lock.all
	awk '/^[^ ]/ { cuda = /^(torch=|nvidia-|cuda-|triton=)/ } !cuda' .lock.all > requirements.lock
	awk '/^(torch=|nvidia-|cuda-|triton=)/ { sub(/ *\\$$/, ""); print }' .lock.all > requirements-cuda.lock
	rm .lock.all uv.lock

clean: ## remove .venv, dist and caches
	rm -rf .venv .venv.lock build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./work -prune -o -name __pycache__ -type d -exec rm -rf {} +
	@echo "Kept: work/, your datasets and runs."
