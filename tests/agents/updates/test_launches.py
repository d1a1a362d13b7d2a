"""How many kernels a gradient step of TD3 launches at the published sizes, and an action."""

from functools import partial

import numpy as np
import pytest
import torch

import snnrl.ops.backend
import snnrl.ops.triton
from scripts.bench.agents import spiking
from scripts.bench.options import Options
from snnrl.agents.off_policy import gathering
from snnrl.agents.replay.on_device import OnDeviceTransitions
from snnrl.agents.updates.cuda_graphs import EAGER_STEPS, CapturedSteps
from tests.agents.updates.launches import Launches
from tests.ops.triton.reference import register_for_a_cpu

register_for_a_cpu()

MOST = 130
"""Launches of a whole step; more would wait longer for launches than for memory."""


@pytest.fixture(scope="module")
def agent():
    """TD3 with ``kernel=triton`` and fused Adam, for which a CPU passes for a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snnrl.ops.backend, "check_device", lambda device: None)
        patch.setattr(snnrl.ops.triton, "check_input", lambda x: None)
        made = spiking("td3", "triton", Options(quick=False, device="cpu"))
        made._begin_update()
        for _ in range(2):
            made._whole_step(made.replay_buffer.sample(made.batch_size))
        yield made


class Replays:
    """Records a step that is captured, and does nothing when it is replayed but count."""

    def __init__(self):
        self.replayed = 0

    def run(self, work):
        work()

    def capture(self, work):
        work()
        return self.replay

    def keep(self, value):
        return value.clone()

    def replay(self):
        self.replayed += 1


def minibatch(agent):
    """Where a minibatch is, as on CUDA."""
    buffer = agent.replay_buffer
    return OnDeviceTransitions(buffer, agent.device).places(np.arange(agent.batch_size))


def counted(work):
    with Launches() as launches:
        work()
    return launches


def parts(agent):
    """The launches of each part of a whole step."""
    places = minibatch(agent)
    batch = places.gathered()
    with torch.no_grad():
        next_actions = counted(partial(agent._next_actions, batch.next_observations)).total
        targets = agent._target_values(batch)
    return {
        "minibatch": counted(places.gathered).total,
        "next actions": next_actions,
        "targets": counted(partial(agent._target_values, batch)).total - next_actions,
        "critics": counted(partial(agent._update_critic, batch, targets)).total,
        "actor": counted(partial(agent._update_actor, batch)).total,
        "target networks": counted(agent._update_targets).total,
    }


def test_each_part(agent):
    assert parts(agent) == {
        "minibatch": 3,
        "next actions": 14,
        "targets": 17,
        "critics": 45,
        "actor": 48,
        "target networks": 3,
    }


def test_a_step_is_its_parts(agent):
    places, of_part = minibatch(agent), parts(agent)
    whole = counted(partial(gathering(agent._whole_step), places)).total
    critic = counted(partial(gathering(agent._critic_step), places)).total
    assert whole == sum(of_part.values()) <= MOST
    assert critic == sum(of_part.values()) - of_part["actor"] - of_part["target networks"]


def test_an_action_is_one_replay(agent, monkeypatch):
    recorder = Replays()
    monkeypatch.setattr(agent, "captured", CapturedSteps(recorder))
    monkeypatch.setattr(agent, "acting", CapturedSteps(recorder), raising=False)
    observation = np.zeros(agent.observation_space.shape, np.float32)
    act = partial(agent.predict, observation, deterministic=True)
    for _ in range(EAGER_STEPS + 1):
        act()
    before = recorder.replayed
    launches = counted(act)
    assert recorder.replayed == before + 1
    # The observation in, the action out.
    assert launches.by_name == {"aten::_foreach_copy_": 1, "aten::_to_copy": 1}


def test_what_is_counted():
    x = torch.ones(4, 3, requires_grad=True)
    y = torch.zeros(3)
    with Launches() as launches:
        (x[1:].view(-1) * 2).sum().backward()
        torch._foreach_add_([y, y.clone()], 1)
        torch.empty(5)
    assert launches.by_name == {
        "aten::mul": 2,
        "aten::sum": 1,
        "aten::ones_like": 1,
        "aten::slice_backward": 2,
        "aten::clone": 1,
        "aten::_foreach_add_": 1,
    }
