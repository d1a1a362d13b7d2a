"""A proxy imitates the actor, and stands in for its target network."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from snnrl.agents import DQN, PPO, SAC
from snnrl.agents.off_policy import ReplayAgent
from snnrl.agents.policies.proxy import Proxy
from snnrl.errors import UserError
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import norm_layers
from snnrl.nn.registry import names
from tests.envs import Follow, Match

from .helpers import assert_equal_states, buffers, small
from .updates.tape import TapeRecorder

ALGORITHMS = ["td3", "ddpg", "sac"]
ACTORS = ["spiking", "ann"]
NO_RECALIBRATION = dict(name="carebn", recalibrate_every=None)
PROXY = dict(name="proxy", hidden=[10, 9], updates=3, learning_rate=2e-3)
ADAM = torch.optim.Adam


def agent_of(
    algo: str = "td3", actor: str = "spiking", target: Any = PROXY, **arguments: Any
) -> Any:
    bn = arguments.pop("bn", NO_RECALIBRATION)
    kwargs = dict(actor=actor, bn=bn, target=target) | arguments.pop("policy_kwargs", {})
    return small(algo, policy_kwargs=kwargs, **arguments)


def filled(*args: Any, **arguments: Any) -> Any:
    """With a filled buffer, statistics that have moved, and networks in training mode."""
    agent = agent_of(*args, learning_starts=1_000, **arguments).learn(30)
    agent.train(2, 16)
    agent.policy.set_training_mode(True)
    return agent


def seeded(agent: Any, seed: int = 11) -> Any:
    agent.set_random_seed(seed)
    return agent


def minibatches(agent: Any, n: int) -> list[Any]:
    """Those that the agent will draw next."""
    state = np.random.get_state()
    batches = [agent.replay_buffer.sample(16) for _ in range(n)]
    np.random.set_state(state)
    return batches


def imitated(agent: Any, network: Any, observations: torch.Tensor) -> torch.Tensor:
    """What is imitated, said a second time."""
    if hasattr(agent, "ent_coef"):
        return torch.cat(network.get_action_dist_params(observations)[:2], dim=1)
    return network(observations)


class Normalising(BaseFeaturesExtractor):
    """With statistics that torch moves in training mode, with gradients or without."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.norm(observations)


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_other_networks_start_as_without_it(algo, actor):
    plain, agent = agent_of(algo, actor, "soft"), agent_of(algo, actor)
    for name in ("actor", "critic", "critic_target"):
        assert_equal_states(getattr(plain, name), getattr(agent, name))
    assert isinstance(agent.proxy, Proxy) and plain.proxy is None


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_there_is_no_other_target_actor(algo, actor, tmp_path):
    agent = agent_of(algo, actor)
    assert agent.policy.actor_target is agent.proxy
    assert [layer.out_features for layer in agent.proxy.modules() if isinstance(layer, nn.Linear)][
        :2
    ] == [10, 9]
    spiking = [m for m in agent.policy.modules() if isinstance(m, SpikingNetwork)]
    assert spiking == ([agent.actor.network] if actor == "spiking" else [])
    assert norm_layers(agent.policy) == norm_layers(agent.actor)
    assert not list(agent.proxy.buffers())
    agent.save(tmp_path / "agent")
    _, saved, _ = stable_baselines3.common.save_util.load_from_zip_file(tmp_path / "agent")
    of_targets = [name for name in saved["policy"] if name.startswith("actor_target.")]
    assert of_targets == [f"actor_target.{name}" for name in agent.proxy.state_dict()]
    assert "proxy.optimizer" in saved


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_it_moves_nothing_of_the_actor_and_sees_it_in_evaluation_mode(algo, actor):
    agent = filled(
        algo,
        actor,
        bn="vanilla",
        policy_kwargs=dict(features_extractor_class=Normalising),
    )
    batch = agent.replay_buffer.sample(16)
    for weight in agent.actor.parameters():
        weight.grad = None
    state, kept = deepcopy(agent.actor.state_dict()), buffers(agent.actor)
    modes = [module.training for module in agent.actor.modules()]
    assert all(modes) and len(kept) > 3
    agent.policy.set_training_mode(False)
    with torch.no_grad():
        wanted = imitated(agent, agent.actor, batch.observations)
        expected = F.mse_loss(imitated(agent, agent.proxy, batch.observations), wanted)
    agent.policy.set_training_mode(True)
    before = deepcopy(agent.proxy.state_dict())
    agent.loss_log.drain(0)
    agent._imitate(batch)
    assert agent.loss_log.drain(0) == {"train/proxy_loss": pytest.approx(expected.item())}
    assert all(torch.equal(value, state[name]) for name, value in agent.actor.state_dict().items())
    assert all(weight.grad is None for weight in agent.actor.parameters())
    assert [module.training for module in agent.actor.modules()] == modes
    weights = dict(agent.proxy.named_parameters())
    assert not any(torch.equal(weight, before[name]) for name, weight in weights.items())
    assert not any(module.training for module in agent.proxy.modules())


