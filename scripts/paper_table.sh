#!/usr/bin/env bash
# The tables of CaRe-BN (arXiv 2509.23791) and Proxy Target (arXiv 2505.24161) and more, in CaRe-BN's
# protocol. One sweep has TD3 and DDPG, five environments, three neurons, eight normalisations, five
# seeds: with bn=none the rows vanilla LIF, pop-SAN and MDC-SAN. Others have the ordinary actors,
# ILC-SAN, and the proxies (TD3), CaRe-BN with one included. ILC-SAN and CaRe-BN with a proxy have
# neuron=clif, so they run where NEURONS has it. Run it again to resume. Other arguments go to the
# training command.
#
# The row of converted actors needs no training: python -m snnrl.convert on each run of ROWS=ordinary.
# PopSAN's own protocol is another: experiment=popsan/td3 for HalfCheetah and Ant, popsan/td3_poisson
# for Hopper and Walker2d (docs/baselines.md).
#
#   DRY_RUN=1 scripts/paper_table.sh          print the commands, the number of runs and the time
#   LAUNCHER=submitit_slurm scripts/paper_table.sh hydra.launcher.partition=long
#   ENVS=hopper NEURONS=clif scripts/paper_table.sh      a part of the table
#   ROWS=ilcsan,proxies scripts/paper_table.sh           some of its sweeps
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=${RESULTS:-results/paper_table}

algorithms=${ALGORITHMS:-td3,ddpg}
envs=${ENVS:-ant,half_cheetah,hopper,walker2d,inverted_double_pendulum}
neurons=${NEURONS:-clif,lif,dn}
norms=${NORMS:-none,vanilla,ca_only,re_only,carebn,tdbn,tebn,tab}
seeds=${SEEDS:-5}
known=spiking,ordinary,ilcsan,proxies,proxied_ordinary
rows=${ROWS:-$known}

# Whether a list has a word.
has() { [[ ",$1," == *,$2,* ]]; }

# A list without one of its words.
without() {
    local list=",$1,"
    list=${list/,$2,/,}
    list=${list#,}
    printf '%s' "${list%,}"
}

sweeps=()
sweep() {
    sweeps+=("$(printf '%q ' "$python" -m snnrl.train -m "$@" "seed=range($seeds)" "tracking=none" \
        "results_dir=$results" "hydra/launcher=${LAUNCHER:-joblib}" "${more[@]}")")
}

if has "$rows" proxies; then
    for neuron in ${neurons//,/ }; do
        [ -f "configs/experiment/proxy/td3_$neuron.yaml" ] || {
            echo "error: NEURONS=$neuron: has no proxy; expected some of lif,clif,dn, or ROWS" \
                "without proxies" >&2
            exit 2
        }
    done
fi

more=("$@")
paper="experiment=carebn/${algorithms//,/,carebn/}"
for row in ${rows//,/ }; do
    case $row in
        spiking) sweep "$paper" "env=$envs" "neuron=$neurons" "bn=$norms" ;;
        ordinary) sweep "$paper" "env=$envs" actor=ann bn=none ;;
        ilcsan)
            has "$neurons" clif || continue
            sweep experiment=ilcsan/td3_carebn "env=$envs"
            ;;
        proxies)
            others=$(without "$neurons" clif)
            [ -z "$others" ] || sweep "experiment=proxy/td3_${others//,/,proxy/td3_}" "env=$envs"
            has "$neurons" clif || continue
            sweep experiment=carebn/td3_proxy "env=$envs"
            # On one environment the proxy of CLIF was published with other sizes.
            small=inverted_double_pendulum
            large=$(without "$envs" $small)
            [ -z "$large" ] || sweep experiment=proxy/td3_clif "env=$large"
            ! has "$envs" $small ||
                sweep experiment=proxy/td3_clif env=$small "target.hidden=[512,512]"
            ;;
        proxied_ordinary)
            sweep experiment=carebn/td3 "env=$envs" actor=ann bn=none target=proxy
            ;;
        *)
            echo "error: ROWS=$row: expected some of $known" >&2
            exit 2
            ;;
    esac
done
if [ ${#sweeps[@]} -eq 0 ]; then
    echo "error: NEURONS=$neurons: ROWS=$rows has no run of these; expected NEURONS with clif" >&2
    exit 2
fi
compare=("$python" -m snnrl.compare "$results" --out "$results"
    --by "algo.name,actor.name,neuron.name,bn.name,target.name,actor.readout")

if [ -n "${DRY_RUN:-}" ]; then
    printf '%s\n' "${sweeps[@]}"
    printf '%q ' "${compare[@]}"
    printf '\n'
    estimated=()
    for words in "${sweeps[@]}"; do
        eval "command=($words)"
        [ ${#estimated[@]} -eq 0 ] || estimated+=(--)
        estimated+=("${command[@]:4}")
    done
    exec "$python" scripts/estimate_sweep.py "${estimated[@]}"
fi

# Failed runs (status 1) do not stop the script.
status=0
for words in "${sweeps[@]}"; do
    eval "command=($words)"
    done=0
    "${command[@]}" || done=$?
    [ "$done" -le 1 ] || exit "$done"
    [ "$done" -eq 0 ] || status=$done
done
"${compare[@]}"
exit "$status"
