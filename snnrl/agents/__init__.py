"""Stable-Baselines3 algorithms with spiking policies."""

from snnrl.agents.base import SpikingAgent
from snnrl.agents.classifier import Classifier
from snnrl.agents.conversion import ConvertedAgent, convert
from snnrl.agents.ddpg import DDPG
from snnrl.agents.dqn import DQN
from snnrl.agents.earlier_names import CLASSES, MODULES
from snnrl.agents.normalization import ObservationNormalizer
from snnrl.agents.ppo import PPO
from snnrl.agents.sac import SAC
from snnrl.agents.td3 import TD3
from snnrl.earlier_names import install

__all__ = [
    "AGENTS",
    "DDPG",
    "DQN",
    "LEARNERS",
    "PPO",
    "SAC",
    "TD3",
    "Classifier",
    "ConvertedAgent",
    "ObservationNormalizer",
    "SpikingAgent",
    "convert",
]

AGENTS: dict[str, type[SpikingAgent]] = {
    "td3": TD3,
    "ddpg": DDPG,
    "sac": SAC,
    "dqn": DQN,
    "ppo": PPO,
}
"""The agents by their names in a configuration, as in ``algo=td3``."""

LEARNERS: dict[str, type[SpikingAgent]] = {**AGENTS, "classifier": Classifier}
"""All that a configuration can name: the agents, and what learns a data set."""

install(__name__, MODULES, CLASSES)