@pytest.mark.parametrize("updates", [1, 3])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_each_gradient_step_imitates_on_as_many_minibatches_and_learns_from_the_last(algo, updates):
    agent = filled(algo, target=PROXY | dict(updates=updates))
    batches = minibatches(agent, updates)
    copy = deepcopy(agent.proxy)
    optimizer = ADAM(copy.parameters(), lr=2e-3)
    optimizer.load_state_dict(deepcopy(agent.proxy.optimizer.state_dict()))
    for batch in batches:
        agent.policy.set_training_mode(False)
        with torch.no_grad():
            wanted = imitated(agent, agent.actor, batch.observations)
        loss = ((imitated(agent, copy, batch.observations) - wanted) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seen = []
    agent.critic.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    agent.captured = None
    agent.train(1, 16)
    for ours, expected in zip(agent.proxy.parameters(), copy.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)
    assert torch.equal(seen[0], batches[-1].observations)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_proxy_chooses_the_next_action(algo):
    agent = filled(algo)
    batch = agent.replay_buffer.sample(16)
    temperature = [torch.tensor([0.2])] if algo == "sac" else []
    with torch.no_grad():
        torch.manual_seed(3)
        found = agent._next_actions(batch.next_observations, *temperature)
        torch.manual_seed(3)
        if algo == "sac":
            actions, log_prob = agent.proxy.action_log_prob(batch.next_observations)
            assert torch.equal(found[1], -0.2 * log_prob.reshape(-1, 1))
        else:
            actions = agent.proxy(batch.next_observations)
            noise = torch.empty_like(actions).normal_(0, agent.target_policy_noise)
            noise = noise.clamp(-agent.target_noise_clip, agent.target_noise_clip)
            actions = (actions + noise).clamp(-1, 1)
    assert torch.equal(found[0], actions)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_it_does_not_follow_softly_and_its_learning_rate_stays(algo):
    agent = filled(algo, learning_rate=lambda progress: 1e-3 * progress, tau=0.5)
    before = deepcopy(agent.proxy.state_dict())
    followed, following = next(agent.critic.parameters()), next(agent.critic_target.parameters())
    halfway = (followed + following).detach() / 2 + 1.5
    with torch.no_grad():
        followed += 3
    agent._update_targets()
    torch.testing.assert_close(following.detach(), halfway)
    assert all(torch.equal(value, before[key]) for key, value in agent.proxy.state_dict().items())
    agent._current_progress_remaining = 0.25
    agent.train(1, 16)
    assert {group["lr"] for group in agent.proxy.optimizer.param_groups} == {2e-3}
    assert agent.actor.optimizer.param_groups[0]["lr"] == pytest.approx(2.5e-4)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_captured_steps_compute_the_same(algo, actor, monkeypatch):
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: TapeRecorder())

    def play(captured):
        agent = agent_of(algo, actor, learning_starts=1_000).learn(30)
        seeded(agent)
        if not captured:
            agent.captured = None
        agent.train(12, 16)
        return agent

    one, other = play(True), play(False)
    assert "_imitate" in {key[0] for key in one.captured._steps}
    assert "replay" in one.captured._recorder.events
    assert_equal_states(one.policy, other.policy)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_saved_agent_and_a_copy_go_on_as_it_would_have(algo, actor, tmp_path):
    agent = filled(algo, actor)
    agent.save(tmp_path / "agent")
    loaded = type(agent).load(tmp_path / "agent", env=Follow(), device="cpu")
    loaded.replay_buffer = agent.replay_buffer
    agents = [agent, deepcopy(agent), loaded]
    for each in agents:
        torch.manual_seed(1)
        np.random.seed(1)
        each.train(2, 16)
    for each in agents[1:]:
        assert each.proxy is not agent.proxy
        assert_equal_states(agent.policy, each.policy)
        ours, theirs = (a.proxy.optimizer.state_dict() for a in (agent, each))
        assert str(ours) == str(theirs)


def test_a_saved_policy_and_a_saved_proxy_load(tmp_path):
    agent = filled()
    agent.policy.save(tmp_path / "policy")
    policy = type(agent.policy).load(tmp_path / "policy", device="cpu")
    assert_equal_states(agent.policy, policy)
    agent.proxy.save(tmp_path / "proxy")
    assert_equal_states(agent.proxy, type(agent.proxy).load(tmp_path / "proxy"))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("bn", names("norm"))
