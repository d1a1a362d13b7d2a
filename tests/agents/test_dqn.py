"""DQN by the published protocol: what differs from Stable-Baselines3's."""

from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
import torch

from snnrl.agents import DQN
from snnrl.agents.replay.buffer import ReplayBuffer
from snnrl.errors import UserError
from tests.envs import Match

from .helpers import small


class Bytes(Match):
    """Shows random bytes, like the memory of a game console."""

    def __init__(self):
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 255, (3,), np.uint8)

    def _observe(self):
        self.observation = self.np_random.integers(0, 256, 3, np.uint8)
        self.right = int(self.observation.argmax())
        return self.observation


class Ending(Match):
    """Ends by termination after a wrong choice."""

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, not reward, truncated, info


def filled(**arguments):
    """An agent with a filled buffer that has not learned."""
    return small("dqn", learning_starts=1_000, **arguments).learn(40)


def test_the_published_network_is_the_default():
    agent = DQN("SpikingPolicy", "CartPole-v1", device="cpu")
    network = agent.q_net.network
    assert [layer.linear.out_features for layer in network.layers] == [128, 128]
    assert type(network.encoder).__name__ == "DirectEncoder"
    assert network.encoder.time_steps == 5
    assert tuple(network.decoder.linear.weight.shape) == (2, 128)
    assert agent.parts() == {"q_network": agent.q_net}


def test_targets_by_hand():
    agent = filled(gamma=0.9)
    batch = agent.replay_buffer.sample(16)
    batch = batch._replace(dones=torch.arange(16.0).reshape(16, 1) % 2)
    with torch.no_grad():
        values = agent.q_net_target(batch.next_observations)
    best = torch.tensor([row.max().item() for row in values]).reshape(16, 1)
    torch.testing.assert_close(
        agent._target_values(batch), batch.rewards + 0.9 * (1 - batch.dones) * best
    )


@pytest.mark.parametrize("loss", ["huber", "mse"])
def test_the_loss(loss):
    agent = filled(loss=loss, policy_kwargs=dict(bn="none"))
    batch = agent.replay_buffer.sample(16)
    targets = torch.linspace(-3, 3, 16).reshape(16, 1)
    with torch.no_grad():
        values = agent.q_net(batch.observations)
        chosen = torch.stack([values[i, a] for i, a in enumerate(batch.actions.flatten().tolist())])
        error = (chosen.reshape(16, 1) - targets).abs()
    assert (error < 1).any()
    assert (error > 1).any()
    huber = torch.where(error < 1, error**2 / 2, error - 0.5)
    agent._update(batch, targets)
    expected = {"huber": huber, "mse": error**2}[loss].mean().item()
    assert agent.loss_log.drain(0)["train/loss"] == pytest.approx(expected)


