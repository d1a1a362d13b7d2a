"""Components of one's own that do not do what their kind does: refused when they are made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnrl.agents import TD3
from snnrl.errors import UserError
from snnrl.nn.encoders import Encoder
from snnrl.nn.losses import LossTerm
from snnrl.nn.neurons import Neuron
from snnrl.nn.neurons.lif import LIF
from snnrl.nn.norm import Norm
from snnrl.nn.regulations import Regulation
from snnrl.nn.surrogates import Surrogate


class Unwritten(Neuron):
    pass


class NoPair(Neuron):
    def forward(self, x: Tensor, state: Any = None) -> Any:
        return x


class OfOneStep(Neuron):
    def forward(self, x: Tensor, state: Any = None) -> Any:
        return x[0], state


class Raising(Neuron):
    def forward(self, x: Tensor, state: Any = None) -> Any:
        return x / {}["tau"], state


class WrongWord(Neuron):
    def foward(self, x: Tensor, state: Any = None) -> Any:
        return x, state


class Misshapen(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


class UnwrittenNorm(Norm):
    pass


class NoTensor(Norm):
    def forward(self, x: Tensor) -> Any:
        return None


class Transposed(Surrogate):
    def forward(self, membrane: Tensor, threshold: Any, step: int) -> Tensor:
        return membrane.T


class NoStep(Surrogate):
    def forward(self, membrane: Tensor, threshold: Any) -> Tensor:  # type: ignore[override]
        return membrane


class Stepless(Encoder):
    def forward(self, observation: Tensor) -> Tensor:
        return observation


class OneGain(Regulation):
    def forward(self, rates: Tensor) -> Tensor:
        return rates.mean()


class NotSummed(LossTerm):
    def forward(self, seen: Any) -> Tensor:
        return torch.cat([rates.flatten() for rates in seen.rates.values()])


class UnwrittenLoss(LossTerm):
    pass


REFUSED: list[tuple[dict[str, Any], str]] = [
    (dict(neuron=Unwritten), r"^neuron=Unwritten: has no forward; expected forward\(x"),
    (dict(neuron=WrongWord), r"^neuron=WrongWord: has no forward; expected forward\(x"),
    (
        dict(neuron=NoPair),
        r"^neuron=NoPair: forward returned a Tensor in a trial; expected \(s",
    ),
    (dict(neuron=OfOneStep), r"^neuron=OfOneStep: forward returned spikes \[.*expected \[T, B, N"),
    (
        dict(neuron=Raising),
        r"^neuron=Raising: forward fails \(KeyError: 'tau', test_trial.py:\d+\)",
    ),
    (dict(bn=Misshapen), r"^bn=Misshapen: forward returned \[.*expected \[T, B, N"),
    (dict(bn=UnwrittenNorm), r"^bn=UnwrittenNorm: has no forward; expected forward\(x\[T, B, N"),
    (dict(bn=NoTensor), r"^bn=NoTensor: forward returned a NoneType in a trial; expected"),
    (dict(surrogate=Transposed), r"^surrogate=Transposed: forward returned \[.*expected \[B, N"),
    (dict(surrogate=NoStep), r"^surrogate=NoStep: forward fails \(TypeError: .*takes 3"),
    (dict(encoder=Stepless), r"^encoder=Stepless: forward returned \[.*expected \[T, B, features"),
    (dict(regulation=OneGain), r"^regulation=OneGain: forward returned \[\].*expected \[L\]"),
    (dict(losses=[NotSummed]), r"^loss=NotSummed: forward returned \[.*expected \[\]"),
    (dict(losses=[UnwrittenLoss]), r"^loss=UnwrittenLoss: has no forward; expected forward\(seen"),
    (
        dict(critic=dict(name="spiking", bn=Misshapen)),
        r"^bn=Misshapen: forward returned \[.*expected \[T, B, N",
    ),
]


REFUSED += [
    (dict(neuron=dict), r"^neuron=dict: is no Neuron; expected a class derived from snnrl.nn.neur"),
    (dict(neuron=Misshapen), r"^neuron=Misshapen: is no Neuron; expected a class derived from"),
    (dict(bn=NoPair), r"^bn=NoPair: is no Norm; expected a class derived from snnrl.nn.norm.Norm$"),
    (dict(neuron=dict(name=Misshapen)), r"^neuron=Misshapen: is no Neuron"),
]


@pytest.mark.parametrize(
    ("given", "refused"),
    REFUSED,
    ids=[refused.split(":")[0][1:] for _, refused in REFUSED],
)
def test_from_python(given: dict[str, Any], refused: str) -> None:
    with pytest.raises(UserError, match=refused) as found:
        TD3("SpikingPolicy", "Pendulum-v1", policy_kwargs=dict(kernel="naive", **given))
    assert "\n" not in str(found.value)


class Counting(Norm):
    """Draws and keeps something in each pass."""

    def __init__(self, shape: Any, threshold: float):
        super().__init__(shape, threshold)
        self.scale = nn.Parameter(torch.rand(shape.features))
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x * self.scale + 0 * torch.rand(())


def test_a_trial_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def agent() -> TD3:
        kwargs = dict(kernel="naive", bn=Counting, neuron="lif")
        return TD3("SpikingPolicy", "Pendulum-v1", policy_kwargs=kwargs, seed=3)

    tried = agent()
    drawn = torch.rand(3)
    monkeypatch.setattr("snnrl.nn.registry.try_component", lambda *_, **__: None)
    monkeypatch.setattr("snnrl.nn.norm.strategy.try_component", lambda *_, **__: None)
    untried = agent()
    assert torch.equal(drawn, torch.rand(3))
    ours, theirs = tried.policy.state_dict(), untried.policy.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(name.endswith("passes") and value == 0 for name, value in ours.items())


def test_the_package_s_own_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    class Derived(LIF):
        """Overrides nothing that a pass calls."""

    tried: list[str] = []
    monkeypatch.setattr(
        LIF, "forward", lambda self, x, state=None: tried.append(type(self).__name__) or (x, None)
    )
    kwargs: dict[str, Any] = dict(kernel="naive", bn="none")
    TD3("SpikingPolicy", "Pendulum-v1", policy_kwargs=dict(neuron="lif", **kwargs))
    assert tried == []
    TD3("SpikingPolicy", "Pendulum-v1", policy_kwargs=dict(neuron=Derived, **kwargs))
    assert set(tried) == {"Derived"}
