"""Policies switch modes as Stable-Baselines3's do."""

import pytest
from torch import nn

from snnrl.agents import TD3
from snnrl.agents.policies.modes import QuickModes
from tests.agents.helpers import VARIANTS, small, task


def modes(policy):
    return {name: module.training for name, module in policy.named_modules()}


def expected(policy, mode):
    """What Stable-Baselines3's own switch does."""
    super(QuickModes, policy).set_training_mode(mode)
    return modes(policy)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_module_has_the_mode_that_sb3_gives_it(variant, mode):
    policy = small(variant).policy
    wanted = expected(policy, mode)
    super(QuickModes, policy).set_training_mode(not mode)
    policy.set_training_mode(mode)
    assert modes(policy) == wanted
    assert set(wanted.values()) == ({True, False} if mode else {False})


def test_one_part_that_was_switched_apart_comes_along():
    policy = small().policy
    policy.set_training_mode(True)
    policy.actor.network.layers[0].eval()
    policy.set_training_mode(True)
    assert all(module.training for module in policy.actor.modules())


class Never(nn.Flatten):
    def train(self, mode=True):
        return super().train(False)


@pytest.mark.parametrize("policy", ["SpikingPolicy", "AnnPolicy"])
def test_a_module_that_switches_in_its_own_way_does_so(policy):
    agent = TD3(policy, task("td3"), device="cpu")
    agent.actor.features_extractor.flatten = Never()
    agent.policy.set_training_mode(True)
    assert not agent.actor.features_extractor.flatten.training
    assert agent.actor.features_extractor.training
