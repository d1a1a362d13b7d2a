"""The state of torch's generators on CUDA devices, with stand-ins for the devices."""

from types import SimpleNamespace

import pytest
import torch
from gymnasium import spaces

from snnrl.experiment.checkpoint.random_state import generator_states, restore_generators


def agent(device):
    return SimpleNamespace(
        device=torch.device(device), action_space=spaces.Box(-1, 1, (1,), seed=0)
    )


def state(number):
    return torch.full((16,), number, dtype=torch.uint8)


@pytest.fixture
def devices(monkeypatch):
    """The states of two devices; who asks for one without a name starts CUDA on each."""
    states = {0: state(10), 1: state(11)}

    def number(device):
        return torch.device(device).index or 0

    def all_of_them(*_):
        raise AssertionError("asks every device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", all_of_them)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", all_of_them)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[number(device)])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda new, device: states.update({number(device): new})
    )
    return states


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("cuda:1", 1)])
def test_that_of_the_agents_own_device(devices, name, index):
    saved = generator_states(agent(name))
    devices[index] = state(99)
    others = devices[1 - index] = state(5)
    restore_generators(agent(name), saved)
    assert torch.equal(devices[index], state(10 + index))
    assert devices[1 - index] is others


def test_that_of_no_device_where_the_agent_is_on_the_cpu(devices):
    saved = generator_states(agent("cpu"))
    before = dict(devices)
    restore_generators(agent("cpu"), saved)
    assert devices == before


def test_to_another_device_and_from_a_cpu(devices):
    saved = generator_states(agent("cuda:1"))
    restore_generators(agent("cuda"), saved)
    assert torch.equal(devices[0], state(11))
    restore_generators(agent("cpu"), saved)
    before = dict(devices)
    restore_generators(agent("cuda"), generator_states(agent("cpu")))
    assert devices == before


@pytest.mark.parametrize("earlier", [[], [state(1)], [state(1), state(2), state(3)]])
def test_what_earlier_versions_saved(devices, earlier):
    """One for each device that the machine had."""
    saved = {**generator_states(agent("cuda:1")), "cuda": earlier}
    for name, index in (("cuda:1", 1), ("cuda", 0)):
        before = devices[index]
        restore_generators(agent(name), saved)
        expected = earlier[index] if index < len(earlier) else before
        assert torch.equal(devices[index], expected)
    restore_generators(agent("cpu"), saved)
