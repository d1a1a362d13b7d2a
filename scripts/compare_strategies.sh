#!/usr/bin/env bash
# All normalisation strategies on the quick start's task: TD3, LIF neurons, five seeds each, as many
# runs at a time as the machine has cores. Run again, it goes on where it stopped.
#
#   STEPS=30000 SEEDS=5 scripts/compare_strategies.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=${RESULTS:-results/strategies}

status=0
"$python" -m snnrl.train -m experiment=quickstart bn=vanilla,ca_only,re_only,carebn,none \
    "seed=range(${SEEDS:-5})" "total_steps=${STEPS:-30000}" tracking=none "results_dir=$results" \
    hydra/launcher=joblib "$@" || status=$?
# What failed is in the comparison too; a signal is not a result.
[ "$status" -le 1 ] || exit "$status"

"$python" -m snnrl.compare "$results" --by bn.name --baseline vanilla --out "$results"
exit "$status"
