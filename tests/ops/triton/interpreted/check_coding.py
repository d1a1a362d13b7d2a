"""The encoder's kernels in Triton's interpreter, against autograd of the loop."""

import pytest
import torch

from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.ops.triton.coding import encode_backward, encode_forward

from ..helpers import gradients, naive_encode, normal

THRESHOLD = PopulationEncoder.THRESHOLD


def check_encode(drive, g, **tolerance):
    leaf = drive.detach().clone().float().requires_grad_()
    spikes = naive_encode(leaf, len(g), THRESHOLD)
    (expected,) = gradients(spikes, g.float(), leaf)
    fired, ddrive = encode_forward(drive, len(g), THRESHOLD), encode_backward(g, THRESHOLD)
    assert fired.dtype == drive.dtype and ddrive.dtype == g.dtype
    assert torch.equal(fired.float(), spikes) and spikes.mean() > 0
    torch.testing.assert_close(ddrive.float(), expected, **tolerance)


@pytest.mark.parametrize("shape", [(1, 2, 19), (5, 2, 19), (40, 3, 7), (5, 3, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_encode(shape, dtype):
    tolerance = dict(rtol=1e-5, atol=1e-5) if dtype == torch.float32 else dict(rtol=8e-3, atol=0.1)
    drive = normal(*shape[1:]).abs()
    check_encode(drive.to(dtype), normal(*shape, seed=1).to(dtype), **tolerance)


def test_encode_at_the_threshold():
    drive = torch.tensor([[0.0, THRESHOLD, THRESHOLD / 2, 1.0, 2.5]])
    spikes = encode_forward(drive, 3, THRESHOLD)
    assert spikes[:, 0].T.tolist() == [[0, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 1], [1, 1, 1]]
    check_encode(drive, normal(3, 1, 5), rtol=1e-5, atol=1e-5)


def test_encode_takes_any_layout():
    drive = normal(6, 4).abs().T
    check_encode(drive, normal(6, 4, 5).transpose(0, 2), rtol=1e-5, atol=1e-5)
    check_encode(drive, normal(4, 6).expand(5, 4, 6), rtol=1e-5, atol=1e-5)
