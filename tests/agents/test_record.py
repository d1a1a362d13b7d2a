"""What layers do, seen from outside: recordings, logged rates, loss terms, regulations."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import KVWriter, Logger

from snnrl.agents import DQN, PPO, TD3, record
from snnrl.errors import UserError
from snnrl.nn.losses import LossTerm, Pass
from snnrl.nn.registry import build
from snnrl.nn.surrogates.learnable import LearnableSurrogate
from tests.nn.test_regulation import Proportional

from .helpers import VARIANTS, small

ALL = [*VARIANTS, "ppo"]


def agent_of(variant: str, **kwargs: Any) -> Any:
    if variant != "ppo":
        return small(variant, policy_kwargs=kwargs)
    return PPO(
        "SpikingPolicy",
        "Pendulum-v1",
        n_steps=16,
        batch_size=8,
        n_epochs=2,
        seed=0,
        policy_kwargs={"net_arch": [8], "time_steps": 3, **kwargs},
    )


def observations(agent: Any, n: int = 5) -> np.ndarray:
    agent.observation_space.seed(0)
    drawn = np.stack([agent.observation_space.sample() for _ in range(n)])
    return np.clip(drawn, -1, 1)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("variant", ALL)
def test_a_recording_is_what_the_network_does(variant: str) -> None:
    agent = agent_of(variant)
    agent.policy.set_training_mode(True)
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    recording = agent.record(observations(agent))
    assert set(recording) == set(agent.parts())
    for name, layers in recording.items():
        assert layers
        for layer, trace in layers.items():
            assert ".".join(layer.split(".")[-2:-1]) == "layers"
            assert trace.spikes.shape == trace.currents.shape == trace.membranes.shape
            assert torch.equal(trace.spikes, (trace.membranes > 0.5).float()), name
            assert torch.equal(trace.rates, trace.spikes.mean((0, 1)))
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(part.training for part in agent.parts().values())


def test_a_recording_restores_the_mode_of_every_module() -> None:
    agent = agent_of("td3")
    agent.policy.set_training_mode(True)
    # As a person freezes the statistics of a layer.
    frozen = {*agent.actor.network.layers[0].modules(), *agent.critic.modules()}
    for module in frozen:
        module.training = False
    agent.record(observations(agent))
    for part in agent.parts().values():
        for module in part.modules():
            assert module.training == (module not in frozen)


def test_a_recording_that_fails_restores_the_mode_of_every_module() -> None:
    agent = agent_of("td3")
    agent.policy.set_training_mode(True)
    failing = patch.object(record, "traced", side_effect=ZeroDivisionError)
    with failing, pytest.raises(ZeroDivisionError):
        agent.record(observations(agent))
    assert all(m.training for part in agent.parts().values() for m in part.modules())


def test_one_observation() -> None:
    agent = agent_of("td3")
    (trace,) = (v for k, v in agent.record(observations(agent, 1)[0])["actor"].items() if "0" in k)
    assert trace.spikes.shape[1] == 1


class Keeper(KVWriter):
    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def write(self, values: dict[str, Any], excluded: Any, step: int = 0) -> None:
        self.seen |= values

    def close(self) -> None:
        pass


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algorithm", [TD3, DQN, PPO])
def test_rates_and_gains_are_logged(algorithm: Any) -> None:
    env = "CartPole-v1" if algorithm is DQN else "Pendulum-v1"
    settings: dict[str, Any] = dict(n_steps=64, batch_size=32, n_epochs=1)
    if algorithm is not PPO:
        settings = dict(learning_starts=10, batch_size=8, buffer_size=300)
    kwargs = dict(net_arch=[8], time_steps=2, bn="ca_only")
    agent = algorithm("SpikingPolicy", env, seed=0, policy_kwargs=kwargs, **settings)
    keeper = Keeper()
    agent.set_logger(Logger(folder=None, output_formats=[keeper]))
    agent.learn(210, log_interval=1)
    part = "q_network" if algorithm is DQN else "actor"
    assert 0 <= keeper.seen[f"firing_rate/{part}.layers.0"] <= 1
    assert f"gain_mean/{part}.layers.0" in keeper.seen
    agent.logs_activity = False
    keeper.seen.clear()
    agent.learn(210, log_interval=1, reset_num_timesteps=False)
    assert keeper.seen and not any(key.startswith("firing_rate") for key in keeper.seen)


@pytest.mark.parametrize(("bn", "has_gains"), [("ca_only", True), ("carebn", False)])
def test_ppo_has_gains_where_it_asks_the_rule(bn: str, has_gains: bool) -> None:
    agent = agent_of("ppo", bn=bn)
    inputs = agent.part_inputs("actor", agent._to_tensor(observations(agent)))
    seen = agent.activity("actor", inputs)
    assert len(seen.rates) == 3
    assert any(seen.gains.values()) is has_gains


def test_surrogates_of_a_replaced_layer_are_projected() -> None:
    agent = agent_of("td3", surrogate="learnable")
    layers = agent.actor.network.layers
    layers[0] = deepcopy(layers[0])
    agent.learn(20)
    assert layers[0].neuron.surrogate in agent._surrogates


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ALL)
def test_a_rate_term_lowers_the_rate(variant: str) -> None:
    rates = []
    for weight in (0.0, 1000.0):
        term = dict(name="rate", weight=weight, target=0.0)
        agent = agent_of(variant, losses=[term], bn="none")
        # Else what an optimiser makes of a gradient hardly depends on its size.
        agent.learn(120 if variant != "ppo" else 160)
        part = "q_network" if variant == "dqn" else "actor"
        layers = agent.record(observations(agent, 50))[part]
        rates.append(torch.stack([trace.rates.mean() for trace in layers.values()]).mean())
        assert agent.logger.name_to_value[f"train/{part}_terms"] >= 0
    assert rates[1] < rates[0]


@pytest.mark.slow
@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ["td3", "ddpg", "sac", "dqn", "ppo"])
def test_a_balance_term_lowers_the_imbalance_of_every_spiking_part(variant: str) -> None:
    found: list[dict[str, float]] = []
    for weight in (0.0, 1000.0):
        terms = [dict(name="balance", weight=weight)]
        critic = dict(name="spiking", bn="none", time_steps=2, losses=terms)
        both = {} if variant == "dqn" else dict(critic=critic)
        agent = agent_of(variant, losses=terms, bn="none", **both)
        agent.lr_schedule = lambda remaining: 1e-2
        agent.learn(60 if variant != "ppo" else 96)
        recorded = agent.record(observations(agent, 50))
        found.append({})
        for part, layers in recorded.items():
            seen = Pass({}, layers)
            found[-1][part] = build("loss", dict(name="balance", weight=1.0))(seen).item()
    assert found[1].keys() == ({"q_network"} if variant == "dqn" else {"actor", "critic"})
    for part, value in found[1].items():
        assert value < 0.7 * found[0][part]


@pytest.mark.parametrize("part", ["q_network", "critic"])
def test_terms_without_a_spiking_layer_are_refused(part: str) -> None:
    expected = r"losses=\['rate'\]: net_arch=\[\] and readout=linear leave no spiking layer, "
    with pytest.raises(UserError, match=expected):
        if part == "q_network":
            agent_of("dqn", net_arch=[], losses=["rate"])
        else:
            critic = dict(name="spiking", losses=["rate"])
            agent_of("ppo", net_arch=dict(pi=[8], vf=[]), critic=critic, losses=["balance"])


class Membranes(LossTerm):
    """Squared membrane potentials, by the naive kernel."""

    needs_traces = True

    def forward(self, seen: Pass) -> torch.Tensor:
        return 0.01 * sum(trace.membranes.square().mean() for trace in seen.traces.values())


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ["td3", "sac", "ppo"])
def test_terms_of_both_parts(variant: str) -> None:
    critic = dict(name="spiking", losses=[Membranes], time_steps=2)
    agent = agent_of(variant, critic=critic, losses=["rate", Membranes])
    agent.learn(60)
    for part in ("actor", "critic"):
        assert agent.parts()[part].take_terms() is None
        assert agent.logger.name_to_value[f"train/{part}_terms"] > 0


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ALL)
def test_a_regulation_moves_thresholds_and_targets_follow(variant: str) -> None:
    agent = agent_of(variant, regulation=Proportional)
    agent.learn(64)
    part = agent.parts()["q_network" if variant == "dqn" else "actor"]
    gains = {n: b.clone() for n, b in part.named_buffers() if n.endswith("gain")}
    assert gains and all(gain != 1 for gain in gains.values())
    target = {"dqn": "q_net_target", "td3": "actor_target", "ddpg": "actor_target"}.get(variant)
    if target is not None:
        agent._update_targets()
        followed = dict(getattr(agent, target).named_buffers())
        assert any(followed[name] != 1 for name in gains)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ALL)
def test_a_learnable_surrogate_stays_in_its_bounds(variant: str) -> None:
    surrogate = dict(name="learnable", scale=2.0, lowest=1.9999, highest=2.0001)
    critic = {} if variant == "dqn" else {"critic": dict(name="spiking", time_steps=2)}
    agent = agent_of(variant, surrogate=surrogate, **critic)
    learning = [m for part in agent.parts().values() for m in part.modules()]
    surrogates = [m for m in learning if isinstance(m, LearnableSurrogate)]
    start = [s.weight.clone() for s in surrogates]
    agent.learn(60)
    assert start
    for before, own in zip(start, surrogates, strict=True):
        assert not torch.equal(own.weight, before)
        assert own.slopes().min() > 1.9998 and own.slopes().max() < 2.0002


class Remembering(LossTerm):
    """Has a weight and a memory of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, seen: Pass) -> torch.Tensor:
        self.seen.add_(1)
        return self.weight * torch.stack([rate.mean() for rate in seen.rates.values()]).mean()


def test_what_a_term_keeps_is_saved_and_learned(tmp_path: Path) -> None:
    agent = agent_of("td3", losses=[Remembering])
    agent.learn(40)
    (term,) = agent.actor.losses
    assert term.seen > 0 and term.weight != 1
    agent.save(tmp_path / "agent")
    (again,) = TD3.load(tmp_path / "agent").actor.losses
    assert torch.equal(again.seen, term.seen) and torch.equal(again.weight, term.weight)
    assert agent.actor_target.losses[0] is not term


@pytest.mark.parametrize("given", [dict(losses=["rate"]), dict(regulation=Proportional)])
def test_an_ordinary_actor_has_no_spikes(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"an ordinary actor has no spikes"):
        agent_of("td3", actor="ann", **given)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("rate", r"^losses=rate: expected a list of names"),
        (["rat"], r"^loss=rat: .*'rate'\?$"),
        ([dict(name="rate", target=3)], r"^loss\.target=3: expected at most 1$"),
    ],
)
def test_terms_that_make_no_sense(losses: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        agent_of("td3", losses=losses)
