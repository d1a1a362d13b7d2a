"""What constructors say of their parameters."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

import pytest
import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.losses import LossTerm, Pass
from snnrl.nn.registry import GROUPS, build, component, names, register
from snnrl.parameters import Above, AtLeast, Between, Bounds, parameters_of


class Base:
    """A base.

    :param shape: of the layer
    :param kept: whether it is
        kept, on two lines
    """

    def __init__(self, shape: tuple[int, ...], kept: bool = False):
        pass


class Derived(Base):
    """A class.

    :param share: of one
    :param rule: which one
    :param n: how many (null: all)
    """

    def __init__(
        self,
        *,
        share: Annotated[float, Between(0, 1)] = 0.5,
        rule: Literal["ema", "other"] = "ema",
        n: Annotated[int, AtLeast(1)] | None = None,
        sizes: list[int] | None = None,
        **shared: Any,
    ):
        super().__init__(**shared)


def test_parameters_of_a_class_and_its_base() -> None:
    found = parameters_of(Derived)
    assert list(found) == ["share", "rule", "n", "sizes", "shape", "kept"]
    assert found["share"].bounds == Bounds(minimum=0, maximum=1)
    assert found["share"].type is float and found["share"].default == 0.5
    assert found["n"].bounds == Bounds(minimum=1) and found["n"].default is None
    assert found["kept"].meaning == "whether it is kept, on two lines"
    assert found["n"].meaning == "how many (null: all)"
    assert found["sizes"].meaning == ""
    assert found["shape"].default is inspect.Parameter.empty


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("share", 0.0, None),
        ("share", 1, None),
        ("share", 1.01, "expected at most 1"),
        ("share", -0.1, "expected at least 0"),
        ("share", float("nan"), "expected a finite number"),
        ("share", float("inf"), "expected a finite number"),
        ("share", True, "expected a number"),
        ("share", "0.5", "expected a number"),
        ("share", None, "expected a number"),
        ("rule", "ema", None),
        ("rule", "emma", r"expected one of ema, other; did you mean 'ema'\?"),
        ("rule", 3, "expected"),
        ("n", None, None),
        ("n", 2, None),
        ("n", 0, "expected at least 1"),
        ("n", 2.0, "expected an integer or null"),
        ("n", True, "expected an integer or null"),
        ("kept", True, None),
        ("kept", 1, "expected true or false"),
        ("sizes", [1], None),
        ("sizes", 1, "expected list"),
    ],
)
def test_checks(name: str, value: Any, problem: str | None) -> None:
    parameter = parameters_of(Derived)[name]
    if problem is None:
        parameter.check(f"a.{name}", value)
        return
    with pytest.raises(UserError, match=rf"^a\.{name}={value}: {problem}"):
        parameter.check(f"a.{name}", value)


@pytest.mark.parametrize(("bounds", "value"), [(Above(0), 0), (Above(0, 1), 1.5), (AtLeast(2), 1)])
def test_bounds(bounds: Bounds, value: float) -> None:
    with pytest.raises(UserError):
        bounds.check("key", value)


@pytest.mark.parametrize("kind", GROUPS)
def test_every_component_says_what_its_parameters_mean(kind: str) -> None:
    for name in names(kind):
        chosen = component(kind, name)
        found = parameters_of(chosen.maker)
        context = ("shape", "threshold", "surrogate", "inputs", "time_steps", "layers")
        for parameter in found.values():
            assert parameter.meaning, f"{kind}={name}: {parameter.name}"
            assert parameter.name in context or parameter.default is not inspect.Parameter.empty
        for key, value in chosen.presets.items():
            if key in found:
                found[key].check(key, value)


def test_a_class_is_the_choice_that_it_is_registered_as() -> None:
    assert component("norm", component("norm", "bntt").maker).presets == {"eps": 1e-4}
    with pytest.raises(
        UserError, match=r"is registered under several names; expected one of ca_only, carebn, "
    ):
        component("norm", component("norm", "carebn").maker)


def test_a_parameter_without_a_default_must_be_given() -> None:
    class Needy(LossTerm):
        """:param strength: of it"""

        def __init__(self, strength: float):
            super().__init__()
            self.strength = strength

        def forward(self, seen: Pass) -> Tensor:
            return torch.tensor(self.strength)

    with pytest.raises(UserError, match=r"^loss\.strength: has no value$"):
        build("loss", Needy)
    assert build("loss", dict(name=Needy, strength=2.0)).strength == 2.0


def test_a_name_belongs_to_one_class() -> None:
    with pytest.raises(UserError, match=r"^neuron=lif: is snnrl\.nn\.neurons\.lif\.LIF already"):
        register("neuron", "lif")(Derived)
    with pytest.raises(UserError, match=r"^register=neurn: .*'neuron'\?$"):
        register("neurn", "mine")


def test_a_parameter_without_a_type_is_told_one() -> None:
    class Untyped:
        def __init__(self, shape, size=1):  # type: ignore[no-untyped-def]
            """Has none."""

    with pytest.raises(TypeError, match=r"^Untyped: parameter shape has no type; .*: LayerShape"):
        parameters_of(Untyped)