def test_the_loss_changes_what_is_learned():
    one, other = (small("dqn", loss=loss).learn(30).q_net.state_dict() for loss in ("mse", "huber"))
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("max_grad_norm", "clipped"), [(None, False), (10, True), (1e6, False)])
def test_a_large_gradient_is_clipped_or_not(max_grad_norm, clipped):
    agent = filled(loss="mse", max_grad_norm=max_grad_norm)
    agent.policy.set_training_mode(True)
    batch = agent.replay_buffer.sample(16)
    agent._update(batch, torch.full((16, 1), 1e3))
    gradients = [p.grad for p in agent.q_net.parameters() if p.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    assert norm == pytest.approx(10, rel=1e-4) if clipped else norm > 100


def test_epsilon_falls_by_updates():
    """1 - 0.9 n / 20, and 0.1 from 20 updates on."""
    agent = small(
        "dqn",
        exploration_updates=20,
        exploration_initial_eps=1.0,
        exploration_final_eps=0.1,
        learning_starts=10,
    )
    seen = {}

    def watch(*_):
        seen[agent.num_timesteps] = agent._n_updates, agent.exploration_rate
        return True

    # A transition is stored, then learned from: at step n there were n - 11 updates before.
    agent.learn(50, callback=watch)
    for step, updates, epsilon in [
        (10, 0, 1.0),
        (11, 0, 1.0),
        (12, 1, 0.955),
        (21, 10, 0.55),
        (30, 19, 0.145),
        (31, 20, 0.1),
        (50, 39, 0.1),
    ]:
        assert seen[step] == (updates, pytest.approx(epsilon)), step


def test_epsilon_of_several_updates_at_once_does_not_depend_on_the_planned_steps():
    rates = []
    for steps in (40, 400):
        agent = small("dqn", exploration_updates=100, train_freq=4, gradient_steps=3)
        agent.learn(steps, callback=lambda *_, agent=agent: agent.num_timesteps < 40)
        rates.append(agent.exploration_rate)
        # After the rollouts that ended at 20, 24, 28, 32 and 36.
        assert agent._n_updates == 3 * 5
    assert rates[0] == rates[1] == pytest.approx(1 - 0.95 * 15 / 100)


def test_otherwise_epsilon_falls_by_environment_steps():
    agent = small("dqn", exploration_fraction=0.5, exploration_final_eps=0.2)
    seen = {}

    def watch(*_):
        seen[agent.num_timesteps] = agent.exploration_rate
        return True

    agent.learn(20, callback=watch)
    # A step's epsilon is set after its callback.
    assert seen[6] == pytest.approx(1 - 0.8 * 5 / 10)
    assert seen[15] == agent.exploration_rate == pytest.approx(0.2)


def test_epsilon_goes_on_after_loading(tmp_path):
    agent = small("dqn", exploration_updates=100).learn(30)
    agent.save(tmp_path / "model")
    loaded = DQN.load(tmp_path / "model", env=Match(), device="cpu")
    assert loaded.exploration_rate == agent.exploration_rate == pytest.approx(1 - 0.95 * 0.14)
    loaded.learn(20)
    assert loaded._n_updates == 14 + 4
    assert loaded.exploration_rate == pytest.approx(1 - 0.95 * 0.18)


def test_the_settings_survive_saving(tmp_path):
    settings = dict(
        loss="mse",
        max_grad_norm=None,
        exploration_updates=7,
        target_update_updates=5,
        replacement=False,
    )
    small("dqn", **settings).save(tmp_path / "model")
    loaded = DQN.load(tmp_path / "model", env=Match(), device="cpu")
    assert {name: getattr(loaded, name) for name in settings} == settings
    assert loaded.replay_buffer.replacement is False


def test_actions_are_random_with_probability_epsilon():
    agent = small("dqn", exploration_initial_eps=0.3, exploration_final_eps=0.3)
    agent.learn(1)
    observation = np.zeros(3, np.float32)
    greedy = int(agent.predict(observation, deterministic=True)[0])
    chosen = Counter(int(agent.predict(observation)[0]) for _ in range(300))
    # A random action is the greedy one a third of the time; 4 standard deviations of the mean.
    assert chosen[greedy] / 300 == pytest.approx(1 - 0.3 * 2 / 3, abs=4 * (0.2 * 0.8 / 300) ** 0.5)
    assert len(chosen) == 3


@pytest.fixture
def rows(monkeypatch):
    """Rows of each minibatch."""
    drawn, get_samples = [], ReplayBuffer._get_samples

    def recorded(self, batch_inds, env=None):
        drawn.append(batch_inds.tolist())
        return get_samples(self, batch_inds, env)

    monkeypatch.setattr(ReplayBuffer, "_get_samples", recorded)
    return drawn


def test_minibatches_without_replacement_are_distinct(rows):
    agent = filled(replacement=False)
    for _ in range(20):
        assert len(agent.replay_buffer.sample(30).rewards) == 30
    assert all(len(set(batch)) == 30 for batch in rows)
    assert set().union(*rows) == set(range(40))
    assert rows[0] != rows[1]


def test_minibatches_with_replacement_are_not(rows):
    agent = filled()
    agent.replay_buffer.sample(30)
    assert len(set(rows[0])) < len(rows[0]) == 30


def test_without_replacement_a_minibatch_is_as_large_as_the_buffer_while_that_is_small(rows):
    agent = filled(replacement=False)
    agent.replay_buffer.sample(100)
    assert sorted(rows[0]) == list(range(40))
    # So learning may start before a whole minibatch is there.
    agent = small("dqn", replacement=False, learning_starts=4).learn(10)
    assert agent._n_updates == 6
    assert [len(batch) for batch in rows[1:]] == [5, 6, 7, 8, 9, 10]


def test_minibatches_without_replacement_are_fixed_by_the_seed(rows):
    for _ in range(2):
        small("dqn", replacement=False).learn(25)
    assert rows[:9] == rows[9:]


def test_a_time_limit_is_no_termination():
    agent = small("dqn", Ending(steps=3), learning_starts=1_000, buffer_size=60).learn(60)
    buffer = agent.replay_buffer
    wrong, limit = buffer.rewards == 0, buffer.timeouts == 1
    assert wrong.sum() > 5
    assert limit.sum() > 0
    assert not (wrong & limit).any()
    samples = buffer._get_samples(np.arange(60))
    assert np.array_equal(samples.dones.numpy(), wrong.astype(np.float32))
    assert np.array_equal(buffer.dones, (wrong | limit).astype(np.float32))


def q_network_input(agent, observation):
    """What the spiking network is given when the agent acts."""
    seen = []
    agent.q_net.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    agent.predict(observation, deterministic=True)
    return seen[0]


def test_direct_coding_takes_bytes_as_they_are():
    agent = small("dqn", Bytes())
    observation = np.array([10, 128, 250], np.uint8)
    assert q_network_input(agent, observation).tolist() == [[10.0, 128.0, 250.0]]
    currents = agent.q_net.network.encoder(torch.tensor([[10.0, 128.0, 250.0]]))
    assert currents.unique().tolist() == [10.0, 128.0, 250.0]


def test_population_coding_scales_bytes_before_its_tanh():
    agent = small("dqn", Bytes(), policy_kwargs=dict(encoder="population"))
    observation = np.array([10, 128, 250], np.uint8)
    given = q_network_input(agent, observation)
    # Scaled to [-1, 1] they are -0.92, 0.004 and 0.96; each is coded with its own mean rate.
    spikes = agent.q_net.network.encoder(given).mean(0).reshape(3, 10)
    scaled = torch.tanh(2 * given[0] / 255 - 1)
    centres = torch.linspace(-1, 1, 10)
    centre_of_mass = (spikes * centres).sum(1) / spikes.sum(1)
    assert (centre_of_mass - scaled).abs().max() < 0.15
    assert not torch.equal(spikes[0], spikes[1])
    assert not torch.equal(spikes[1], spikes[2])


def test_bytes_are_learned_from_as_bytes():
    agent = small("dqn", Bytes()).learn(25)
    assert agent.replay_buffer.observations.dtype == np.uint8
    assert agent._n_updates == 9
    drawn = agent.sample_inputs("q_network", 50, np.random.default_rng(0))[0]
    assert drawn.max() > 200


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(loss="hubber"), r"^loss=hubber: expected one of huber, mse; did you mean 'huber'\?$"),
        (dict(exploration_updates=0), r"^exploration_updates=0: expected at least 1$"),
        (dict(target_update_updates=-1), r"^target_update_updates=-1: expected at least 1$"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        small("dqn", **wrong)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(n_steps=3),
        dict(
            optimize_memory_usage=True,
            replay_buffer_kwargs=dict(handle_timeout_termination=False),
        ),
    ],
    ids=["n_steps", "optimize_memory_usage"],
)
def test_without_replacement_needs_our_own_buffer(arguments):
    with pytest.raises(UserError, match=r"^replacement=False: "):
        small("dqn", replacement=False, **arguments)