@pytest.mark.parametrize("neuron", names("neuron"))
def test_it_works_with_every_neuron_and_normalisation(neuron, bn):
    agent = agent_of(bn=bn, policy_kwargs=dict(neuron=neuron), learning_starts=16)
    before = deepcopy(agent.proxy.state_dict())
    agent.learn(20)
    assert not any(
        torch.equal(value, before[key]) for key, value in agent.proxy.state_dict().items()
    )


@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_poisson_spikes_of_imitation_are_those_of_acting(algo):
    agent = filled(algo, policy_kwargs=dict(encoder="poisson"))
    numbers = buffers(agent.actor.network.encoder)
    assert numbers
    batch = agent.replay_buffer.sample(16)
    one, other = (agent.proxy.imitation_error(agent.actor, batch.observations) for _ in range(2))
    assert torch.equal(one, other)
    assert all(torch.equal(b, numbers[n]) for n, b in agent.actor.network.encoder.named_buffers())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("prox", r"^target=prox: expected one of soft, proxy; did you mean 'proxy'"),
        (5, r"^target=5: expected a name or dict"),
        (dict(updates=2), r"^target=\{'updates': 2\}: has no name"),
        (dict(name="soft", updates=2), r"^target parameter=updates: target=soft takes no"),
        (PROXY | dict(k=2), r"^target parameter=k: expected one of hidden, learning_rate, updates"),
        (PROXY | dict(updates=0), r"^target.updates=0: expected at least 1"),
        (PROXY | dict(updates=1.5), r"^target.updates=1.5: expected an integer"),
        (PROXY | dict(learning_rate=0), r"^target.learning_rate=0: expected more than 0"),
        (PROXY | dict(learning_rate=float("nan")), r"^target.learning_rate=nan: expected a finite"),
        (PROXY | dict(hidden=[]), r"^target.hidden=\[\]: expected a list of numbers of neurons"),
        (PROXY | dict(hidden=[8, 0]), r"^target.hidden=\[8, 0\]: expected a list"),
        (PROXY | dict(hidden="8"), r"^target.hidden=8: expected a list"),
        (PROXY | dict(hidden=8), r"^target.hidden=8: expected a list"),
    ],
)
@pytest.mark.parametrize("actor", ACTORS)
def test_a_value_that_does_not_fit(actor, target, message):
    with pytest.raises(UserError, match=message) as caught:
        agent_of(actor=actor, target=target)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_what_does_not_fit_is_refused(algo):
    with pytest.raises(UserError, match=r"^target=proxy: .*expected target_networks=True, or"):
        agent_of(algo, target_networks=False)
    with pytest.raises(UserError, match=r"^bn.target_stats=hard: has no effect with target=proxy"):
        agent_of(algo, bn=dict(name="vanilla", target_stats="hard"))
    if algo == "sac":
        with pytest.raises(UserError, match=r"^use_sde=True: a proxy has no gSDE"):
            SAC("AnnPolicy", Follow(), policy_kwargs=dict(target="proxy"), use_sde=True)


@pytest.mark.parametrize(("kind", "env"), [(DQN, Match), (PPO, Follow)])
@pytest.mark.parametrize("policy", ["SpikingPolicy", "AnnPolicy"])
def test_other_algorithms_have_none(kind, env, policy):
    with pytest.raises(UserError, match=r"^policy_kwargs=target: expected one of ") as caught:
        kind(policy, env(), policy_kwargs=dict(target="proxy"), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("policy", ["SpikingPolicy", "AnnPolicy"])
def test_a_mistyped_keyword_is_known(policy):
    with pytest.raises(UserError, match=r"^policy_kwargs=targt: .*did you mean 'target'\?$"):
        SAC(policy, Follow(), policy_kwargs=dict(targt="proxy"), device="cpu")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_other_agents_than_ours_are_refused(algo):
    ours = agent_of(algo)
    stock = {"td3": stable_baselines3.TD3, "ddpg": stable_baselines3.DDPG}
    agent: Any = stock.get(algo, stable_baselines3.SAC)(
        ours.policy_aliases["AnnPolicy"],
        Follow(),
        policy_kwargs=dict(net_arch=[16, 12], target=PROXY | dict(hidden=[16, 12])),
        learning_starts=8,
        device="cpu",
    )
    agent.predict(Follow().reset(seed=0)[0])
    with pytest.raises(UserError, match=r"^target=proxy: imitates the actor in snnrl.agents.TD3"):
        agent.learn(20)
