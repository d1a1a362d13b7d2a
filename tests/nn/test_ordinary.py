"""Normalisation of ordinary networks: between each map and its activation."""

import pytest
import torch
from torch import nn

from snnrl.errors import UserError
from snnrl.nn.norm import BatchNorm, make_strategy, norm_layers, recalibrating
from snnrl.nn.norm.base import Norm
from snnrl.nn.ordinary import normalised, ordinary_strategy
from snnrl.nn.registry import component, names

ALL = names("norm")
FITTING = [n for n in ALL if n != "none" and component("norm", n).maker.needs_spikes() is None]


def stack(outputs=2, activation=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 8), activation(), nn.Linear(8, 6), activation(), nn.Linear(6, outputs)
    )


def test_every_normalisation_is_fit_or_says_what_it_needs():
    assert {"vanilla", "carebn", "layernorm"} <= set(FITTING)
    for name in set(ALL) - set(FITTING) - {"none"}:
        needed = component("norm", name).maker.needs_spikes()
        message = f"^bn={name}: needs {needed}, which .* expected one of .*carebn"
        with pytest.raises(UserError, match=message):
            ordinary_strategy(name)
    assert {n for n in ALL if component("norm", n).maker.needs_spikes()} >= {"bntt", "tdbn"}
    assert ordinary_strategy("none") is None


def test_of_ones_own_without_needs(registered):
    class Doubled(Norm):
        linear_bias = False

        def forward(self, x):
            assert x.dim() == 3 and len(x) == 1
            return 2 * x

    registered("norm", "doubled", Doubled)
    plain = stack()
    network = normalised(plain, ordinary_strategy(Doubled), hidden=1)
    assert network.layers[0].linear.bias is None
    x = torch.rand(5, 3)
    expected = plain[3](plain[2](torch.relu(2 * x @ plain[0].weight.T)))
    torch.testing.assert_close(network(x), plain[4](expected))


@pytest.mark.parametrize("name", FITTING)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_by_hand_in_evaluation(name, activation):
    plain = stack(activation=activation)
    network = normalised(stack(activation=activation), make_strategy(name), hidden=2).eval()
    for own, other in zip(
        [p for n, p in network.named_parameters() if "norm" not in n],
        plain.parameters(),
        strict=True,
    ):
        assert torch.equal(own, other)
    for layer in norm_layers(network):
        layer.moving_mean.uniform_(-1, 1)
        layer.moving_var.uniform_(0.5, 2)
    x = torch.rand(7, 3)
    h = x
    for linear, layer in zip((plain[0], plain[2]), network.layers, strict=True):
        norm, h = layer.norm, linear(h)
        if isinstance(norm, BatchNorm):
            mean, var = norm.moving_mean, norm.moving_var
        else:
            # Those without statistics normalise each sample, over one group of features or more.
            groups = h.unflatten(1, (getattr(norm, "groups", 1), -1))
            mean, var = groups.mean(2), groups.var(2, correction=0)
            mean, var = (v.repeat_interleave(groups.shape[2], dim=1) for v in (mean, var))
        # gamma starts at 1 and beta at 0.
        h = activation()((h - mean) / (var + norm.eps).sqrt())
    torch.testing.assert_close(network(x), plain[4](h))


def test_training_uses_the_batch_and_moves():
    network = normalised(stack(), make_strategy("vanilla"), hidden=2).train()
    x = torch.rand(50, 3)
    linear, norm = network.layers[0].linear, network.layers[0].norm
    currents = linear(x).detach()
    seen = []
    network.layers[0].activation.register_forward_pre_hook(lambda _, i: seen.append(i[0]))
    network(x)
    torch.testing.assert_close(seen[0].mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(norm.moving_mean, 0.1 * currents.mean(0))
    torch.testing.assert_close(norm.moving_var, 0.9 + 0.1 * currents.var(0, correction=0))
    with recalibrating(network):
        network(x)
    torch.testing.assert_close(norm.moving_mean, currents.mean(0))


def test_images_are_normalised_by_channel():
    torch.manual_seed(0)
    convolutions = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten())
    network = normalised(convolutions, make_strategy("vanilla")).train()
    images = torch.rand(4, 2, 6, 6)
    currents = convolutions[0](images).detach()
    outputs = network(images)
    mean, sd = currents.mean((0, 2, 3), keepdim=True), currents.std((0, 2, 3), correction=0)
    expected = torch.relu((currents - mean) / (sd[None, :, None, None] ** 2 + 1e-5).sqrt())
    torch.testing.assert_close(outputs, expected.flatten(1))
    assert network.layers[0].norm.moving_mean.shape == (3,)


def test_without_a_hidden_layer_there_is_nothing_to_normalise():
    with pytest.raises(UserError, match=r"^bn=vanilla: no hidden layer to normalise; expected"):
        normalised(nn.Sequential(nn.Linear(2, 1)), make_strategy("vanilla"), hidden=0)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", FITTING)
def test_it_learns_and_without_gradient_through_it_not(name):
    def loss_after(cut):
        torch.manual_seed(1)
        network = normalised(
            nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 1)),
            make_strategy(name),
            hidden=2,
        )
        for layer in network.layers:
            if cut:
                layer.norm.register_forward_hook(lambda _, inputs, output: output.detach())
        optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
        x = torch.rand(256, 6) * 2 - 1
        target = (x[:, :1] + x[:, 1:2]).abs()
        for _ in range(150):
            loss = ((network(x) - target) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with recalibrating(network):
            network(x)
        network.eval()
        return (((network(x) - target) ** 2).mean() / target.var()).item()

    # At most 0.007 with it, at least 0.92 without.
    assert loss_after(cut=False) < 0.1
    assert loss_after(cut=True) > 0.7
