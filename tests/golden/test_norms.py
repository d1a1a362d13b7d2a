"""Normalisations against recordings of SpikingJelly 2.0.0 and SNN-TAB (``norm_*.npz``)."""

import pytest
import torch

from snnrl.nn.norm import make_strategy
from snnrl.nn.shape import LayerShape

from .helpers import close

NAMES = {"gamma": ("weight",), "beta": ("bias",), "p": ("scale", "tab.p")}


def recorded(data, prefix, *names):
    """Return an array of the recording, or those of each step put together, ``[T, ...]``."""
    for name in names:
        if f"{prefix}.{name}" in data:
            return data[f"{prefix}.{name}"]
        of_steps = [
            key
            for key in data
            if key.startswith(f"{prefix}.") and "bn_list." in key and key.endswith(f".{name}")
        ]
        if of_steps:
            of_steps.sort(key=lambda key: int(key.split("bn_list.")[1].split(".")[0]))
            return torch.stack([data[key] for key in of_steps])
    raise KeyError(f"{prefix}: has none of {names}")


@pytest.mark.parametrize("name", ["tdbn", "bntt", "tebn", "tab"])
def test_training_and_inference(golden, name):
    data = golden(f"norm_{name}")
    steps, batch, features, *space = data["x0"].shape
    layer = make_strategy(name).make(LayerShape(features, steps, bool(space)), 0.5)
    parameters = dict(layer.named_parameters())
    with torch.no_grad():
        for own, parameter in parameters.items():
            parameter.copy_(recorded(data, "init", *NAMES[own]).reshape(parameter.shape))
    passes = sum(key.startswith("y") and key[1:].isdigit() for key in data)
    for k in range(passes):
        layer.zero_grad()
        x = data[f"x{k}"].clone().requires_grad_()
        y = layer(x)
        y.backward(data[f"g{k}"])
        close(y, data[f"y{k}"])
        close(x.grad, data[f"dx{k}"])
        for own, parameter in parameters.items():
            close(parameter.grad, recorded(data, f"d{k}", *NAMES[own]))
    close(layer.moving_mean, recorded(data, "after", "running_mean"))
    # The recording keeps unbiased variances; the start, 1, is common.
    pooled = {"bntt": 1, "tab": torch.arange(1, steps + 1).unsqueeze(1)}.get(name, steps)
    n = pooled * batch * torch.Size(space).numel()
    left = 0.9**passes
    unbiased = left + (layer.moving_var - left) * n / (n - 1)
    variances = recorded(data, "after", "running_var")
    close(unbiased, variances)
    layer.eval().moving_var.copy_(variances)
    close(layer(data["x_eval"]), data["y_eval"])


@pytest.mark.parametrize(("name", "eps"), [("tdbn", 1e-5), ("bntt", 1e-4)])
def test_the_start(golden, name, eps):
    layer = make_strategy(name).make(LayerShape(3, 5), 0.25)
    assert torch.equal(layer.gamma, torch.full_like(layer.gamma, 0.25))
    assert layer.eps == eps
    assert make_strategy(name).layer.linear_bias == (name != "bntt")


def test_weights_of_steps_start_at_one():
    x = torch.randn(5, 8, 3, generator=torch.Generator().manual_seed(0))
    plain = make_strategy("vanilla").make(LayerShape(3, 5), 0.5)
    tebn = make_strategy("tebn").make(LayerShape(3, 5), 0.5)
    assert torch.equal(tebn(x), plain(x))
    # The last step of TAB has the statistics of all steps.
    tab = make_strategy("tab").make(LayerShape(3, 5), 0.5)
    torch.testing.assert_close(tab(x)[-1], plain(x)[-1])
    torch.testing.assert_close(tab.moving_mean[-1], 0.1 * x.mean((0, 1)))
