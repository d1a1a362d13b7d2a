"""The update rule of ordinary batch normalisation."""

from __future__ import annotations

from torch import Tensor, nn


class ExponentialUpdate(nn.Module):
    """``moving <- moving + momentum (batch - moving)``: a fixed gain.

    Source: Ioffe & Szegedy (2015); momentum 0.1 is torch's default.

    :param momentum: the gain, in (0, 1]
    """

    def __init__(self, momentum: float = 0.1):
        super().__init__()
        self.momentum = momentum

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"momentum={self.momentum:g}"

    def forward(
        self,
        moving_mean: Tensor,
        moving_var: Tensor,
        mean: Tensor,
        var: Tensor,
        batch_size: int,
        var_of_means: Tensor | None = None,
    ) -> None:
        """Move ``moving_mean`` and ``moving_var`` in place; all tensors of one shape."""
        moving_mean.lerp_(mean, self.momentum)
        moving_var.lerp_(var, self.momentum)
