import pytest
import torch

from snnrl.nn.norm import recalibrating
from snnrl.nn.norm.batch import PooledBatchNorm
from snnrl.nn.shape import LayerShape

from .helpers import close


@pytest.fixture
def layer_after_updates(golden):
    data = golden("care_bn")
    layer = PooledBatchNorm(
        LayerShape(data["gamma"].numel(), len(data["x0"])),
        threshold=0.5,
        rule="confidence",
        smoothing=float(data["smoothing"]),
        eps=float(data["eps"]),
    )
    with torch.no_grad():
        layer.gamma.copy_(data["gamma"])
        layer.beta.copy_(data["beta"])
    for k in range(sum(name.startswith("dgamma") for name in data)):
        layer.zero_grad()
        x = data[f"x{k}"].clone().requires_grad_()
        y = layer(x)
        y.backward(data[f"g{k}"])
        close(y, data[f"y{k}"])
        close(x.grad, data[f"dx{k}"])
        # A gradient summed over T * B terms carries a rounding error of the sum's own scale.
        scale = float(data[f"g{k}"].abs().sum((0, 1)).max())
        close(layer.gamma.grad, data[f"dgamma{k}"], rtol=1e-4, atol=1e-7 * scale)
        close(layer.beta.grad, data[f"dbeta{k}"], rtol=1e-4, atol=1e-7 * scale)
        close(layer.moving_mean, data[f"mean{k}"])
        close(layer.moving_var, data[f"var{k}"])
        close(layer.update.prior_mean, data[f"p_mean{k}"])
        close(layer.update.prior_var, data[f"p_var{k}"])
    return layer.eval(), data


def test_updates_then_inference(layer_after_updates):
    layer, data = layer_after_updates
    close(layer(data["x_eval"]), data["y_eval"])


def test_recalibration(layer_after_updates):
    layer, data = layer_after_updates
    with recalibrating(layer):
        for k in range(sum(name.startswith("x_cal") for name in data)):
            close(layer(data[f"x_cal{k}"]), data[f"y_cal{k}"])
    close(layer.moving_mean, data["mean_cal"])
    close(layer.moving_var, data["var_cal"])
