"""Normalisations against recordings of SpikingJelly 2.0.0 (``norm_*.npz``)."""

import pytest
import torch

from snnrl.nn.norm import make_strategy
from snnrl.nn.shape import LayerShape

from .helpers import close


def stacked(data, prefix, name):
    """An array of the recording, or one of each step put together, ``[T, N]``."""
    if f"{prefix}.{name}" in data:
        return data[f"{prefix}.{name}"]
    found = sorted(
        key for key in data if key.startswith(f"{prefix}.bn_list") and key.endswith(f".{name}")
    )
    return torch.stack([data[key] for key in found]) if found else None


@pytest.mark.parametrize("name", ["tdbn", "bntt"])
def test_training_and_inference(golden, name):
    data = golden(f"norm_{name}")
    steps, batch, features = data["x0"].shape[:3]
    layer = make_strategy(name).make(LayerShape(features, steps), 0.5)
    names = {"gamma": "weight", "beta": "bias"}
    parameters = dict(layer.named_parameters())
    with torch.no_grad():
        for own, parameter in parameters.items():
            parameter.copy_(stacked(data, "init", names[own]))
    passes = sum(key.startswith("y") and key[1:].isdigit() for key in data)
    for k in range(passes):
        layer.zero_grad()
        x = data[f"x{k}"].clone().requires_grad_()
        y = layer(x)
        y.backward(data[f"g{k}"])
        close(y, data[f"y{k}"])
        close(x.grad, data[f"dx{k}"])
        for own, parameter in parameters.items():
            close(parameter.grad, stacked(data, f"d{k}", names[own]))
    close(layer.moving_mean, stacked(data, "after", "running_mean"))
    # The recording keeps unbiased variances; the start, 1, is common.
    n = batch if name == "bntt" else steps * batch
    left = 0.9**passes
    unbiased = left + (layer.moving_var - left) * n / (n - 1)
    recorded = stacked(data, "after", "running_var")
    close(unbiased, recorded)
    layer.eval().moving_var.copy_(recorded)
    close(layer(data["x_eval"]), data["y_eval"])


@pytest.mark.parametrize(("name", "eps"), [("tdbn", 1e-5), ("bntt", 1e-4)])
def test_the_start(golden, name, eps):
    layer = make_strategy(name).make(LayerShape(3, 5), 0.25)
    assert torch.equal(layer.gamma, torch.full_like(layer.gamma, 0.25))
    assert layer.eps == eps
    assert make_strategy(name).layer.linear_bias == (name != "bntt")
