#!/usr/bin/env bash
# What trained agents return and cost outside of training: trains a spiking and an ordinary agent on two
# small tasks, as many runs at a time as the machine has cores, and then measures them one by one, when
# nothing else should run. Run it again to resume.
#
#   STEPS=20000 scripts/deploy_table.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/sweeping.sh
results=${RESULTS:-results/deploy}

use_settings "$*" experiment=quickstart "total_steps=${STEPS:-20000}" seed=0 tracking=none \
    "results_dir=$results" hydra/launcher=joblib

sweep train env=inverted_double_pendulum,pendulum bn=carebn "$@"
sweep train env=inverted_double_pendulum,pendulum actor=ann "$@"
[ "$status" -eq 0 ] || exit "$status"

runs=()
for task in InvertedDoublePendulum-v4 Pendulum-v1; do
    for actor in lif-carebn ann-none; do
        runs+=("$results/$task/td3-$actor-"*/seed-0)
    done
done
OMP_NUM_THREADS=1 "$python" -m scripts.deploy_table "$results" "${runs[@]}"
