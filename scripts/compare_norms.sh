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
source scripts/sweeping.sh
results=${RESULTS:-results/normalisations}
all=none,vanilla,ca_only,re_only,carebn,tdbn,tebn,bntt,tab,mpbn,layernorm,groupnorm

use_settings "$*" experiment=quickstart "total_steps=${STEPS:-20000}" tracking=none \
    "results_dir=$results" hydra/launcher=joblib

for ((seed = 0; seed < ${SEEDS:-5}; seed++)); do
    sweep train "seed=$seed" "bn=$all" "$@"
    sweep train "seed=$seed" bn=bntt bn.rule=confidence bn.recalibrate_every=5000 "$@"
    sweep train "seed=$seed" bn=renorm bn.warmup=1000 "$@"
done

"$python" -m snnrl.compare "$results" --by bn.name,bn.rule --baseline "vanilla, bn.rule=ema" \
    --out "$results"
exit "$status"
