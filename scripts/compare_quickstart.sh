#!/usr/bin/env bash
# The runs behind the README's picture: the quick start with three normalisation strategies, ten
# seeds each, as many runs at a time as the machine has cores. Run it again to resume. The recorded
# runs were made with seeding=additive.
#
#   SEEDS=10 scripts/compare_quickstart.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/sweeping.sh
results=${RESULTS:-results/quickstart}

use_settings "$*" experiment=quickstart "seed=range(${SEEDS:-10})" seeding=additive tracking=none \
    "results_dir=$results" hydra/launcher=joblib
sweep train bn=carebn,vanilla,none "$@"

"$python" -m snnrl.compare "$results" --by bn.name --baseline vanilla --out "$results"
exit "$status"
