"""An ordinary network learns what the values of a spiking Q-network have in common."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from snnrl.agents import DQN, PPO, TD3, Classifier
from snnrl.agents.off_policy import ReplayAgent
from snnrl.data import DataSet, DataStream, Split
from snnrl.errors import UserError
from tests.envs import Follow, Match, MatchImage

from .helpers import assert_equal_states, small
from .updates.tape import TapeRecorder

CONV = dict(channels=[4, 5], kernels=[4, 2], strides=[2, 1])
INPUTS: dict[str, Any] = {"vector": (Match, {}), "image": (MatchImage, dict(conv=CONV))}


def agent_of(inputs: str = "vector", common_mode: bool = True, **arguments: Any) -> Any:
    env, own = INPUTS[inputs]
    bn = dict(name="carebn", recalibrate_every=None)
    given = dict(bn=bn) | own | arguments.pop("policy_kwargs", {})
    settings = dict(learning_starts=1_000, common_mode=common_mode) | arguments
    return small("dqn", env(), policy_kwargs=given, **settings)


def filled(inputs: str = "vector", **arguments: Any) -> Any:
    agent = agent_of(inputs, **arguments).learn(30)
    agent.train(3, 16)
    return agent


@pytest.mark.parametrize("inputs", INPUTS)
def test_the_formula(inputs):
    agent = filled(inputs)
    agent.policy.set_training_mode(False)
    observations = agent.replay_buffer.sample(16).observations
    with torch.no_grad():
        found = agent.q_net(observations)
        spiking = agent.q_net.network(
            agent.q_net.extract_features(observations, agent.q_net.features_extractor)
        )
        x = observations / 255 if inputs == "image" else observations
        for module in agent.q_net.common.modules():
            if isinstance(module, nn.Conv2d):
                x = module(x).relu()
            elif isinstance(module, nn.Linear):
                x = module(x.flatten(1))
                x = x if module.out_features == 1 else x.relu()
    expected = torch.stack([row - sum(row) / len(row) for row in spiking]) + x
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, spiking)


@pytest.mark.parametrize("inputs", INPUTS)
def test_the_spiking_network_starts_as_without_it_and_its_sizes_are_shared(inputs):
    plain, agent = agent_of(inputs, common_mode=False), agent_of(inputs)
    assert_equal_states(plain.q_net.network, agent.q_net.network)
    assert plain.q_net.common is None
    of = [m for m in agent.q_net.common.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    outputs = [m.out_channels if isinstance(m, nn.Conv2d) else m.out_features for m in of]
    assert outputs == [*(CONV["channels"] if inputs == "image" else []), 16, 12, 1]


@pytest.mark.parametrize("inputs", INPUTS)
def test_it_learns_with_the_same_optimiser_and_targets_have_their_own(inputs):
    agent = filled(inputs, target_update_updates=2, tau=1.0)
    common, target = agent.q_net.common, agent.q_net_target.common
    learned = {id(p) for group in agent.policy.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in common.parameters()} <= learned
    assert not {id(p) for p in target.parameters()} & learned
    before, kept = deepcopy(common.state_dict()), deepcopy(target.state_dict())
    agent._current_progress_remaining = 1.0
    agent.train(1, 16)  # the fourth: the target follows
    assert_equal_states(common, target)
    agent.train(1, 16)
    moved = common.state_dict()
    assert not any(torch.equal(value, moved[name]) for name, value in before.items())
    assert not all(torch.equal(value, moved[name]) for name, value in target.state_dict().items())
    assert any(not torch.equal(value, kept[name]) for name, value in target.state_dict().items())


def test_the_loss_and_the_targets_use_it():
    agent = filled(gamma=0.9, policy_kwargs=dict(bn="none"))
    batch = agent.replay_buffer.sample(16)
    with torch.no_grad():
        before = agent._target_values(batch)
        agent.q_net_target.common.layers[-1].bias += 2
    torch.testing.assert_close(agent._target_values(batch), before + 1.8 * (1 - batch.dones))
    agent.policy.set_training_mode(True)
    agent.loss_log.drain(0)
    with torch.no_grad():
        values = agent.q_net(batch.observations).gather(1, batch.actions.long())
    error = (values - before).abs()
    expected = torch.where(error < 1, error**2 / 2, error - 0.5).mean()
    agent._update(batch, before)
    assert agent.loss_log.drain(0)["train/loss"] == pytest.approx(expected.item())


@pytest.mark.parametrize("inputs", INPUTS)
def test_acting_leaves_it_out_and_chooses_the_same(inputs):
    agent = filled(inputs)
    agent.policy.set_training_mode(False)
    observations = agent.replay_buffer.sample(16).observations
    with torch.no_grad():
        best = agent.q_net(observations).argmax(1)
    called = []
    agent.q_net.common.register_forward_hook(lambda *_: called.append(1))
    agent.captured = None
    found, _ = agent.predict(observations.numpy().astype(agent.observation_space.dtype))
    assert np.array_equal(agent.predict(observations.numpy(), deterministic=True)[0], best)
    assert not called and found.shape == (16,)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("inputs", INPUTS)
def test_a_saved_agent_and_its_parts_go_on_as_they_would_have(inputs, tmp_path):
    agent = filled(inputs)
    agent.save(tmp_path / "agent")
    loaded = DQN.load(tmp_path / "agent", env=INPUTS[inputs][0](), device="cpu")
    loaded.replay_buffer = agent.replay_buffer
    agents = [agent, deepcopy(agent), loaded]
    for each in agents:
        each.set_random_seed(1)
        each.train(2, 16)
    for each in agents[1:]:
        assert_equal_states(agent.policy, each.policy)
    agent.policy.save(tmp_path / "policy")
    assert_equal_states(agent.policy, type(agent.policy).load(tmp_path / "policy", device="cpu"))
    agent.q_net.save(tmp_path / "network")
    assert_equal_states(agent.q_net, type(agent.q_net).load(tmp_path / "network"))
    with pytest.raises(UserError, match=r"^common_mode=False: a saved agent keeps its own"):
        DQN.load(tmp_path / "agent", common_mode=False)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("inputs", INPUTS)
def test_captured_steps_compute_the_same(inputs, monkeypatch):
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: TapeRecorder())

    def play(captured):
        agent = agent_of(inputs).learn(30)
        agent.set_random_seed(11)
        if not captured:
            agent.captured = None
        agent.train(8, 16)
        return agent

    one, other = play(True), play(False)
    assert "replay" in one.captured._recorder.events
    assert_equal_states(one.policy, other.policy)


class MatchFrame(Match):
    """Frames over time."""

    def __init__(self):
        super().__init__()
        self.observation_space = type(self.observation_space)(0, 255, (3, 1, 6, 6), np.uint8)


def classifier(policy, **policy_kwargs):
    examples = Split(np.zeros((8, 1, 8, 8), np.uint8), np.zeros(8, np.int64))
    data = DataSet("zeros", 2, examples, examples)
    return Classifier(
        policy, DataStream(data, 4, np.random.default_rng(0)), policy_kwargs=policy_kwargs
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: DQN("AnnPolicy", Match(), common_mode=True),
            "common_mode=True: .*AnnPolicy has an",
        ),
        (
            lambda: DQN("MlpPolicy", Match(), common_mode=True),
            "common_mode=True: .*DQNPolicy has an",
        ),
        (lambda: DQN("SpikingPolicy", Match(), common_mode=1), "common_mode=1: expected True or"),
        (
            lambda: small("dqn", policy_kwargs=dict(common_mode="yes")),
            "common_mode='yes': expected",
        ),
        (
            lambda: small(
                "dqn",
                MatchFrame(),
                policy_kwargs=dict(encoder="frames", time_steps=3),
                common_mode=True,
            ),
            "common_mode=True: its ordinary network reads vectors and images",
        ),
        (
            lambda: classifier("SpikingPolicy", common_mode=True),
            "common_mode=True: moves the logits",
        ),
        (lambda: classifier("AnnPolicy", common_mode=True), "common_mode=True: moves the logits"),
        (
            lambda: small("dqn", policy_kwargs=dict(comon_mode=True)),
            "policy_kwargs=comon_mode: .*did you mean 'common_mode'",
        ),
        (
            lambda: DQN("AnnPolicy", Match(), policy_kwargs=dict(common_mode=False)),
            "policy_kwargs=common_mode: expected one of ",
        ),
        (
            lambda: TD3("AnnPolicy", Follow(), policy_kwargs=dict(common_mode=True)),
            "policy_kwargs=common_mode: expected one of ",
        ),
        (
            lambda: TD3("SpikingPolicy", Follow(), policy_kwargs=dict(common_mode=True)),
            ".*common_mode",
        ),
        (
            lambda: PPO("SpikingPolicy", Follow(), policy_kwargs=dict(common_mode=True)),
            ".*common_mode",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(UserError, match=f"^{message}") as caught:
        build()
    assert "\n" not in str(caught.value)


class Paid(Match):
    """Pays 3 for every choice, and 1 for the right one."""

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, 3 + reward, *rest


def test_the_values_have_the_common_mode_that_it_learned():
    agent = small(
        "dqn",
        Paid(),
        common_mode=True,
        policy_kwargs=dict(encoder="direct"),
        gamma=0.0,
        batch_size=64,
        learning_starts=100,
        learning_rate=5e-3,
        target_update_interval=50,
        exploration_fraction=1.0,
        exploration_final_eps=0.5,
    ).learn(300)
    observations = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    actions, _ = agent.predict(observations, deterministic=True)
    assert (actions != observations.argmax(1)).mean() < 0.25
    with torch.no_grad():
        values = agent.q_net(torch.as_tensor(observations)).numpy()
    assert abs(values.mean() - 3.33) < 0.3
    assert np.abs(values.mean(1) - 3.33).mean() < 0.5
