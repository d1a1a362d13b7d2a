import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.registry import names
from snnrl.ops.surrogate import Surrogate
from tests.nn.parts import make_neuron

NAMES = names("neuron")


def random_input(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2


def spikes_of(neuron, x):
    return neuron(x)[0]


# The first step of each, from rest, is v = x.
@pytest.mark.parametrize("name", NAMES)
def test_a_membrane_exactly_at_the_threshold_does_not_spike(name):
    threshold = torch.tensor(0.5)
    x = torch.stack([threshold, torch.nextafter(threshold, torch.tensor(1.0))]).reshape(1, 1, 2)
    spikes, state = make_neuron(name, "rectangular")(x)
    assert torch.equal(state.membrane, x[0])
    assert spikes.flatten().tolist() == [0.0, 1.0]


# That of circulate_firing may fire twice: tests/ops/test_circulate_firing.py.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "circulate_firing"])
def test_a_single_step(name):
    x = torch.tensor([[[0.2, 0.7, 1.5]]], requires_grad=True)
    spikes = spikes_of(make_neuron(name, "rectangular"), x)
    assert spikes.flatten().tolist() == [0.0, 1.0, 1.0]
    spikes.sum().backward()
    assert x.grad.flatten().tolist() == [1.0, 1.0, 0.0]


def test_lif_by_hand():
    x = torch.tensor([0.4, 0.3, 0.6, 0.1]).reshape(4, 1, 1)
    # v = 0.4; 0.75 * 0.4 + 0.3 = 0.6, spike; reset, 0.6, spike; reset, 0.1
    spikes, state = make_neuron("lif", "rectangular")(x)
    assert spikes.flatten().tolist() == [0.0, 1.0, 1.0, 0.0]
    assert state.membrane.item() == pytest.approx(0.1)


def test_parameters_reach_the_equations():
    x = torch.tensor([0.4, 0.3]).reshape(2, 1, 1)
    _, state = make_neuron(dict(name="lif", decay=0.5, threshold=0.3), "rectangular")(x)
    assert state.membrane.item() == pytest.approx(0.3)  # 0.4 > 0.3 spiked and was reset
    _, state = make_neuron(dict(name="clif", current_decay=0.25), "rectangular")(x)
    assert state.current.item() == pytest.approx(0.4)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_handed_over_equals_one_long_pass(name):
    x = random_input(6, 3, 8).requires_grad_()
    neuron = make_neuron(name, "rectangular")
    whole, last = neuron(x)
    gradient = torch.autograd.grad(whole.square().sum(), x)[0]

    first, state = neuron(x[:2])
    second, state = neuron(x[2:], state)
    joined = torch.cat([first, second])
    assert torch.equal(whole, joined)
    assert all(torch.equal(a, b) for a, b in zip(last, state, strict=True))
    # Close, not equal: the two graphs add the same terms in another order.
    torch.testing.assert_close(gradient, torch.autograd.grad(joined.square().sum(), x)[0])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_kept_between_passes(name):
    x = random_input(4, 2, 5)
    neuron = make_neuron(name, "rectangular")
    assert torch.equal(spikes_of(neuron, x), spikes_of(neuron, x))


@pytest.mark.parametrize("name", NAMES)
def test_non_contiguous_input(name):
    x = random_input(3, 8, 4).transpose(0, 2)
    assert not x.is_contiguous()
    neuron = make_neuron(name, "rectangular")
    assert torch.equal(spikes_of(neuron, x), spikes_of(neuron, x.contiguous()))


@pytest.mark.parametrize("name", NAMES)
def test_two_forward_passes_before_one_backward(name):
    neuron = make_neuron(name, "rectangular")
    one, other = random_input(4, 2, 5).requires_grad_(), random_input(4, 7, 5).requires_grad_()
    expected = [torch.autograd.grad(spikes_of(neuron, x).sum(), x)[0] for x in (one, other)]
    (spikes_of(neuron, one).sum() + spikes_of(neuron, other).sum()).backward()
    assert torch.equal(one.grad, expected[0])
    assert torch.equal(other.grad, expected[1])


def test_a_surrogate_has_its_published_scale_unless_given():
    assert make_neuron("lif", "sigmoid").surrogate.known(0.5) == Surrogate("sigmoid", 4.0)
    narrow = make_neuron("lif", dict(name="rectangular", scale=0.25))
    assert narrow.surrogate.known(0.5) == Surrogate("rectangular", 0.25)


def test_the_scale_reaches_the_gradient():
    x = torch.tensor([0.2, 0.4]).reshape(1, 1, 2).requires_grad_()
    spikes = spikes_of(make_neuron("lif", dict(name="rectangular", scale=0.25)), x)
    spikes.sum().backward()
    assert x.grad.flatten().tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("neuron", "surrogate", "message"),
    [
        ("lief", "rectangular", r"^neuron=lief: expected one of .*clif, dn, .*lif.*; .*'lif'\?$"),
        ("lif", "sigmod", r"^surrogate=sigmod: .*'sigmoid'\?$"),
        (dict(name="lif", decy=0.5), "rectangular", r"^neuron parameter=decy: .*'decay'\?$"),
        ("lif", dict(name="tanh", scal=1.0), r"^surrogate parameter=scal: .*'scale'\?$"),
        # Chosen elsewhere: the surrogate has a place of its own.
        (dict(name="lif", surrogate="tanh"), "rectangular", r"^neuron parameter=surrogate: "),
    ],
)
def test_an_unknown_name_or_parameter_is_refused(neuron, surrogate, message):
    with pytest.raises(UserError, match=message):
        make_neuron(neuron, surrogate)
