#!/usr/bin/env bash
# Methods that are neither a normalisation nor an actor of its own, on the quick start's task, as many
# runs at a time as the machine has cores: AHSAR and the balanced loss with and without CaRe-BN,
# circulate-firing neurons and a learnable surrogate with it. They run seed by seed, so that the
# finished runs can be compared at any time. Run it again to resume.
#
#   STEPS=20000 SEEDS=5 scripts/compare_methods.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/sweeping.sh
results=${RESULTS:-results/methods}

use_settings "$*" experiment=quickstart "total_steps=${STEPS:-20000}" tracking=none \
    "results_dir=$results" hydra/launcher=joblib

for ((seed = 0; seed < ${SEEDS:-5}; seed++)); do
    sweep train "seed=$seed" bn=carebn,none "$@"
    sweep train "seed=$seed" bn=carebn,none regulation=ahsar "$@"
    sweep train "seed=$seed" bn=carebn,none loss=balance "$@"
    sweep train "seed=$seed" neuron=circulate_firing "$@"
    sweep train "seed=$seed" surrogate=learnable "$@"
done

"$python" -m snnrl.compare "$results" \
    --by neuron.name,surrogate.name,bn.name,loss.name,regulation.name --out "$results"
exit "$status"
