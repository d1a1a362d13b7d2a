"""The ONNX graph computes what the policy computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snnrl.deploy.folding import fold
from snnrl.deploy.quantising import quantise
from snnrl.deploy.to_onnx import to_onnx
from snnrl.errors import UserError

from .policies import agent_of, observations, policy_of

onnx = pytest.importorskip("onnx")


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("td3", dict(neuron="clif")),
        ("td3", dict(bn="bntt", neuron="dn")),
        ("ddpg", dict(bn="mpbn", encoder="population_current")),
        ("sac", dict(readout=dict(name="membrane", value="last", decay=0.8))),
        ("sac", dict(readout=dict(name="membrane", value="max"))),
        ("td3", dict(readout=dict(name="membrane", value="mean"))),
        ("dqn", dict(encoder="direct")),
        ("ppo", dict(readout="linear")),
    ],
    ids=str,
)
def test_the_same_actions(variant: str, changes: dict[str, Any]) -> None:
    from onnx.reference import ReferenceEvaluator

    agent = agent_of(variant, **changes)
    policy, shown = fold(agent), observations(agent, 150)
    model = onnx.load_from_string(to_onnx(policy))
    (actions,) = ReferenceEvaluator(model).run(None, {"observation": shown})
    expected = policy.act(shown)
    assert actions.shape == expected.shape and actions.dtype == expected.dtype
    assert len(np.unique(expected.round(4))) > 1
    # Rounding differs: a potential at the threshold may spike in one of them.
    differs = np.abs(actions - expected).reshape(150, -1).max(1) > 1e-5
    assert differs.sum() <= 2


def test_a_normaliser() -> None:
    from onnx.reference import ReferenceEvaluator

    from snnrl.deploy.runtime import Normaliser

    policy, shown = policy_of(), observations(agent_of(), 50)
    mean = np.linspace(-1, 1, shown.shape[1]).astype(np.float32)
    policy = policy._replace(normaliser=Normaliser(mean, mean * 0 + 2, 0.7))
    model = onnx.load_from_string(to_onnx(policy))
    (actions,) = ReferenceEvaluator(model).run(None, {"observation": shown})
    assert (np.abs(actions - policy.act(shown)).max(1) > 1e-5).sum() <= 1


def test_integers_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"^--format onnx: expected --format numpy or c with --bits"
    ):
        to_onnx(quantise(policy_of()))
