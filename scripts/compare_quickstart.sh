#!/usr/bin/env bash
# The runs behind the README's picture: TD3, LIF, three normalisation strategies, three seeds.
# Two processes at a time, one thread each; run again, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
steps=${STEPS:-40000}
export OMP_NUM_THREADS=1

for seed in 0 1 2; do
  for bn in carebn vanilla none; do
    echo "experiment=quickstart tracking=none total_steps=$steps bn=$bn seed=$seed"
  done
done | xargs -P 2 -L 1 "$python" -m snnrl.train

"$python" -m snnrl.compare results/InvertedDoublePendulum-v4 --by bn --out results/compare_quickstart
