"""Statistics between earlier and present ones, and the search for a share."""

import pytest
import torch

from snnrl.nn.norm.interpolation import HALVINGS, Interpolation, largest_share

from .parts import make_norm


@pytest.mark.parametrize("bn", ["vanilla", "bntt"])
def test_a_share_is_linear_and_the_ends_are_exact(bn):
    layer = make_norm(bn, 3)
    start = [(torch.rand_like(layer.moving_mean), torch.rand_like(layer.moving_var))]
    layer.moving_mean.normal_()
    layer.moving_var.uniform_(2, 3)
    address = layer.moving_var.data_ptr()
    end = (layer.moving_mean.clone(), layer.moving_var.clone())
    way = Interpolation(layer, start)
    way.go(0.25)
    torch.testing.assert_close(layer.moving_mean, 0.75 * start[0][0] + 0.25 * end[0])
    torch.testing.assert_close(layer.moving_var, 0.75 * start[0][1] + 0.25 * end[1])
    for share, (mean, var) in ((0.0, start[0]), (1.0, end)):
        way.go(share)
        assert torch.equal(layer.moving_mean, mean)
        assert torch.equal(layer.moving_var, var)
    assert layer.moving_var.data_ptr() == address


@pytest.mark.parametrize("most", [1.0, 0.9, 0.3, 0.01, 1e-4, 0.0])
def test_the_largest_share_is_found_in_a_few_steps(most):
    tried = []

    def fits(share: float) -> bool:
        tried.append(share)
        return share <= most

    found = largest_share(fits)
    assert tried[0] == 1
    assert len(tried) == (1 if most == 1 else 1 + HALVINGS)
    assert found <= most < (found**0.5 + 2**-HALVINGS) ** 2 or found == most == 1
