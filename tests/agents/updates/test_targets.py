"""Targets follow as Stable-Baselines3's and as the strategies of normalisation say."""

from copy import deepcopy

import pytest
import torch
from stable_baselines3.common.utils import polyak_update

from snnrl.agents.updates.targets import TargetNetworks
from tests.agents.helpers import VARIANTS, small
from tests.nn.parts import follow


def disturbed(network):
    """Every weight and statistic somewhere else."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            tensor.add_(torch.rand(tensor.shape, generator=generator))


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_bit_for_bit(variant, kind):
    agent = small(variant, policy_kwargs=dict(bn=dict(name="carebn", target_stats=kind)))
    names = ("q_net",) if variant == "dqn" else ("actor", "critic")
    pairs = [(getattr(agent, n), getattr(agent, f"{n}_target", None)) for n in names]
    pairs = [(online, target) for online, target in pairs if target is not None]
    for online, _ in pairs:
        disturbed(online)
    expected = deepcopy([target for _, target in pairs])
    for (online, _), target in zip(pairs, expected, strict=True):
        for _ in range(3):
            polyak_update(online.parameters(), target.parameters(), 0.07)
            if online in agent.parts().values():
                follow(online, target, {"soft": 0.07, "hard": 1.0}[kind])
    for _ in range(3):
        agent.followers.update(0.07)
    for (_, target), other in zip(pairs, expected, strict=True):
        for name, value in target.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_running_statistics_of_torch_are_copied():
    online, target = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    online(torch.rand(4, 3))
    targets = TargetNetworks([(online, target)], [online.running_mean], [target.running_mean])
    targets.update(0.01)
    assert torch.equal(target.running_mean, online.running_mean)
    assert not torch.equal(online.running_mean, torch.zeros(3))
    assert torch.equal(target.running_var, torch.ones(3))


def test_networks_unlike_each_other_are_refused():
    with pytest.raises(ValueError, match=r"^1 tensors cannot follow 2$"):
        TargetNetworks([(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1, bias=False))], [], [])
