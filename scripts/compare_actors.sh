#!/usr/bin/env bash
# The field's spiking actors on the quick start's task, as many runs at a time as the machine has cores:
# no normalisation, an ordinary moving average, CaRe-BN, a proxy in place of the target actor with and
# without CaRe-BN, the actors of PopSAN, MDC-SAN and ILC-SAN, and an ordinary one. All have the quick
# start's protocol, which is nobody's published one. They run seed by seed, so that the finished runs
# can be compared at any time. Run it again to resume.
#
#   STEPS=30000 SEEDS=5 scripts/compare_actors.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=${RESULTS:-results/actors}

settings=()
for setting in experiment=quickstart "total_steps=${STEPS:-30000}" tracking=none \
    "results_dir=$results" hydra/launcher=joblib; do
    [[ " $* " == *" ${setting%%=*}="* ]] || settings+=("$setting")
done

status=0
sweep() {
    local done=0
    "$python" -m snnrl.train -m "${settings[@]}" "$@" || done=$?
    # Go on despite failed runs, which the comparison counts, but not after a signal.
    [ "$done" -le 1 ] || exit "$done"
    [ "$done" -eq 0 ] || status=$done
}
for ((seed = 0; seed < ${SEEDS:-5}; seed++)); do
    sweep "seed=$seed" bn=none,vanilla,carebn "$@"
    sweep "seed=$seed" bn=none,carebn target=proxy "$@"
    # PopSAN, MDC-SAN, ILC-SAN.
    sweep "seed=$seed" bn=none neuron=clif "$@"
    sweep "seed=$seed" bn=none neuron=dn_mdcsan encoder=population_current "$@"
    sweep "seed=$seed" bn=none neuron=clif actor.readout=membrane actor.lateral=intra "$@"
    sweep "seed=$seed" actor=ann "$@"
done

"$python" -m snnrl.compare "$results" \
    --by actor.name,neuron.name,bn.name,target.name,actor.readout --out "$results"
exit "$status"
