#!/usr/bin/env bash
# Checks everything that needs a GPU on a bare CUDA machine, unattended, in six minutes: kernels,
# captured gradient steps, resuming, times, the benchmark.
#
#   WHEELS=folder OUT=folder scripts/bench/gpu.sh [arguments of scripts/bench/gpu_check.py]
#
# The machine needs Python, torch and triton; PYTHON names the interpreter (python3). WHEELS is a
# folder of wheels for a machine without network, as described in docs/benchmarks.md. They are
# installed into a temporary folder, so nothing on the machine changes. Results go to OUT, or to
# results/benchmarks. REVISION names the source in the results if there is no git.
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
