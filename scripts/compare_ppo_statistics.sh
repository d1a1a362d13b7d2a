#!/usr/bin/env bash
# PPO with and without a bound on how far a refresh of the statistics moves the policy: two tasks,
# five seeds each. Two processes at a time, one thread each. Run it again to resume.
#
#   SEEDS="0 1 2 3 4" scripts/compare_ppo_statistics.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=${RESULTS:-results/ppo_statistics}
export OMP_NUM_THREADS=1

shared="algo=ppo env.n_envs=4 actor.hidden=[64,64] critic.hidden=[64,64] algo.learning_rate=1e-3
        algo.batch_size=128 kernel=native tracking=none results_dir=$results"
pendulum="env=pendulum algo.n_steps=1024 algo.gamma=0.9 total_steps=40960 evaluation.every=4096"
pole="env=inverted_pendulum algo.n_steps=256 total_steps=24576 evaluation.every=4096"

# One line per run. The strategies alternate, so that all have finished the same seeds at any time.
runs() {
  for seed in ${SEEDS:-0 1 2 3 4}; do
    for task in "$pendulum" "$pole"; do
      for strategy in "$@"; do
        echo $shared $task $strategy seed=$seed
      done
    done
  done
}

{
  runs "bn=carebn bn.refresh_kl=null" "bn=carebn bn.refresh_kl=0.01" "bn=vanilla bn.refresh_kl=null"
  runs "bn=carebn bn.refresh_kl=0.003"
} | xargs -P 2 -L 1 "$python" -m snnrl.train

"$python" -m snnrl.compare "$results" --by bn.name,bn.refresh_kl --out "$results"
