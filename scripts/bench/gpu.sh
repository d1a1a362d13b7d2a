#!/usr/bin/env bash
# Looks at all that needs a GPU on a bare CUDA machine, without asking anything, in six minutes:
# kernels, captured gradient steps, resuming, times, the benchmark.
#
#   WHEELS=folder OUT=folder scripts/bench/gpu.sh [arguments of scripts/bench/gpu_check.py]
#
# The machine has Python, torch and triton; PYTHON names the Python (python3). WHEELS is a folder of
# wheels for a machine without network: docs/benchmarks.md says which. They go into a folder of their
# own, and nothing on the machine changes. Results go to OUT, or to results/benchmarks. REVISION names
# the source in them where there is no git.
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

"$python" -m scripts.bench.gpu_check --out "${OUT:-results/benchmarks}" "$@"
