#!/usr/bin/env bash
# All normalisations on the quick start's task, as many runs at a time as the machine has cores. They
# run seed by seed, so that the finished runs can be compared at any time. Run it again to resume.
# BNTT runs also with CaRe-BN's update rule and re-calibration. Batch renormalisation gets a warm-up
# that ends during so short a run. With the default, 100,000 passes, it would be a moving average
# throughout.
#
#   STEPS=20000 SEEDS=5 scripts/compare_norms.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=${RESULTS:-results/normalisations}
all=none,vanilla,ca_only,re_only,carebn,tdbn,tebn,bntt,tab,mpbn,layernorm,groupnorm

settings=()
for setting in experiment=quickstart "total_steps=${STEPS:-20000}" tracking=none \
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
    sweep "seed=$seed" "bn=$all" "$@"
    sweep "seed=$seed" bn=bntt bn.rule=confidence bn.recalibrate_every=5000 "$@"
    sweep "seed=$seed" bn=renorm bn.warmup=1000 "$@"
done

"$python" -m snnrl.compare "$results" --by bn.name,bn.rule --baseline "vanilla, bn.rule=ema" \
    --out "$results"
exit "$status"
