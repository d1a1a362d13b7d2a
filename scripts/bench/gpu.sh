#!/usr/bin/env bash
# Checks the CUDA kernels and runs the benchmark on a bare CUDA machine, without asking anything.
#
#   WHEELS=folder OUT=folder scripts/bench/gpu.sh [arguments of the benchmark]
#
# The machine has Python, torch and triton; PYTHON names the Python (python3). WHEELS is a folder of
# wheels for a machine without network: docs/benchmarks.md says which. They go into a folder of their
# own, and nothing on the machine changes. Results go to OUT, or to results/benchmarks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=${PYTHON:-python3}
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
if [[ -n ${WHEELS:-} ]]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
        --target "$packages" "$WHEELS"/*.whl
fi
export PYTHONPATH="$PWD:$packages${PYTHONPATH:+:$PYTHONPATH}"
export WANDB_MODE=disabled

nvidia-smi --query-gpu=name,driver_version,clocks.sm,temperature.gpu --format=csv || true
"$python" -c 'import torch, triton; print("torch", torch.__version__, "triton", triton.__version__)'

status=0
"$python" scripts/bench/check_kernels.py || status=1
"$python" -m scripts.bench --device cuda --out "${OUT:-results/benchmarks}" "$@" || status=1
exit "$status"
