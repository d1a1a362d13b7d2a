#!/usr/bin/env bash
# The table of CaRe-BN (arXiv 2509.23791) and more, as one sweep: TD3 and DDPG, five environments,
# three neurons, five normalisations, five seeds. A second sweep has the ordinary actors. Run it
# again to resume. Other arguments go to the training command.
#
#   DRY_RUN=1 scripts/paper_table.sh          print the commands, the number of runs and the time
#   LAUNCHER=submitit_slurm scripts/paper_table.sh hydra.launcher.partition=long
#   ENVS=hopper NEURONS=clif scripts/paper_table.sh      a part of the table
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=${RESULTS:-results/paper_table}

algorithms=${ALGORITHMS:-td3,ddpg}
envs=${ENVS:-ant,half_cheetah,hopper,walker2d,inverted_double_pendulum}
neurons=${NEURONS:-clif,lif,dn}
norms=${NORMS:-none,vanilla,ca_only,re_only,carebn}
seeds=${SEEDS:-5}

common=("experiment=carebn/${algorithms//,/,carebn/}" "env=$envs" "seed=range($seeds)"
    "tracking=none" "results_dir=$results" "hydra/launcher=${LAUNCHER:-joblib}" "$@")
spiking=("$python" -m snnrl.train -m "${common[@]}" "neuron=$neurons" "bn=$norms")
ordinary=("$python" -m snnrl.train -m "${common[@]}" actor=ann bn=none)
compare=("$python" -m snnrl.compare "$results" --by "algo.name,actor.name,neuron.name,bn.name"
    --out "$results")

if [ -n "${DRY_RUN:-}" ]; then
    for command in spiking ordinary compare; do
        declare -n words=$command
        printf '%q ' "${words[@]}"
        printf '\n'
    done
    exec "$python" scripts/estimate_sweep.py "${spiking[@]:4}" -- "${ordinary[@]:4}"
fi

# Failed runs (status 1) do not stop the script.
status=0
"${spiking[@]}" || status=$?
[ "$status" -le 1 ] || exit "$status"
"${ordinary[@]}" || status=$?
[ "$status" -le 1 ] || exit "$status"
"${compare[@]}"
exit "$status"
