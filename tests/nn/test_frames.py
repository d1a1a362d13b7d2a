"""Networks whose inputs have a time axis."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.encoders import encoders_of_images, shape_of_step, takes_time
from snnrl.nn.encoders.frames import FramesEncoder
from snnrl.nn.registry import names
from tests.nn.networks import CONV, tiny, tiny_conv

T = 4


def frames(batch: int = 16, seed: int = 0) -> torch.Tensor:
    """``[batch, T, 2, 6, 7]``, another image in each step."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, T, 2, 6, 7, generator=generator) * 2 + 1


def network(conv: bool, **changes: Any) -> Any:
    arguments = dict(encoder="frames", inputs=(T, 2, 6, 7), bn="bntt", **changes)
    return tiny_conv(**arguments) if conv else tiny(**arguments)


def shown(conv: bool) -> torch.Tensor:
    return frames() if conv else frames().flatten(1)


def test_frame_t_is_the_current_of_step_t() -> None:
    encoder = FramesEncoder(84, T)
    images, x = frames(), frames().flatten(1)
    for t in range(T):
        assert torch.equal(encoder(images)[t], images[:, t])
        assert torch.equal(encoder(x)[t], images[:, t].flatten(1))
    assert encoder.features == 84


@pytest.mark.parametrize("conv", [True, False])
def test_a_network_by_its_layers(conv: bool) -> None:
    ours = network(conv)
    steps = [frames()[:, t] if conv else frames()[:, t].flatten(1) for t in range(T)]
    spikes = ours.layers(ours.conv(torch.stack(steps)))
    torch.testing.assert_close(ours(shown(conv)), ours.decoder(spikes))
    # The same frames in another order are another input.
    turned = frames().flip(1) if conv else frames().flip(1).flatten(1)
    assert not torch.equal(ours(shown(conv)), ours(turned))


@pytest.mark.parametrize("conv", [True, False])
def test_one_frame_for_all_steps_is_direct_coding(conv: bool) -> None:
    image = frames()[:, :1]
    repeated = image.expand(-1, T, -1, -1, -1)
    if conv:
        direct = tiny_conv(bn="bntt")
        expected = direct(image[:, 0])
    else:
        direct = tiny(encoder="direct", inputs=84, bn="bntt")
        expected = direct(image[:, 0].flatten(1))
    ours = network(conv)
    assert expected.std(0).max() > 0
    torch.testing.assert_close(ours(repeated if conv else repeated.flatten(1)), expected)


@pytest.mark.parametrize(
    ("kernel", "training", "conv"),
    [
        *(("native", training, conv) for training in (True, False) for conv in (True, False)),
        pytest.param("compile", True, True, marks=pytest.mark.slow),
    ],
)
def test_kernels(kernel: str, training: bool, conv: bool) -> None:
    naive, other = (network(conv, kernel=k).train(training) for k in ("naive", kernel))
    values = naive(shown(conv)), other(shown(conv))
    torch.testing.assert_close(*values, rtol=1e-3, atol=2e-5)
    for value in values:
        value.square().sum().backward()
    for a, b in zip(naive.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4)
    if not training:
        with torch.no_grad():
            torch.testing.assert_close(other(shown(conv)), naive(shown(conv)), rtol=1e-3, atol=2e-5)


def test_print() -> None:
    assert "FramesEncoder(84, time_steps=4)" in str(network(conv=True))


@pytest.mark.parametrize("encoder", names("encoder"))
@pytest.mark.parametrize("shape", [(3,), (2, 6, 7), (T, 2, 6, 7), (5, 2, 6, 7), (4, 3)])
def test_every_encoder_says_whether_it_takes_time(encoder: str, shape: tuple[int, ...]) -> None:
    if takes_time(encoder) and shape == (T, 2, 6, 7):
        assert shape_of_step(encoder, shape, T) == (2, 6, 7)
    elif takes_time(encoder) or len(shape) == 4:
        with pytest.raises(UserError, match=r"^(encoder|time_steps)=\w+: .*; expected ") as refused:
            shape_of_step(encoder, shape, T)
        assert "\n" not in str(refused.value)
    else:
        assert shape_of_step(encoder, shape, T) == shape


def test_a_class_and_a_mapping_say_it_too() -> None:
    class Own(FramesEncoder):
        pass

    assert takes_time(Own) and takes_time({"name": "frames"})
    assert not takes_time({"name": "population", "population": 3})
    assert "frames" not in encoders_of_images()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(inputs=3), r"^encoder=frames: takes frames .*of shape \(3,\); expected encoder=dir"),
        (
            dict(inputs=(2, 6, 7), conv=CONV),
            r"^encoder=frames: .*\(2, 6, 7\); expected encoder=dir",
        ),
        (dict(inputs=(5, 2, 6, 7)), r"^time_steps=4: .*an input has 5; expected 5$"),
        (
            dict(inputs=(4, 2, 6, 7), encoder="direct", conv=CONV),
            r"^encoder=direct: takes inputs without a time axis, .*; expected encoder=frames$",
        ),
    ],
)
def test_another_input_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        tiny(**{"encoder": "frames", **changes})
