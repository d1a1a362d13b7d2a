#!/usr/bin/env bash
# All normalisation strategies on a small task: TD3, LIF neurons, Pendulum-v1, five seeds each, as
# many runs at a time as the machine has cores. Run it again to resume. Strategies that re-calibrate
# do so every 1,000 steps, because these runs are short. The recorded runs were made with
# seeding=additive.
#
#   STEPS=8000 SEEDS=5 scripts/compare_strategies.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/sweeping.sh
results=${RESULTS:-results/strategies}

use_settings "$*" experiment=quickstart env=pendulum "critic.hidden=[64,64]" algo.learning_starts=500 \
    algo.buffer_size=20000 evaluation.every=1000 "seed=range(${SEEDS:-5})" \
    "total_steps=${STEPS:-8000}" seeding=additive tracking=none "results_dir=$results" \
    hydra/launcher=joblib

sweep train bn=vanilla,ca_only,none "$@"
sweep train bn=carebn,re_only bn.recalibrate_every=1000 "$@"

"$python" -m snnrl.compare "$results" --by bn.name --baseline vanilla --out "$results"
exit "$status"
