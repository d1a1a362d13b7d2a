"""Effective sample size of a batch from the autocorrelation over time steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.norm import BatchNorm
from snnrl.nn.norm.effective_n import bounded, sample_size, var_of_means

from .parts import make_norm


def n_of(x: Tensor) -> Tensor:
    dims = (0, 1, *range(3, x.dim()))
    var = x.var(dims, correction=0)
    return sample_size(var, bounded(var_of_means(x), var, x), x.shape[1])


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_it_is_the_formula_of_the_autocorrelation() -> None:
    """``B T / (1 + 2 sum_k (1 - k / T) rho_k)``, rho_k from all pairs of steps k apart."""
    steps, batch = 6, 40
    x = noise(steps, batch, 3).cumsum(0) + torch.tensor([0.0, 5.0, -2.0])
    deviation = x - x.mean((0, 1))
    var = deviation.square().mean((0, 1))
    total = torch.ones(3)
    for k in range(1, steps):
        rho = (deviation[k:] * deviation[:-k]).mean((0, 1)) / var
        total += 2 * (1 - k / steps) * rho
    torch.testing.assert_close(n_of(x), batch * steps / total)


def test_equal_steps_count_once() -> None:
    torch.testing.assert_close(n_of(noise(1, 50, 4).expand(5, 50, 4)), torch.full((4,), 50.0))


def test_independent_steps_count_each() -> None:
    n = n_of(noise(5, 4000, 3))
    assert n == pytest.approx(torch.full((3,), 20_000.0), rel=0.08)
    assert (n <= 20_000 * (1 + 1e-5)).all()


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_an_autoregression(rho: float) -> None:
    steps, batch = 8, 20_000
    x = noise(steps, batch, 1)
    for t in range(1, steps):
        x[t] = rho * x[t - 1] + (1 - rho**2) ** 0.5 * x[t]
    total = 1 + 2 * sum((1 - k / steps) * rho**k for k in range(1, steps))
    assert n_of(x).item() == pytest.approx(batch * steps / total, rel=0.04)


def test_the_variance_of_the_batch_mean_is_var_over_n() -> None:
    """What R stands for, over many batches; the steps have different means as well."""
    x = noise(4, 2000 * 30, 1)
    x[1:] += 0.8 * x[:1]
    x += torch.arange(4.0).view(4, 1, 1)
    batches = x.view(4, 2000, 30, 1).unbind(1)
    observed = torch.stack([b.mean((0, 1)) for b in batches]).var(0)
    claimed = torch.stack([b.var((0, 1), correction=0) / n_of(b) for b in batches]).mean(0)
    # The variance of 30 inputs is biased by a thirtieth.
    torch.testing.assert_close(claimed * 30 / 29, observed, rtol=0.1, atol=0)


def test_alternating_steps_count_no_more_than_independent_ones() -> None:
    first = noise(1, 30, 2)
    torch.testing.assert_close(n_of(torch.cat([first, -first])), torch.full((2,), 60.0))


def test_a_constant_feature_counts_the_batch() -> None:
    assert n_of(torch.full((5, 7, 2), 3.0)).tolist() == [7, 7]


def test_places_of_an_image_count_as_steps_do() -> None:
    x = noise(3, 40, 2, 4, 5)
    as_steps = x.permute(0, 3, 4, 1, 2).flatten(0, 2)
    torch.testing.assert_close(n_of(x), n_of(as_steps))


@pytest.mark.parametrize("confidence", ["published", "corrected", "kalman"])
def test_a_layer_uses_it(confidence: str) -> None:
    x = noise(5, 16, 3).cumsum(0) + 1
    layers = []
    for feature, n in enumerate([None, *n_of(x).tolist()], -1):
        bn = dict(name="carebn", confidence=confidence, effective_n="auto" if n is None else n)
        layer = make_norm(bn, 3)
        layer(x), layer(0.5 * x)
        layers.append((feature, layer))
    (_, auto), *given = layers
    assert isinstance(auto, BatchNorm)
    for feature, layer in given:
        assert isinstance(layer, BatchNorm)
        torch.testing.assert_close(auto.moving_mean[feature], layer.moving_mean[feature])
        torch.testing.assert_close(auto.moving_var[feature], layer.moving_var[feature])


class OfSteps(BatchNorm):
    """Statistics of single steps, by someone else."""

    def statistics_shape(self) -> tuple[int, ...]:
        return (self.shape.time_steps, self.shape.features)


@pytest.mark.parametrize(
    ("changes", "steps", "message"),
    [
        ({}, 1, r"^bn.effective_n=auto: one time step has no .*; expected a number, or null$"),
        ({"name": OfSteps}, 5, r"^bn.effective_n=auto: the statistics are of single steps; "),
        *(
            ({"name": name}, 5, r"^bn.effective_n=auto: expected a number or null$")
            for name in ("bntt", "tab", "mpbn")
        ),
        ({"effective_n": "fast"}, 5, r"^bn.effective_n=fast: .*number, null or auto; did you mean"),
        (
            {"effective_n": "atuo"},
            5,
            r"^bn.effective_n=atuo: .* null or auto; did you mean 'auto'\?$",
        ),
        ({"effective_n": 0}, 5, r"^bn.effective_n=0: expected more than 0$"),
        ({"effective_n": -2.5}, 5, r"^bn.effective_n=-2.5: expected more than 0$"),
        ({"effective_n": [1]}, 5, r"^bn.effective_n=\[1\]: expected a number or auto or null$"),
    ],
)
def test_where_it_has_no_meaning(changes: dict[str, Any], steps: int, message: str) -> None:
    spec = {"name": "carebn", "rule": "confidence", "effective_n": "auto"} | changes
    with pytest.raises(UserError, match=message):
        make_norm(spec, 3, steps=steps)
