"""Whole gradient steps against the published implementation's."""

import pytest
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor

from snnrl.agents import DDPG, TD3
from tests.envs import Follow

from .helpers import close, own_name, own_state, part

TOLERANCE = dict(rtol=2e-3, atol=2e-5)
SETTINGS = {
    "td3": dict(target_policy_noise=0.0, policy_delay=2, tau=0.005, learning_rate=3e-4),
    "ddpg": dict(
        tau=0.001, learning_rate=1e-4, critic_learning_rate=1e-3, critic_weight_decay=0.01
    ),
}
ALGORITHMS = {"td3": TD3, "ddpg": DDPG}
CRITIC_LAYERS = {
    "td3": {
        "l1": "qf0.0",
        "l2": "qf0.2",
        "l3": "qf0.4",
        "l4": "qf1.0",
        "l5": "qf1.2",
        "l6": "qf1.4",
    },
    "ddpg": {
        "l1": "observation_layers.0.0",
        "l2": "value_layers.0.0",
        "l3": "value_layers.0.2",
    },
}


class FixedMinibatches:
    """Stands in for a replay buffer: gives the recorded minibatches in their order."""

    def __init__(self, data: dict[str, Tensor]):
        self.count = sum(name.startswith("next_obs") for name in data)
        self.batches = [
            ReplayBufferSamples(
                data[f"obs{i}"],
                data[f"act{i}"],
                data[f"next_obs{i}"],
                1 - data[f"not_done{i}"],
                data[f"reward{i}"],
            )
            for i in range(self.count)
        ]
        self.batch_size = len(data["obs0"])

    def sample(self, batch_size, env=None):
        assert batch_size == self.batch_size
        return self.batches.pop(0)


def hidden_sizes(state: dict[str, Tensor], prefix: str) -> list[int]:
    names = sorted(name for name in state if name.startswith(prefix) and name.endswith("weight"))
    return [state[name].shape[0] for name in names]


def critic_state(reference: dict[str, Tensor], algo: str) -> dict[str, Tensor]:
    layers = CRITIC_LAYERS[algo]
    renamed = {}
    for name, value in reference.items():
        layer, kind = name.split(".")
        renamed[f"{layers[layer]}.{kind}"] = value
    return renamed


def build(algo: str, data: dict[str, Tensor], minibatches: FixedMinibatches, kernel: str):
    actor = part(data, "init.actor")
    critic = part(data, "init.critic")
    outputs, _, out_population = actor["decoder.decoder.weight"].shape
    agent = ALGORITHMS[algo](
        "SpikingPolicy",
        Follow(observations=data["obs0"].shape[1], actions=outputs),
        policy_kwargs=dict(
            net_arch=dict(
                pi=hidden_sizes(actor, "snn.hidden_layers"),
                qf=[critic[f"{layer}.weight"].shape[0] for layer in ("l1", "l2")],
            ),
            neuron="lif",
            bn="carebn",
            encoder=dict(name="population", population=actor["encoder.mean"].shape[-1]),
            population=out_population,
            kernel=kernel,
        ),
        device="cpu",
        **SETTINGS[algo],
    )
    for network in (agent.actor.network, agent.actor_target.network):
        network.load_state_dict(own_state(actor, network.state_dict()))
    for network in (agent.critic, agent.critic_target):
        network.load_state_dict(critic_state(critic, algo))
    agent.replay_buffer = minibatches
    return agent


@pytest.mark.parametrize("kernel", ["naive", "native"])
@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_gradient_steps(golden, algo, kernel):
    data = golden(f"train_{algo}")
    minibatches = FixedMinibatches(data)
    agent = build(algo, data, minibatches, kernel)
    agent.train(gradient_steps=minibatches.count, batch_size=minibatches.batch_size)
    assert not minibatches.batches

    for name in ("actor", "actor_target"):
        network = getattr(agent, name).network
        expected = {
            own_name(key, len(network.layers)): value
            for key, value in part(data, f"final.{name}").items()
        }
        # The confidence state is not in the recording.
        state = {key: v for key, v in network.state_dict().items() if ".update." not in key}
        assert state.keys() == expected.keys()
        for key, value in state.items():
            close(value, expected[key], **TOLERANCE)
    for name in ("critic", "critic_target"):
        state = getattr(agent, name).state_dict()
        expected = critic_state(part(data, f"final.{name}"), algo)
        assert state.keys() == expected.keys()
        for key, value in state.items():
            close(value, expected[key], **TOLERANCE)
