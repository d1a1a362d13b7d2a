#!/usr/bin/env bash
# The field's spiking actors on the quick start's task, as many runs at a time as the machine has cores:
# no normalisation, an ordinary moving average, CaRe-BN, a proxy in place of the target actor with and
# without CaRe-BN, the actors of PopSAN, MDC-SAN and ILC-SAN, and an ordinary one. All have the quick
# start's protocol, which is nobody's published one. They run seed by seed, so that the finished runs
# can be compared at any time. Run it again to resume.
#
#   STEPS=20000 SEEDS=5 scripts/compare_actors.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/sweeping.sh
results=${RESULTS:-results/actors}

use_settings "$*" experiment=quickstart "total_steps=${STEPS:-20000}" tracking=none \
    "results_dir=$results" hydra/launcher=joblib

for ((seed = 0; seed < ${SEEDS:-5}; seed++)); do
    sweep train "seed=$seed" bn=none,vanilla,carebn "$@"
    sweep train "seed=$seed" bn=none,carebn target=proxy "$@"
    # PopSAN, MDC-SAN, ILC-SAN.
    sweep train "seed=$seed" bn=none neuron=clif "$@"
    sweep train "seed=$seed" bn=none neuron=dn_mdcsan encoder=population_current "$@"
    sweep train "seed=$seed" bn=none neuron=clif actor.readout=membrane actor.lateral=intra "$@"
    sweep train "seed=$seed" actor=ann "$@"
done

"$python" -m snnrl.compare "$results" \
    --by actor.name,neuron.name,bn.name,target.name,actor.readout --out "$results"
exit "$status"
