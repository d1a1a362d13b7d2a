"""Minibatches are those of Stable-Baselines3, from arrays and from a copy on the device."""

import pickle

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common import buffers
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from snnrl.agents.replay.buffer import ReplayBuffer
from snnrl.agents.replay.on_device import OnDeviceTransitions
from tests.agents.helpers import small, task

BOX = spaces.Box(-1, 1, (3,), np.float32)
SPACES = {
    "vector": (BOX, spaces.Box(-1, 1, (2,), np.float32)),
    "double": (spaces.Box(-1, 1, (3,), np.float64), spaces.Box(-1, 1, (2,), np.float64)),
    "bytes": (spaces.Box(0, 255, (2, 4, 4), np.uint8), spaces.Discrete(5)),
}
SIZE = 30


def make(kind, n_envs=1, cls=ReplayBuffer, **arguments):
    return cls(SIZE * n_envs, *SPACES[kind], device="cpu", n_envs=n_envs, **arguments)


def add(rows, *into):
    """The same random transitions into several buffers; some end by a time limit."""
    generator = np.random.default_rng(rows)
    observation_space, action_space = into[0].observation_space, into[0].action_space
    n = into[0].n_envs
    for _ in range(rows):
        observations, following = (
            (generator.random((n, *observation_space.shape)) * 255).astype(observation_space.dtype)
            for _ in range(2)
        )
        actions = np.array([action_space.sample() for _ in range(n)])
        rewards, dones = generator.random(n), generator.random(n) < 0.5
        infos = [{"TimeLimit.truncated": bool(generator.random() < 0.5)} for _ in range(n)]
        for buffer in into:
            buffer.add(observations, following, actions, rewards, dones, infos)


def drawn(buffer, env=None, seed=0):
    np.random.seed(seed)
    return buffer.sample(16, env)


def assert_equal_batches(one, other):
    for name, a, b in zip(one._fields, one, other, strict=True):
        if a is None:
            assert b is None
        else:
            assert (a.shape, a.dtype) == (b.shape, b.dtype), name
            assert torch.equal(a, b), name


@pytest.fixture
def resident(monkeypatch):
    """Buffers keep a copy as they do on CUDA, though the device is a CPU."""

    def transitions(self):
        if not self._looked_for_room:
            self._looked_for_room = True
            self._on_device = OnDeviceTransitions(self, torch.device("cpu"))
        return self._on_device

    monkeypatch.setattr(ReplayBuffer, "_transitions_on_device", transitions)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("kind", SPACES)
def test_minibatches_are_those_of_sb3(kind, n_envs):
    ours = make(kind, n_envs)
    # SB3's would keep float64 as it is.
    stock = buffers.ReplayBuffer(
        SIZE * n_envs, ours.observation_space, SPACES[kind][1], device="cpu", n_envs=n_envs
    )
    for rows in (20, 25):
        add(rows, ours, stock)
        assert_equal_batches(drawn(ours), drawn(stock))
    batch = drawn(ours)
    assert batch.rewards.dtype == batch.dones.dtype == torch.float32
    assert (kind == "bytes") == (batch.observations.dtype == torch.uint8)


@pytest.mark.parametrize("handle", [True, False])
def test_ends_by_a_time_limit_do_not_count(handle):
    ours = make("vector", handle_timeout_termination=handle)
    stock = make("vector", cls=buffers.ReplayBuffer, handle_timeout_termination=handle)
    add(20, ours, stock)
    assert_equal_batches(drawn(ours), drawn(stock))
    assert ours.timeouts.any() == handle


def test_memory_saving_buffers_are_those_of_sb3():
    saving = dict(optimize_memory_usage=True, handle_timeout_termination=False)
    ours, stock = make("vector", **saving), make("vector", cls=buffers.ReplayBuffer, **saving)
    add(45, ours, stock)
    assert_equal_batches(drawn(ours), drawn(stock))


def test_normalised_as_in_sb3(resident):
    env = VecNormalize(DummyVecEnv([lambda: task("td3")]))
    env.reset()
    env.step(np.ones((1, 2)))
    space = env.observation_space
    ours, stock = (
        cls(SIZE, space, env.action_space, device="cpu")
        for cls in (ReplayBuffer, buffers.ReplayBuffer)
    )
    add(20, ours, stock)
    assert_equal_batches(drawn(ours, env), drawn(stock, env))
    assert ours._on_device is None
    assert drawn(ours, env).observations.dtype == torch.float32


def test_a_minibatch_is_a_copy():
    buffer = make("vector")
    add(20, buffer)
    before = buffer.observations.copy()
    drawn(buffer).observations.zero_()
    assert np.array_equal(buffer.observations, before)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("kind", SPACES)
def test_a_copy_on_the_device_follows_the_arrays(kind, n_envs, resident):
    ours = make(kind, n_envs)
    stock = buffers.ReplayBuffer(
        SIZE * n_envs, ours.observation_space, SPACES[kind][1], device="cpu", n_envs=n_envs
    )
    # Up to the end, over it, exactly to it, more than all at once, nothing.
    for rows in (10, 15, 12, 23, 2 * SIZE + 5, 0, 1):
        add(rows, ours, stock)
        assert ours._on_device is None or ours._on_device._unsent == min(rows, SIZE)
        assert_equal_batches(drawn(ours), drawn(stock))
        assert ours._on_device._unsent == 0


def test_a_copy_is_made_when_first_drawn_from(resident):
    ours = make("vector")
    filled = make("vector", cls=buffers.ReplayBuffer)
    add(40, filled)
    # As a checkpoint is read.
    ours.pos, ours.full = filled.pos, filled.full
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        getattr(ours, name)[:] = getattr(filled, name)
    assert_equal_batches(drawn(ours), drawn(filled))


def test_a_copy_is_not_saved(resident):
    ours = make("vector")
    add(20, ours)
    batch = drawn(ours)
    again = pickle.loads(pickle.dumps(ours))
    assert again._on_device is None
    assert ours._on_device is not None
    add(5, again, ours)
    assert_equal_batches(drawn(again), drawn(ours))
    assert not torch.equal(batch.observations, drawn(ours).observations)


@pytest.mark.slow
def test_an_agent_learns_the_same_from_a_copy(monkeypatch, resident):
    copied = small().learn(40)
    assert copied.replay_buffer._on_device is not None
    monkeypatch.undo()
    plain = small().learn(40)
    assert plain.replay_buffer._on_device is None
    for name, value in copied.policy.state_dict().items():
        assert torch.equal(value, plain.policy.state_dict()[name]), name


@pytest.mark.parametrize(("free", "fits"), [(1, False), (10**9, True)])
def test_a_copy_takes_a_quarter_of_the_free_memory_at_most(monkeypatch, free, fits):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    assert OnDeviceTransitions.fit(make("vector"), torch.device("cuda")) is fits


@pytest.mark.parametrize("kind", SPACES)
def test_all_rows_count(monkeypatch, kind):
    buffer = make(kind, n_envs=2)
    kept = OnDeviceTransitions(buffer, torch.device("cpu"))._kept
    bytes_kept = sum(tensor.nbytes for tensor in kept)
    for free, fits in ((4 * bytes_kept, True), (4 * bytes_kept - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        assert OnDeviceTransitions.fit(buffer, torch.device("cuda")) is fits
