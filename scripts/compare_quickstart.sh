#!/usr/bin/env bash
# The runs behind the README's picture: the quick start with three normalisation strategies, ten
# seeds each, as many runs at a time as the machine has cores. Run it again to resume. The recorded
# runs were made with seeding=additive.
#
#   SEEDS=10 scripts/compare_quickstart.sh [more settings]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=${RESULTS:-results/quickstart}

status=0
"$python" -m snnrl.train -m experiment=quickstart bn=carebn,vanilla,none "seed=range(${SEEDS:-10})" \
    seeding=additive tracking=none "results_dir=$results" hydra/launcher=joblib "$@" || status=$?
# Go on despite failed runs, which the comparison counts, but not after a signal.
[ "$status" -le 1 ] || exit "$status"

"$python" -m snnrl.compare "$results" --by bn.name --baseline vanilla --out "$results"
exit "$status"
