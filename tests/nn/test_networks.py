import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn import networks
from snnrl.nn.eager import eager

from .networks import observations, tiny


@pytest.mark.quick_cases(28)
@pytest.mark.parametrize("neuron", ["lif", "clif", "dn"])
@pytest.mark.parametrize("encoder", ["population", "direct"])
@pytest.mark.parametrize("bn", ["none", "vanilla", "carebn"])
@pytest.mark.parametrize("readout", ["population", "linear"])
def test_every_parameter_gets_a_gradient(neuron, encoder, bn, readout):
    network = tiny(bn, neuron=neuron, encoder=encoder, readout=readout)
    values = network(observations())
    assert values.shape == (32, 2)
    values.square().sum().backward()
    for name, parameter in network.named_parameters():
        # A normalisation with batch statistics takes away the bias in front of it.
        if bn == "none" or not name.endswith("linear.bias") or name.startswith("decoder"):
            assert parameter.grad.abs().sum() > 0, name


def test_the_layers_have_the_sizes_asked_for():
    network = tiny(hidden=[7, 5], population=4, encoder=dict(name="population", population=6))
    shapes = [tuple(layer.linear.weight.shape) for layer in network.layers]
    assert shapes == [(7, 18), (5, 7), (8, 5)]


def test_the_linear_readout_counts_the_spikes_of_the_last_hidden_layer():
    network = tiny(hidden=[7, 5], readout="linear").eval()
    shapes = [tuple(layer.linear.weight.shape) for layer in network.layers]
    assert shapes == [(7, 30), (5, 7)]
    counts = network.layers(network.encoder(observations())).sum(0)
    assert counts.shape == (32, 5)
    assert counts.max() > 1
    linear = network.decoder.linear
    expected = counts @ linear.weight.T + linear.bias
    torch.testing.assert_close(network(observations()), expected)


@pytest.mark.parametrize("readout", ["population", "linear"])
def test_a_readout_without_hidden_layers(readout):
    network = tiny(hidden=[], readout=readout)
    assert len(network.layers) == (1 if readout == "population" else 0)
    assert network(observations()).shape == (32, 2)


@pytest.mark.parametrize("readout", ["population", "linear"])
@pytest.mark.parametrize("neuron", ["lif", "clif", "dn"])
@pytest.mark.parametrize("training", [True, False])
def test_a_single_time_step(neuron, readout, training):
    network = tiny(time_steps=1, neuron=neuron, readout=readout).train(training)
    assert network.encoder(observations()).shape[0] == 1
    values = network(observations())
    assert values.shape == (32, 2)
    assert torch.isfinite(values).all()
    values.square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_input_range_scales_what_population_coding_sees():
    as_is, scaled = tiny(), tiny(input_range=(-10.0, 30.0))
    x = observations()
    torch.testing.assert_close(scaled.eval()(x * 20 + 10), as_is.eval()(x), rtol=1e-4, atol=1e-4)


def test_input_range_leaves_direct_coding_alone():
    x = observations()
    values = [tiny(encoder="direct", input_range=r)(x) for r in (None, (-10.0, 30.0))]
    assert torch.equal(*values)


def test_gamma_and_beta_start_at_half_the_threshold():
    network = tiny(neuron=dict(name="lif", threshold=0.8))
    for layer in network.layers:
        assert torch.equal(layer.norm.gamma, torch.full_like(layer.norm.gamma, 0.4))
        assert torch.equal(layer.norm.beta, torch.full_like(layer.norm.beta, 0.4))


def test_rows_do_not_depend_on_each_other_in_evaluation():
    network = tiny().eval()
    together = network(observations())
    for row in range(3):
        torch.testing.assert_close(network(observations()[row : row + 1])[0], together[row])


def test_strategies_start_from_the_same_weights():
    states = [dict(tiny(bn).named_parameters()) for bn in ("none", "vanilla", "carebn")]
    for name, weight in states[0].items():
        assert all(torch.equal(weight, state[name]) for state in states), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(encoder="populaton"), r"^encoder=populaton: .*'population'\?$"),
        (dict(encoder=dict(name="population", populaton=3)), r"^encoder parameter=populaton: "),
        (dict(encoder=dict(name="population", time_steps=3)), r"^encoder parameter=time_steps: "),
        (
            dict(encoder=dict(name="direct", population=3)),
            r"^encoder parameter=population: .*takes no parameters$",
        ),
        (dict(kernel="naiv"), r"^kernel=naiv: .*'naive'\?$"),
        (
            dict(readout="lineal"),
            r"^readout=lineal: expected one of population, linear, membrane; did .*'linear'\?$",
        ),
    ],
)
def test_an_unknown_choice_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        tiny(**changes)


# Against the recordings a compiled network is tested in every run, in tests/golden.
@pytest.mark.slow
def test_compiled_equals_naive():
    naive, compiled = (
        tiny(hidden=[8], time_steps=2),
        tiny(hidden=[8], time_steps=2, kernel="compile"),
    )
    x = observations()
    for network in (naive, compiled):
        network(x).square().sum().backward()
    assert naive.kernel == "naive"
    assert compiled.kernel == "compile"
    parameters = dict(compiled.named_parameters())
    for name, parameter in naive.named_parameters():
        torch.testing.assert_close(
            parameters[name].grad, parameter.grad, rtol=1e-4, atol=1e-5, msg=name
        )
    for name, buffer in naive.named_buffers():
        torch.testing.assert_close(compiled.get_buffer(name), buffer, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(compiled.eval()(x), naive.eval()(x))


@pytest.fixture
def compiled_passes(monkeypatch):
    """Counts compiled forward passes, without compiling."""
    passes = []

    def compiled(network_pass):
        def counted(network, x):
            passes.append(network)
            return network_pass(network, x)

        return counted

    monkeypatch.setattr(networks, "_compiled", compiled)
    return passes


def test_eager_runs_the_naive_form_and_puts_the_kernel_back(compiled_passes):
    network = tiny(kernel="compile")
    outer = torch.nn.Sequential(network, tiny(kernel="naive"))
    network(observations())
    assert len(compiled_passes) == 1
    with eager(outer):
        network(observations())
    assert len(compiled_passes) == 1
    assert [part.kernel for part in outer] == ["compile", "naive"]

    with pytest.raises(KeyboardInterrupt), eager(outer):
        raise KeyboardInterrupt
    assert [part.kernel for part in outer] == ["compile", "naive"]
