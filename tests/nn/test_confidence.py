"""Variants of the confidence-adaptive update: by hand, and their gains and errors simulated."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.norm import norm_layers, recalibrating
from snnrl.nn.norm.confidence import ConfidenceUpdate, CorrectedConfidenceUpdate, KalmanUpdate
from snnrl.nn.norm.ema import ExponentialUpdate
from snnrl.nn.norm.rules import make_rule

from .networks import images, observations, tiny, tiny_conv
from .parts import follow, make_norm

VARIANTS: list[dict[str, Any]] = [
    {"confidence": "published"},
    {"confidence": "corrected"},
    {"confidence": "kalman"},
    {"confidence": "kalman", "process_noise": 0.1},
]
IDS = ["published", "corrected", "kalman", "kalman_noise"]
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=IDS)


class Statistics:
    """Moving statistics of features, and their rule; R is 1 for the mean and 2 for the variance."""

    def __init__(self, rule: Any, features: int = 1):
        self.mean, self.var = torch.zeros(features), torch.ones(features)
        self.rule = rule

    def see(self, mean: Tensor | float, var: float = 1.0) -> None:
        means = torch.as_tensor(mean).expand_as(self.mean)
        self.rule(self.mean, self.var, means, torch.full_like(means, var), 1)


def rule_of(confidence: str, features: int = 1, process_noise: float | None = None) -> Any:
    return make_rule(
        (features,),
        "confidence",
        momentum=0.1,
        smoothing=0.8,
        effective_n=1.0,
        confidence=confidence,
        process_noise=process_noise,
    )


# By hand: R = var = 1 and n = 1 everywhere, the moving mean starts at 0.


def test_corrected_by_hand() -> None:
    seen = Statistics(rule_of("corrected"))
    seen.see(4.0)  # G = 0.2 * 16 = 3.2, P = 2.2
    assert seen.rule.gain_mean.item() == pytest.approx(2.2 / 3.2)
    assert seen.rule.prior_mean.item() == pytest.approx(3.2)  # G, and not P
    moved = 4 * 2.2 / 3.2
    assert seen.mean.item() == pytest.approx(moved)
    smoothed = 0.8 * 3.2 + 0.2 * (3 - moved) ** 2
    seen.see(3.0)
    gain = (smoothed - 1) / smoothed
    assert seen.mean.item() == pytest.approx(moved + gain * (3 - moved))


def test_corrected_does_not_move_where_noise_explains_the_deviation() -> None:
    seen = Statistics(rule_of("corrected"))
    seen.see(2.0)  # G = 0.8 < R
    assert seen.rule.gain_mean.item() == seen.mean.item() == 0
    assert seen.rule.prior_mean.item() == pytest.approx(0.8)


def test_the_first_batch_of_kalman_replaces() -> None:
    seen = Statistics(rule_of("kalman"))
    seen.see(0.5, var=3.0)
    assert (seen.mean.item(), seen.var.item()) == (0.5, 3.0)
    assert seen.rule.gain_mean.item() == seen.rule.gain_var.item() == 1
    # What is known after it is what the batch tells: R.
    assert seen.rule.posterior_mean.item() == 3.0
    assert seen.rule.posterior_var.item() == 2 * 9


def test_kalman_by_hand() -> None:
    seen = Statistics(rule_of("kalman"))
    seen.see(4.0)  # G = 3.2, P = 1
    seen.see(6.0)  # delta = 2, G = 0.8 * 3.2 + 0.2 * 4 = 3.36; Q = 3.36 - 1 - 1
    gain = 2.36 / 3.36
    assert seen.rule.gain_mean.item() == pytest.approx(gain)
    assert seen.mean.item() == pytest.approx(4 + 2 * gain)
    assert seen.rule.posterior_mean.item() == pytest.approx((1 - gain) * 2.36)


def test_kalman_without_noise_is_the_mean_of_all_batches() -> None:
    seen = Statistics(rule_of("kalman", process_noise=0.0))
    values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0]
    for k, value in enumerate(values, 1):
        seen.see(value)
        assert seen.rule.gain_mean.item() == pytest.approx(1 / k)
        assert seen.rule.gain_var.item() == pytest.approx(1 / k)
        assert seen.mean.item() == pytest.approx(sum(values[:k]) / k, abs=1e-6)


@pytest.mark.parametrize("noise", [0.01, 0.5, 2.0])
def test_the_gain_of_kalman_settles_where_its_noise_says(noise: float) -> None:
    seen = Statistics(rule_of("kalman", process_noise=noise))
    for _ in range(100):
        seen.see(1.0, var=7.0)
    for gain in (seen.rule.gain_mean.item(), seen.rule.gain_var.item()):
        assert gain**2 / (1 - gain) == pytest.approx(noise, rel=1e-4)


# Simulated: a random walk whose steps have ``drift`` standard deviations of a batch's mean.


def simulate(rule: Any, drift: float, features: int = 4000) -> tuple[float, float]:
    """Return the mean square error in R, and the mean gain, after the start."""
    generator = torch.Generator().manual_seed(3)
    seen, true = Statistics(rule, features), torch.zeros(features)
    errors, gains = [], []
    for step in range(160):
        true += drift * torch.randn(features, generator=generator)
        seen.see(true + torch.randn(features, generator=generator))
        if step >= 80:
            errors.append((seen.mean - true).square().mean().item())
            gains.append(rule.gain_mean.mean().item() if hasattr(rule, "gain_mean") else 0)
    return sum(errors) / len(errors), sum(gains) / len(gains)


@pytest.mark.parametrize(
    ("confidence", "drift", "error", "gain"),
    [
        # Nothing drifts: the published gain stays above a half.
        ("published", 0.0, 0.471, 0.557),
        ("corrected", 0.0, 0.255, 0.186),
        ("kalman", 0.0, 0.244, 0.236),
        # The optimal gain of a walk with steps of sqrt(R) is 0.618, its error 0.618 R.
        ("published", 1.0, 0.694, 0.698),
        ("corrected", 1.0, 0.697, 0.546),
        ("kalman", 1.0, 0.694, 0.555),
        ("published", 3.0, 0.923, 0.900),
        ("corrected", 3.0, 0.927, 0.886),
        ("kalman", 3.0, 0.926, 0.886),
    ],
)
def test_gain_and_error_under_drift(
    confidence: str, drift: float, error: float, gain: float
) -> None:
    found = simulate(rule_of(confidence, 4000), drift)
    assert found == pytest.approx((error, gain), abs=0.015)


@pytest.mark.parametrize(("drift", "error"), [(0.0, 0.053), (1.0, 4.31)])
def test_a_moving_average_under_drift(drift: float, error: float) -> None:
    """``(1 - m)^2 D / (m (2 - m)) + m R / (2 - m)`` with steps of variance D."""
    assert simulate(ExponentialUpdate(0.1), drift)[0] == pytest.approx(error, rel=0.05)


def test_kalman_with_the_walks_own_noise_is_the_best() -> None:
    golden = (5**0.5 - 1) / 2
    error, gain = simulate(rule_of("kalman", 4000, process_noise=1.0), 1.0)
    assert gain == pytest.approx(golden, abs=1e-4)
    assert error == pytest.approx(golden, abs=0.015)


# In a layer.


def layer_of(features: int = 3, **changes: Any) -> Any:
    return make_norm({"name": "carebn", **changes}, features)


def random_input(seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * (torch.randn(5, 16, 3, generator=generator) + 1)


@every_variant
def test_the_gains_do_not_depend_on_the_scale_of_the_currents(variant: dict[str, Any]) -> None:
    small, large = layer_of(**variant), layer_of(**variant)
    small.moving_var.zero_(), large.moving_var.zero_()
    for seed in range(5):
        small(random_input(seed)), large(random_input(seed, scale=8.0))
        for name, gain in small.gains().items():
            torch.testing.assert_close(large.gains()[name], gain, rtol=1e-4, atol=1e-6)


@every_variant
@pytest.mark.parametrize("effective_n", [None, "auto"])
def test_a_feature_that_is_silent_at_first(variant: dict[str, Any], effective_n: Any) -> None:
    layer = layer_of(effective_n=effective_n, **variant)
    x = random_input()
    x[..., 0] = 0
    for _ in range(3):
        layer(x)
    assert all(buffer.isfinite().all() for buffer in layer.buffers())
    if variant["confidence"] != "kalman":
        return
    assert (layer.moving_mean[0], layer.moving_var[0]) == (0, 0)
    for seed in range(12):
        layer(random_input(seed))
    assert layer.moving_mean[0] == pytest.approx(1.0, abs=0.4)


def test_a_given_noise_of_0_never_moves_what_was_certain() -> None:
    layer = layer_of(confidence="kalman", process_noise=0.0)
    layer(torch.zeros(5, 16, 3))
    layer(random_input())
    assert torch.equal(layer.moving_mean, torch.zeros(3))


@every_variant
@pytest.mark.parametrize("effective_n", [None, 4.0, "auto"])
def test_a_saved_layer_continues_bit_for_bit(variant: dict[str, Any], effective_n: Any) -> None:
    settings = dict(variant, effective_n=effective_n)
    layer, other = layer_of(**settings), layer_of(**settings)
    addresses = {name: buffer.data_ptr() for name, buffer in layer.named_buffers()}
    for seed in range(3):
        layer(random_input(seed))
    other.load_state_dict(copy.deepcopy(layer.state_dict()))
    for seed in range(3, 6):
        layer(random_input(seed)), other(random_input(seed))
    for name, buffer in layer.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name)), name
        assert buffer.data_ptr() == addresses[name], name
        assert buffer.isfinite().all(), name


def test_the_state_of_the_published_rule_is_that_of_agents_saved_before() -> None:
    names = {"prior_mean", "prior_var", "gain_mean", "gain_var"}
    kept = {name for name, _ in layer_of().update.named_buffers()}
    assert kept == names == {name for name, _ in rule_of("corrected").named_buffers()}
    more = {name for name, _ in rule_of("kalman").named_buffers()} - names
    assert more == {"posterior_mean", "posterior_var", "started"}


@every_variant
def test_targets_follow_the_statistics_alone(variant: dict[str, Any]) -> None:
    online, target = layer_of(**variant), layer_of(**variant)
    online(random_input())
    before = {name: buffer.clone() for name, buffer in target.update.named_buffers()}
    follow(online, target, 1.0)
    assert torch.equal(target.moving_mean, online.moving_mean)
    for name, buffer in target.update.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_the_variants_by_name() -> None:
    kinds = {
        "published": ConfidenceUpdate,
        "corrected": CorrectedConfidenceUpdate,
        "kalman": KalmanUpdate,
    }
    assert {name: type(layer_of(confidence=name).update) for name in kinds} == kinds
    assert type(layer_of().update) is ConfidenceUpdate
    shown = str(layer_of(confidence="kalman", process_noise=0.5, effective_n="auto"))
    assert "KalmanUpdate(smoothing=0.8, effective_n=auto, process_noise=0.5)" in shown
    assert "process_noise=adaptive" in str(layer_of(confidence="kalman"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"confidence": "kalmn"},
            r"^bn.confidence=kalmn: expected one of .*; did you mean 'kalman'",
        ),
        ({"process_noise": 0.1}, r"^bn.process_noise=0.1: has no effect with bn.confidence=publ"),
        (
            {"confidence": "corrected", "process_noise": 0},
            r"^bn.process_noise=0: .* expected null, or bn.confidence=kalman",
        ),
        ({"confidence": "kalman", "process_noise": -1}, r"^bn.process_noise=-1: expected at least"),
        (
            {"name": "vanilla", "confidence": "kalman"},
            r"^bn.confidence=kalman: has no effect with bn=vanilla, whose rule is ema",
        ),
        ({"name": "none", "confidence": "kalman"}, r"^bn parameter=confidence: expected one of"),
    ],
)
def test_what_has_no_effect_or_no_meaning(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        layer_of(**changes)


# Every kernel.


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("effective_n", [None, "auto"])
@every_variant
def test_fused_operators_move_the_statistics_as_naive_does(
    variant: dict[str, Any], effective_n: Any
) -> None:
    bn = {"name": "carebn", "effective_n": effective_n, **variant}
    for make, inputs in ((tiny, observations), (tiny_conv, images)):
        assert_same_statistics(make(bn), make(bn, kernel="native"), inputs)


@pytest.mark.slow
def test_compiled_code_moves_the_statistics_as_naive_does() -> None:
    bn = {"name": "carebn", "effective_n": "auto", "confidence": "kalman"}
    assert_same_statistics(tiny(bn), tiny(bn, kernel="compile"), observations)


def assert_same_statistics(naive: Any, other: Any, inputs: Any) -> None:
    for seed in range(3):
        for network in (naive, other):
            network(inputs(seed)).sum().backward()
    for name, buffer in naive.named_buffers():
        torch.testing.assert_close(other.get_buffer(name), buffer, rtol=1e-3, atol=2e-5, msg=name)


@every_variant
def test_a_whole_rollout_is_one_update(variant: dict[str, Any]) -> None:
    """With PPO, whose statistics move by their rule from chunks of a rollout."""
    settings = dict(variant, effective_n="auto")
    layer, other = layer_of(**settings), layer_of(**settings)
    chunks = [random_input(seed)[:, :size] * scale for seed, size, scale in ((0, 9, 1), (1, 16, 3))]
    for each in (layer, other):
        each(random_input(7))
    with recalibrating(layer, by_rule=True):
        for chunk in chunks:
            layer(chunk)
    other(torch.cat(chunks, dim=1))
    for name, buffer in other.named_buffers():
        torch.testing.assert_close(layer.get_buffer(name), buffer, msg=name)


def test_no_pass_that_does_not_learn_moves_anything() -> None:
    network = tiny({"name": "carebn", "confidence": "kalman", "effective_n": "auto"}).eval()
    network(observations())
    assert not any(layer.update.started for layer in norm_layers(network))
