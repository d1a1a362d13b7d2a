"""A sweep over two names of one function is refused, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from snnrl.errors import UserError
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.equal_functions import check_functions
from snnrl.ops.surrogate import DERIVATIVES
from snnrl.train import main
from tests.experiment.helpers import arguments
from tests.nn.parts import FUSED_SURROGATES, make_neuron

PPO = ["algo=ppo", "env=pendulum"]
AUTO = "bn.recalibrate_every=auto"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (["surrogate=sigmoid"], ["surrogate=tanh"], "surrogate=sigmoid and surrogate=tanh: "),
        (["surrogate=tanh", "seed=3"], ["surrogate=sigmoid"], "surrogate=tanh and "),
        ([*PPO, "bn=carebn"], [*PPO, "bn=re_only"], "bn=carebn and bn=re_only: "),
        (
            [*PPO, "critic=spiking", "bn@critic.bn=re_only"],
            [*PPO, "critic=spiking", "bn@critic.bn=carebn"],
            "bn@critic.bn=re_only and bn@critic.bn=carebn: ",
        ),
        ([*PPO, "bn=re_only"], [*PPO, "bn=vanilla", AUTO], "bn=re_only and bn=vanilla: "),
        (
            [*PPO, "bn=bntt", AUTO],
            [*PPO, "bn=bntt", AUTO, "bn.rule=confidence"],
            "bn.rule=ema and bn.rule=confidence: ",
        ),
        (
            ["neuron=dn", "neuron.tu=-0.529"],
            ["neuron=dn_mdcsan"],
            "neuron=dn and neuron=dn_mdcsan: ",
        ),
        (["neuron=dn"], ["neuron=dn_mdcsan", "neuron.tu=0.529"], "neuron=dn and neuron=dn_mdcsan"),
        (
            ["neuron=ternary", "neuron.decay=0.5"],
            ["neuron=circulate_firing", "neuron.K=1", "neuron.decay=0.5"],
            "neuron=ternary and neuron=circulate_firing: ",
        ),
        (["neuron=lif"], ["neuron=alif", "neuron.beta=0"], "neuron=lif and neuron=alif: "),
        (["neuron=clif", "neuron.current_decay=0"], ["neuron=lif"], "neuron=clif and neuron=lif: "),
        (
            ["neuron=plif", "neuron.learning_rate=3e-4"],
            ["neuron=plif", "neuron.learning_rate=null"],
            "neuron.learning_rate=0.0003 and neuron.learning_rate=null: ",
        ),
        (
            ["neuron=plif", "neuron.learning_rate=3e-4", "critic=spiking"],
            ["neuron=plif", "neuron.learning_rate=null", "critic=spiking"],
            "neuron.learning_rate=0.0003 and neuron.learning_rate=null: ",
        ),
    ],
)
def test_one_function_is_refused(one: list[str], other: list[str], words: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_functions(map(compose_config, (one, other)))
    assert str(refusal.value).startswith(words)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["surrogate=sigmoid"], ["surrogate=tanh", "surrogate.scale=1"]),
        (["surrogate=sigmoid", "surrogate.scale=2"], ["surrogate=tanh", "surrogate.scale=1"]),
        (["surrogate=sigmoid"], ["surrogate=tanh", "neuron=clif"]),
        (["surrogate=rectangular"], ["surrogate=triangle"]),
        (["surrogate=tanh", "seed=0"], ["surrogate=tanh", "seed=1"]),
        (["bn=carebn"], ["bn=re_only"]),
        (["neuron=dn"], ["neuron=dn_mdcsan"]),
        (["neuron=ternary"], ["neuron=circulate_firing"]),
        (["neuron=ternary"], ["neuron=circulate_firing", "neuron.K=1", "neuron.signed=false"]),
        (["neuron=ternary"], ["neuron=circulate_firing", "neuron.K=1", "neuron.rho=0.5"]),
        (["neuron=lif"], ["neuron=alif"]),
        (["neuron=lif"], ["neuron=plif", "neuron.learning_rate=null"]),
        (["neuron=plif"], ["neuron=plif", "neuron.learning_rate=null"]),
        (["actor=ann", "bn=none", "neuron=dn"], ["actor=ann", "bn=none", "neuron=dn_mdcsan"]),
        ([*PPO, "bn=ca_only"], [*PPO, "bn=vanilla"]),
        ([*PPO, "bn=none"], [*PPO, "bn=re_only"]),
        ([*PPO, "bn=bntt", AUTO], [*PPO, "bn=re_only"]),
        ([*PPO, "bn=bntt", AUTO], [*PPO, "bn=bntt"]),
        (["actor=ann", "bn=none", "surrogate=tanh"], ["actor=ann", "bn=none", "surrogate=sigmoid"]),
    ],
)
def test_others_are_not(one: list[str], other: list[str]) -> None:
    check_functions(map(compose_config, (one, other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (dict(name="dn", tu=-0.529), "dn_mdcsan"),
        ("ternary", dict(name="circulate_firing", K=1)),
        ("lif", dict(name="alif", beta=0.0)),
        ("lif", dict(name="clif", current_decay=0.0)),
    ],
)
def test_which_neurons_are_one_function(one: Any, other: Any) -> None:
    x = torch.randn(7, 5, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make_neuron(one)(x)[0], make_neuron(other)(x)[0])


def test_which_surrogates_are_one_function() -> None:
    x = torch.linspace(-2, 2, 401, dtype=torch.float64)
    curves = {
        name: DERIVATIVES[name](x, make_neuron("lif", name).surrogate.operand(0.5).scale)
        for name in FUSED_SURROGATES
    }
    torch.testing.assert_close(curves["tanh"], curves["sigmoid"], rtol=1e-12, atol=1e-12)
    same = [
        {one, other}
        for one in curves
        for other in curves
        if one != other and torch.allclose(curves[one], curves[other])
    ]
    assert all(pair == {"tanh", "sigmoid"} for pair in same)
    for slope in (1.0, 2.0, 3.0):
        scaled = DERIVATIVES["sigmoid"](x, 2 * slope)
        assert torch.allclose(DERIVATIVES["tanh"](x, slope), scaled) == (slope == 2)


def test_the_command_refuses_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["-m", *arguments(tmp_path / "runs", "surrogate=sigmoid,tanh", "seed=range(2)")]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: surrogate=sigmoid and surrogate=tanh: compute the same function")
    assert not (tmp_path / "runs").exists()
