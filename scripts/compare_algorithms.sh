#!/usr/bin/env bash
# SAC, PPO and DQN with spiking networks, each with three normalisation strategies, on small tasks.
# Two processes at a time, one thread each. Run it again to resume. The recorded runs were made with
# seeding=additive.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=results/algorithms
export OMP_NUM_THREADS=1

sac="algo=sac env=pendulum actor.hidden=[64,64] critic.hidden=[64,64] algo.learning_rate=1e-3
     algo.batch_size=128 algo.learning_starts=500 algo.buffer_size=20000 total_steps=8000
     evaluation.every=1000 kernel=naive"
ppo="algo=ppo env=pendulum env.n_envs=4 actor.hidden=[64,64] critic.hidden=[64,64]
     algo.learning_rate=1e-3 algo.n_steps=1024 algo.batch_size=128 algo.gamma=0.9 total_steps=100000
     evaluation.every=4096 kernel=naive"
dqn="algo=dqn env=cartpole actor.hidden=[64,64] algo.learning_rate=5e-4 algo.gamma=0.98
     algo.batch_size=64 algo.learning_starts=1000 algo.buffer_size=50000 algo.train_freq=2
     algo.exploration_updates=5000 algo.exploration_final_eps=0.05 algo.target_update_updates=500
     total_steps=20000 evaluation.every=1000 kernel=naive"
minatar="algo=dqn env=minatar/breakout actor.hidden=[128] algo.learning_rate=5e-4 algo.batch_size=32
     algo.loss=huber algo.learning_starts=2000 algo.train_freq=4 algo.exploration_updates=5000
     algo.exploration_final_eps=0.05 algo.target_update_updates=500 total_steps=100000
     evaluation.every=10000 kernel=compile"

# One line per run; only carebn re-calibrates.
runs() {
  local settings=$1 seeds=$2 recalibration=$3
  for seed in $seeds; do
    echo $settings bn=carebn $recalibration seed=$seed
    echo $settings bn=vanilla seed=$seed
    echo $settings bn=none seed=$seed
  done
}

{
  runs "$minatar" "0" "bn.recalibrate_every=5000 bn.recalibrate_batches=50"
  runs "$ppo" "0 1" ""
  runs "$dqn" "0 1 2" "bn.recalibrate_every=1000 bn.recalibrate_batches=20"
  runs "$sac" "0 1 2" "bn.recalibrate_every=1000 bn.recalibrate_batches=20"
} | sed "s|\$| seeding=additive tracking=none results_dir=$results|" | xargs -P 2 -L 1 "$python" -m snnrl.train

for algo in sac ppo dqn; do
  "$python" -m snnrl.compare "$results/*/$algo-*" --by bn.name --out "$results/$algo"
done
