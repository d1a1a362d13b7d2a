#!/usr/bin/env bash
# All normalisation strategies on a small task: TD3, LIF neurons, Pendulum-v1, five seeds each, as
# many runs at a time as the machine has cores. Run it again to resume. Strategies that re-calibrate
# do so every 1,000 steps, because these runs are short. The recorded runs were made with
# seeding=additive.
#
#   STEPS=8000 SEEDS=5 scripts/compare_strategies.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=${RESULTS:-results/strategies}

# Settings on the command line replace these.
settings=()
for setting in experiment=quickstart env=pendulum "critic.hidden=[64,64]" algo.learning_starts=500 \
    algo.buffer_size=20000 evaluation.every=1000 "seed=range(${SEEDS:-5})" \
    "total_steps=${STEPS:-8000}" seeding=additive tracking=none "results_dir=$results" \
    hydra/launcher=joblib; do
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
sweep bn=vanilla,ca_only,none "$@"
sweep bn=carebn,re_only bn.recalibrate_every=1000 "$@"

"$python" -m snnrl.compare "$results" --by bn.name --baseline vanilla --out "$results"
exit "$status"
