#!/usr/bin/env bash
# Agents of snnrl with ordinary networks beside Stable-Baselines3's own: same tasks, seeds, steps
# and evaluation. Two processes at a time, one thread each. Run it again to skip the runs that are
# done. The recorded runs were made with seeding=additive.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=results/stock
export OMP_NUM_THREADS=1

common="actor=ann bn=none actor.hidden=[64,64] seeding=additive tracking=none results_dir=$results"
replay="critic.hidden=[64,64] env=pendulum algo.learning_rate=1e-3 algo.batch_size=128
        algo.learning_starts=500 algo.buffer_size=20000 total_steps=8000 evaluation.every=1000"
td3="algo=td3 $replay"
ddpg="algo=ddpg $replay algo.critic_learning_rate=1e-3 algo.critic_weight_decay=0 algo.tau=0.005"
sac="algo=sac $replay"
dqn="algo=dqn env=cartpole algo.learning_rate=5e-4 algo.gamma=0.98 algo.batch_size=64 algo.loss=huber
     algo.max_grad_norm=10 algo.replacement=true algo.learning_starts=1000 algo.buffer_size=50000
     algo.train_freq=2 algo.exploration_updates=5000 algo.exploration_final_eps=0.05
     algo.target_update_updates=500 total_steps=30000 evaluation.every=2000"
ppo="algo=ppo env=cartpole critic.hidden=[64,64] algo.n_steps=1024 total_steps=40000
     algo.normalize_observations=false algo.normalize_rewards=false evaluation.every=2000"

for settings in "$td3" "$ddpg" "$sac" "$dqn" "$ppo"; do
  for seed in 0 1 2; do
    echo -m snnrl.train $settings $common seed=$seed
    echo scripts/stock_baselines.py $settings $common seed=$seed
  done
done | xargs -P 2 -L 1 "$python"

"$python" -m snnrl.compare "$results" --by algo.name actor.name --out "$results"
