#!/usr/bin/env bash
# Neurons, surrogates, normalisations, regulations and loss terms on scikit-learn's digits, one factor
# at a time around a base, as many runs at a time as the machine has cores: seed by seed, so that what
# is finished is a comparison at any time. Run again, it goes on where it stopped. Batch
# renormalisation has a warm-up that such a short run can leave behind. Regulation and loss terms are
# compared with and without normalisation. The sigmoid surrogate is tanh at another scale.
#
#   EPOCHS=30 SEEDS=5 scripts/compare_classifiers.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/sweeping.sh
results=${RESULTS:-results/classifiers}

use_settings "$*" data=digits "epochs=${EPOCHS:-30}" tracking=none "results_dir=$results" \
    hydra/launcher=joblib

for ((seed = 0; seed < ${SEEDS:-5}; seed++)); do
    sweep classify "seed=$seed" neuron=lif,clif,dn,plif,alif,ternary,circulate_firing,dn_mdcsan "$@"
    sweep classify "seed=$seed" surrogate=tanh,triangle,atan,fast_sigmoid,learnable "$@"
    sweep classify "seed=$seed" \
        bn=none,vanilla,ca_only,re_only,tdbn,tebn,bntt,tab,mpbn,layernorm,groupnorm "$@"
    sweep classify "seed=$seed" bn=renorm bn.warmup=100 "$@"
    sweep classify "seed=$seed" loss=rate,balance bn=carebn,none "$@"
    sweep classify "seed=$seed" regulation=ahsar bn=carebn,none "$@"
    sweep classify "seed=$seed" actor=ann "$@"
done

"$python" -m snnrl.compare "$results" \
    --by neuron.name,surrogate.name,bn.name,loss.name,regulation.name,actor.name \
    --out "$results"
exit "$status"
