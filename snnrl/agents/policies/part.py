"""Base classes of an agent's spiking networks, and of its ordinary ones with normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self, cast

from stable_baselines3.common.policies import BaseModel
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.adaptive import Adaptive
from snnrl.nn.losses import LossTerm, watched
from snnrl.nn.norm import NormStrategy


class AgentPart(Adaptive):
    """A network of an agent, with the strategy of its normalisation.

    A :class:`snnrl.agents.base.SpikingAgent` re-calibrates its statistics and copies them to the
    target networks. Other algorithms, such as Stable-Baselines3's own, do not, and would train with
    wrong statistics. So in training mode a part raises an error until it belongs to an agent.
    """

    norm: NormStrategy

    losses: nn.ModuleList
    """Terms that are added to the loss of the part."""

    trains_in: ClassVar[str]
    """Agents that the part can belong to, for the error."""

    has_agent: bool = False

    _terms: Sequence[Tensor] = ()

    def _spiking_pass(self, network: nn.Module, x: Tensor) -> Tensor:
        """Return ``network(x)``.

        :raises UserError: in training mode, without an agent
        """
        self._check_agent()
        if not self.losses or not self.learns():
            values: Tensor = network(x)
            return values
        with watched(network, cast(Sequence[LossTerm], self.losses)) as total:
            values = network(x)
            term = total()
        assert term is not None
        self._terms = [*self._terms, term]
        return values

    def _check_agent(self) -> None:
        """Refuse a pass in training mode without an agent.

        :raises UserError: naming the part
        """
        if self.training and not self.has_agent:
            raise UserError(
                f"{type(self).__name__}: trains in snnrl.agents.{self.trains_in} only, which keeps "
                "its statistics right; to act without an agent, call set_training_mode(False)"
            )

    def take_terms(self) -> Tensor | None:
        """Return the sum of the loss terms of the passes since the last call, ``[]``.

        ``None`` if there are none. Each pass is counted once.
        """
        terms, self._terms = self._terms, []
        return sum(terms[1:], terms[0]) if terms else None


class AgentModel(AgentPart, BaseModel):
    """A part with ``save`` and ``load`` of its own, as Stable-Baselines3's networks have.

    Its constructor takes what ``_get_constructor_parameters`` returns.
    """

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Self:
        """Load as Stable-Baselines3 does, in evaluation mode: the part belongs to no agent."""
        model = super().load(*args, **kwargs)
        model.set_training_mode(False)
        return model


class SpikingModel(AgentModel):
    """A spiking part with ``save`` and ``load`` of its own."""

    net_arch: list[int]
    options: Any

    def _get_constructor_parameters(self) -> dict[str, Any]:
        extractor = self.features_extractor
        assert extractor is not None
        return {
            **super()._get_constructor_parameters(),
            "net_arch": self.net_arch,
            "features_extractor": extractor,
            "features_dim": extractor.features_dim,
            "options": self.options,
        }
