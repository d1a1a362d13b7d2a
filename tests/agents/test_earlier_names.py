"""What earlier versions saved names modules and classes that are elsewhere now; it still loads."""

import inspect
import json
import pickle
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from snnrl.agents import DQN, PPO, TD3
from snnrl.agents.earlier_names import CLASSES, MODULES
from snnrl.agents.policies.actors import SpikingActor
from snnrl.agents.policies.on_policy import SpikingPolicy
from snnrl.agents.policies.options import SpikingOptions
from snnrl.agents.replay.buffer import ReplayBuffer
from snnrl.agents.updates.loss_log import LossLog

SAVED = Path(__file__).parents[1] / "data" / "saved"
ACTIONS = json.loads((SAVED / "actions.json").read_text())


def by_reference(module, name):
    """A pickle of a class: nothing but its two names."""
    return f"c{module}\n{name}\n.".encode()


@pytest.mark.parametrize(
    ("module", "name", "found"),
    [
        ("snnrl.agents.buffers", "ReplayBuffer", ReplayBuffer),
        ("snnrl.agents.actor", "SpikingActor", SpikingActor),
        ("snnrl.agents.actor_critic", "SpikingPolicy", SpikingPolicy),
        ("snnrl.agents.spiking", "SpikingOptions", SpikingOptions),
        ("snnrl.agents.losses", "Losses", LossLog),
    ],
)
def test_a_class_is_found_by_its_earlier_name(module, name, found):
    assert pickle.loads(by_reference(module, name)) is found


@pytest.mark.parametrize("earlier", MODULES)
def test_every_earlier_module_leads_to_one_that_is_there(earlier):
    present = import_module(f"snnrl.agents.{MODULES[earlier]}")
    names = [name for name in vars(present) if not name.startswith("__")]
    assert names
    for name in names:
        assert getattr(sys.modules[f"snnrl.agents.{earlier}"], name) is vars(present)[name]


def test_renamed_classes_are_gone_by_their_earlier_names():
    for earlier, present in CLASSES.items():
        modules = [import_module(f"snnrl.agents.{name}") for name in MODULES.values()]
        assert not any(hasattr(module, earlier) for module in modules)
        assert any(hasattr(module, present) for module in modules)


def test_source_files_belong_to_their_present_modules():
    # ``inspect`` looks through all modules for the one of a file.
    present = import_module("snnrl.agents.policies.actors")
    code = SpikingActor.forward.__code__
    assert inspect.getmodule(code) is present


def test_what_was_never_there_is_missing():
    with pytest.raises(AttributeError, match="Nothing"):
        pickle.loads(by_reference("snnrl.agents.buffers", "Nothing"))


@pytest.mark.parametrize("agent", [TD3, DQN, PPO])
def test_a_saved_agent_acts_as_it_did(agent):
    name = agent.__name__.lower()
    loaded = agent.load(SAVED / f"{name}.zip", device="cpu")
    observations = np.array(ACTIONS[name]["observations"], dtype=np.float32)
    actions, _ = loaded.predict(observations, deterministic=True)
    np.testing.assert_array_equal(actions, np.array(ACTIONS[name]["actions"], actions.dtype))
    assert len(np.unique(actions)) > 1


def test_a_saved_actor_acts_as_it_did():
    actor = SpikingActor.load(SAVED / "td3_actor.pth", device="cpu")
    observations = np.array(ACTIONS["td3"]["observations"], dtype=np.float32)
    actions, _ = actor.predict(observations)
    np.testing.assert_array_equal(actions, np.array(ACTIONS["td3"]["actions"], actions.dtype))


def test_a_saved_replay_buffer_is_learned_from():
    agent = TD3.load(SAVED / "td3.zip", device="cpu")
    agent.load_replay_buffer(SAVED / "td3_replay_buffer.pkl")
    assert isinstance(agent.replay_buffer, ReplayBuffer)
    assert agent.replay_buffer.size() == 32
    before = agent.actor.network.state_dict()
    before = {key: value.clone() for key, value in before.items()}
    agent.train(4, batch_size=8)
    assert any(
        not value.equal(before[key]) for key, value in agent.actor.network.state_dict().items()
    )


def test_saved_losses_go_on_counting():
    losses = pickle.loads((SAVED / "td3_losses.pkl").read_bytes())
    assert isinstance(losses, LossLog)
    assert losses.drain(32).keys() == {"train/critic_loss", "train/actor_loss"}
