"""Captured steps gather their minibatches themselves: on a tape, on a CPU."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from snnrl.agents.off_policy import ReplayAgent, gathering
from snnrl.agents.replay.buffer import ReplayBuffer
from snnrl.agents.replay.on_device import OnDeviceTransitions, Places
from snnrl.agents.updates.cuda_graphs import EAGER_STEPS, CapturedSteps
from tests.agents.helpers import assert_equal_states, small
from tests.agents.updates.tape import TapeRecorder

VARIANTS = {
    "td3": dict(variant="td3"),
    "sac": dict(variant="sac"),
    "dqn": dict(variant="dqn"),
    "without replacement": dict(variant="dqn", replacement=False),
    "proxy": dict(variant="td3", policy_kwargs=dict(target="proxy", bn="none")),
}


def transitions(self):
    if not self._looked_for_room:
        self._looked_for_room = True
        self._on_device = OnDeviceTransitions(self, torch.device("cpu"))
    return self._on_device


@pytest.fixture(autouse=True)
def as_on_cuda(monkeypatch):
    """Agents capture, and buffers keep a copy, as on CUDA."""
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: TapeRecorder())
    monkeypatch.setattr(ReplayBuffer, "_transitions_on_device", transitions)


def plain(**arguments):
    """An agent that learns operator by operator from numpy's minibatches."""
    agent = small(**arguments)
    agent.captured = None
    agent.replay_buffer._looked_for_room = True
    return agent


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)
def test_a_run_is_that_of_numpys_minibatches(arguments):
    """The buffer wraps around while steps are replayed."""
    agents = [make(buffer_size=35, **arguments).learn(60) for make in (small, plain)]
    assert agents[0].replay_buffer._on_device is not None
    assert agents[1].replay_buffer._on_device is None
    assert agents[0].captured._recorder.events.count("replay") > 15
    assert_equal_states(agents[0].policy, agents[1].policy)
    assert agents[0].loss_log.drain(0) == agents[1].loss_log.drain(0)


def test_the_graph_begins_with_the_gathering():
    agent = small().learn(40)
    tapes = agent.captured._recorder.tapes
    assert len(tapes) == 2
    for tape in tapes:
        names = tape.names()
        # Observations, next ones, and all else of a transition.
        assert names[:3] == ["aten::index_select"] * 3
        assert names.count("aten::index_select") == 3


@pytest.mark.parametrize("actions", [spaces.Box(-1, 1, (2,)), spaces.Discrete(3)])
def test_what_a_graph_gathers_is_numpys(actions):
    space = spaces.Box(-1, 1, (3,))
    mine, theirs = (ReplayBuffer(20, space, actions, device="cpu", n_envs=2) for _ in range(2))
    theirs._looked_for_room = True
    recorder, seen = TapeRecorder(), []
    steps = CapturedSteps(recorder)

    def keep(batch):
        if not seen:
            seen.extend(torch.zeros_like(part) for part in batch if part is not None)
        for kept, part in zip(seen, batch, strict=False):
            kept.copy_(part)

    generator = np.random.default_rng(0)
    for count in range(EAGER_STEPS + 12):
        for _ in range(1 + count % 4):
            row = [generator.normal(size=(2, 3)), generator.normal(size=(2, 3))]
            row += [np.array([actions.sample() for _ in range(2)])]
            row += [generator.normal(size=2), generator.integers(0, 2, 2)]
            infos = [{"TimeLimit.truncated": True}, {}]
            for buffer in (mine, theirs):
                buffer.add(*row, infos)
        np.random.seed(count)
        places = mine.places(16)
        np.random.seed(count)
        expected = theirs.sample(16)
        steps(gathering(keep), places, (places.transitions,))
        for kept, part in zip(seen, expected, strict=False):
            assert kept.dtype == part.dtype and torch.equal(kept, part)
    assert recorder.events.count("replay") == 12 and recorder.events.count("capture") == 1


def test_another_buffer_is_gathered_from_by_another_graph():
    def play(make):
        agent = make(learning_starts=10_000).learn(40)
        other = deepcopy(agent.replay_buffer)
        other.rewards += 1
        for buffer in (agent.replay_buffer, other, agent.replay_buffer):
            agent.replay_buffer = buffer
            agent.set_random_seed(3)
            agent.train(10, 16)
        return agent

    agents = [play(make) for make in (small, plain)]
    assert agents[0].captured._recorder.events.count("capture") == 4
    assert_equal_states(agents[0].policy, agents[1].policy)


class Own(ReplayBuffer):
    """A buffer that samples in its own way."""

    def sample(self, batch_size, env=None):
        return super().sample(batch_size // 2, env)


def test_a_buffer_of_the_users_is_asked():
    agent = small(replay_buffer_class=Own).learn(40)
    assert isinstance(agent.replay_buffer, Own) and agent.replay_buffer.places(16) is None
    assert not isinstance(agent._minibatch(16), Places)
    assert len(agent._minibatch(16).rewards) == 8


def test_operator_by_operator_nothing_is_left_to_the_step():
    agent = small().learn(40)
    assert isinstance(agent._minibatch(16), Places)
    agent.captured = None
    assert not isinstance(agent._minibatch(16), Places)


def test_nothing_is_drawn_where_nothing_is_gathered():
    agent = plain().learn(20)
    before = np.random.get_state()[1].copy()
    assert agent.replay_buffer.places(16) is None
    assert np.array_equal(np.random.get_state()[1], before)
