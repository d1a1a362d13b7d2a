"""Stable-Baselines3 algorithms with spiking policies."""

from snnrl.agents import earlier_names
from snnrl.agents.ddpg import DDPG
from snnrl.agents.dqn import DQN
from snnrl.agents.ppo import PPO
from snnrl.agents.sac import SAC
from snnrl.agents.td3 import TD3

__all__ = ["DDPG", "DQN", "PPO", "SAC", "TD3"]

earlier_names.install(__name__)
