import numpy as np
import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.encoders.latency import LatencyEncoder

# Steps of drives 0, 0.1, ..., 1, from floor((1 - d) (T - 1) + 1/2).
STEPS = {
    2: [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
    3: [2, 2, 2, 1, 1, 1, 1, 1, 0, 0, 0],
    4: [3, 3, 2, 2, 2, 2, 1, 1, 1, 0, 0],
    5: [4, 4, 3, 3, 2, 2, 2, 1, 1, 0, 0],
}


@pytest.mark.parametrize("steps", STEPS)
def test_by_hand(steps):
    drives = torch.arange(11.0) / 10
    encoder = LatencyEncoder(1, steps, input_range=(0.0, 1.0))
    spikes = encoder(drives[:, None])[..., 0]
    assert spikes.sum(0).tolist() == [1.0] * 11
    assert spikes.argmax(0).tolist() == STEPS[steps]


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 16])
def test_every_bright_pixel_spikes_at_the_step_of_the_formula(steps):
    levels = torch.arange(256.0)
    encoder = LatencyEncoder(1, steps, input_range=(0.0, 255.0))
    spikes = encoder(levels[:, None])[..., 0]
    drive = (levels / 255).numpy()
    expected = np.floor((1 - drive) * (steps - 1) + np.float32(0.5))
    assert spikes.argmax(0).tolist() == expected.tolist()
    assert spikes.sum(0).tolist() == [1.0] * 256


def test_a_signed_number_drives_two_inputs():
    spikes = LatencyEncoder(2, 3)(torch.tensor([[20.0, -0.6]]))  # tanh: 1, -0.54
    assert spikes[:, 0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]]


def test_the_gradient_is_that_of_the_interpolation_between_two_steps():
    encoder = LatencyEncoder(1, 5, input_range=(0.0, 1.0))
    upstream = torch.tensor([3.0, -1.0, 4.0, 0.5, 2.0])
    # Latencies 3.2, 2.8, 0.4; and at the ends 0 and 4, where the step inside counts.
    drives = torch.tensor([[0.2], [0.3], [0.9], [1.0], [0.0]], requires_grad=True)
    (encoder(drives) * upstream[:, None, None]).sum().backward()
    slopes = [2.0 - 0.5, 0.5 - 4.0, -1.0 - 3.0, -1.0 - 3.0, 2.0 - 0.5]
    assert drives.grad.flatten().tolist() == [pytest.approx(-4 * slope) for slope in slopes]


def test_one_time_step_is_refused():
    with pytest.raises(UserError, match=r"^encoder=latency: .* time_steps=1; expected at least 2$"):
        LatencyEncoder(3, 1)
