"""Networks of an agent that spike: where they may train, and how they are saved by themselves."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from stable_baselines3.common.policies import BaseModel
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import NormStrategy


class SpikingPart(nn.Module):
    """A network of an agent that spikes, with the strategy of its normalisation.

    Its statistics move, are re-calibrated and reach target networks by the hands of a
    :class:`snnrl.agents.base.SpikingAgent`. An algorithm that does not know them, such as
    Stable-Baselines3's own, would train on wrong ones, so in training mode a part passes nothing on
    until it belongs to an agent.
    """

    norm: NormStrategy

    trains_in: ClassVar[str]
    """The agents that it can belong to."""

    has_agent: bool = False

    def _spiking_pass(self, network: SpikingNetwork, x: Tensor) -> Tensor:
        """``network(x)``, where it may be.

        :raises UserError: in training mode, without an agent
        """
        if self.training and not self.has_agent:
            raise UserError(
                f"{type(self).__name__}: trains in snnrl.agents.{self.trains_in} only, which keeps "
                "its statistics right; to act without an agent, call set_training_mode(False)"
            )
        values: Tensor = network(x)
        return values


class SpikingModel(SpikingPart, BaseModel):
    """A spiking part with ``save`` and ``load`` of its own, as Stable-Baselines3's networks have.

    Its constructor takes what ``_get_constructor_parameters`` returns.
    """

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

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Self:
        """As Stable-Baselines3's, in evaluation mode: it belongs to no agent."""
        model = super().load(*args, **kwargs)
        model.set_training_mode(False)
        return model
