#!/usr/bin/env bash
# The runs behind the README's picture: TD3, LIF, three normalisation strategies, three seeds.
# Two processes at a time, one thread each; run again, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=results/quickstart
export OMP_NUM_THREADS=1

for seed in 0 1 2; do
  for bn in carebn vanilla none; do
    echo "experiment=quickstart tracking=none total_steps=40000 bn=$bn seed=$seed results_dir=$results"
  done
done | xargs -P 2 -L 1 "$python" -m snnrl.train

"$python" -m snnrl.compare "$results" --by bn --out "$results"
