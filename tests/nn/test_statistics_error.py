import math

import pytest
import torch

from snnrl.nn.norm import error, norm_layers, recalibrating
from snnrl.nn.norm.batch import PooledBatchNorm
from snnrl.nn.shape import LayerShape

from .networks import observations, tiny


def statistics_error(network, batches):
    return error.statistics_error(network, ((batch,) for batch in batches))


def layer_without_eps():
    return PooledBatchNorm(LayerShape(2, 2), threshold=2.0, eps=0.0)


def series(mean, sd):
    """``[T=2, B=2, N=2]``: the first feature has this mean and deviation, the second 0 and 1."""
    x = torch.tensor([-1.0, 1.0, -1.0, 1.0]).reshape(2, 2, 1)
    return torch.cat([mean + sd * x, x], dim=2)


def test_by_hand():
    # Moving mean 0 and variance 1 against 3 and 4; the second feature is right.
    (found,) = statistics_error(layer_without_eps(), [series(3.0, 2.0)]).values()
    assert found.mean_error == pytest.approx((3 / 2 + 0) / 2)
    assert found.variance_ratio == pytest.approx(math.sqrt(1 / 4))
    assert found.wasserstein2 == pytest.approx(math.sqrt((3**2 + (1 - 2) ** 2) / 2))


def test_batches_are_pooled():
    # Means 1 and 5, deviation 2: together mean 3, variance 4 + 4.
    (found,) = statistics_error(
        layer_without_eps(), iter([series(1.0, 2.0), series(5.0, 2.0)])
    ).values()
    assert found.mean_error == pytest.approx(3 / math.sqrt(8) / 2)
    assert found.variance_ratio == pytest.approx(math.sqrt(1 / 8))


def test_none_in_the_first_layer_after_recalibration_on_the_same_batches():
    network = tiny()
    batches = [observations(seed) for seed in range(3)]
    assert statistics_error(network, batches)["layers.0.norm"].wasserstein2 > 0.1
    with recalibrating(network):
        for batch in batches:
            network(batch)
    found = statistics_error(network, batches)["layers.0.norm"]
    assert found.mean_error == pytest.approx(0, abs=1e-5)
    assert found.variance_ratio == pytest.approx(1, abs=1e-5)
    assert found.wasserstein2 == pytest.approx(0, abs=1e-5)


def test_one_batch_leaves_no_error_in_any_layer():
    # With one batch the accumulation so far is the whole, so later layers see the same inputs.
    network = tiny()
    with recalibrating(network):
        network(observations())
    errors = statistics_error(network, [observations()])
    assert list(errors) == ["layers.0.norm", "layers.1.norm", "layers.2.norm"]
    for found in errors.values():
        assert found.wasserstein2 == pytest.approx(0, abs=1e-5)


def test_later_layers_are_compared_behind_moving_statistics():
    network = tiny().eval()
    norm_layers(network)[0].moving_mean.fill_(1e3)  # silences all that follows
    with torch.no_grad():
        expected = network.layers[1].linear.bias
    found = statistics_error(network, [observations()])["layers.1.norm"]
    sd = math.sqrt(1e-5)
    assert found.mean_error == pytest.approx(expected.abs().mean().item() / sd, rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_network_changes(training):
    network = tiny().train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    statistics_error(network, [observations()])
    assert all(module.training is training for module in network.modules())
    assert not any(module._forward_pre_hooks for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_mode_is_put_back_after_an_error():
    network = tiny().train()
    with pytest.raises(RuntimeError):
        statistics_error(network, [torch.zeros(4, 7)])
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_network_without_such_layers_has_none():
    assert statistics_error(tiny("none"), [observations()]) == {}


def test_no_batch_is_an_error():
    with pytest.raises(ValueError, match="no batch"):
        statistics_error(tiny(), [])
