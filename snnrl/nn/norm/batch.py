"""Batch normalisation: pooling of statistics, their updates and the affine map."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.norm.accumulation import Accumulation
from snnrl.nn.norm.base import Affine, Constant, Norm
from snnrl.nn.norm.confidence import ConfidenceUpdate
from snnrl.nn.norm.effective_n import bounded, var_of_means
from snnrl.nn.norm.rules import Rule, Variant, make_rule
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.ops.confidence import ConfidenceRule, MovedLayer
from snnrl.parameters import Above, AtLeast, Between


class BatchNorm(Norm):
    """Normalisation by the mean and variance of each feature.

    Which statistics a pass uses:

    - one that learns (training mode, with gradients, not frozen): those of the batch, through
      which gradients flow, and the update rule moves ``moving_mean`` and ``moving_var``;
    - inside :func:`snnrl.nn.norm.recalibrating`: those accumulated so far;
    - any other: the moving ones, which do not change.

    With ``renormalises``, a pass with gradients that does not learn takes the value of the moving
    statistics and the gradient of the batch's, ``(x - mean) / sd r + d`` with the constants
    ``r = sd / moving sd`` and ``d = (mean - moving mean) / moving sd``. That gradient has no part
    along a shift or a scaling of x, which later statistics would take away again.

    A derived class says over what statistics are pooled (:meth:`statistics`, and their shape,
    ``statistics_shape``) and what follows (:meth:`scale_and_shift`). It may replace how a pass that
    learns normalises (:meth:`normalise_by_batch`).

    Source: CaRe-BN (arXiv 2509.23791). ``renormalises``: batch renormalisation (Ioffe 2017, arXiv
    1702.03275) without bounds on r and d.

    :param shape: of the layer
    :param threshold: firing threshold of the neurons behind it
    :param rule: rule that moves the statistics in training
    :param momentum: gain of the ema rule
    :param smoothing: how slowly the confidence rule's prior variance follows
    :param effective_n: effective sample size of a batch for the confidence rule (null: batch size
        - 1; auto: from the autocorrelation over time steps)
    :param eps: added to the variance
    :param confidence: variant of the confidence rule
    :param process_noise: drift a batch of the kalman variant, in observation variances (null: as
        measured)
    :raises UserError: ``effective_n="auto"`` where an input has one step, or with statistics of
        single steps; a variant or process noise where it has no effect
    """

    moving_mean: Tensor
    moving_var: Tensor

    waiting: list[tuple[ConfidenceRule, MovedLayer]] | None = None
    """Moves of the pass that wait for its end; ``None``: none waits. See
    :func:`snnrl.nn.norm.together.moved_together`."""

    made_of = ("statistics", "normalise_by_batch", "scale_and_shift", "affine")

    def __init__(
        self,
        shape: LayerShape,
        threshold: float,
        rule: Rule = "ema",
        momentum: Annotated[float, Above(0, 1)] = 0.1,
        smoothing: Annotated[float, Between(0, 1)] = 0.8,
        effective_n: Annotated[float, Above(0)] | Literal["auto"] | None = None,
        eps: Annotated[float, Above(0)] = 1e-5,
        confidence: Variant = "published",
        process_noise: Annotated[float, AtLeast(0)] | None = None,
    ):
        super().__init__(shape, threshold)
        self.eps = eps
        size = self.statistics_shape()
        if effective_n == "auto":
            self._check_steps(len(size))
        self.update = make_rule(
            size,
            rule,
            momentum=momentum,
            smoothing=smoothing,
            effective_n=effective_n,
            confidence=confidence,
            process_noise=process_noise,
        )
        self.register_buffer("moving_mean", torch.zeros(size))
        self.register_buffer("moving_var", torch.ones(size))
        self.accumulation: Accumulation | None = None
        self.renormalises = False

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{self.shape.features}, eps={self.eps:g}"

    def statistics_shape(self) -> tuple[int, ...]:
        """Return the shape of the statistics: ``[N]``, or ``[T, N]`` for those of each step."""
        raise NotImplementedError

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance of ``x[T, B, N, ...]``."""
        raise NotImplementedError

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return gamma and beta, both ``[N]``, or ``[T, N]`` if they differ between steps."""
        raise NotImplementedError

    def affine(self, normalised: Tensor) -> Tensor:
        """Return what follows the normalisation, ``[T, B, N, ...]``."""
        gamma, beta = self.scale_and_shift()
        return normalised * beside(gamma, normalised) + beside(beta, normalised)

    def normalise_by_batch(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return ``x[T, B, N, ...]`` normalised in a pass that learns.

        :param mean, var: of this batch; the moving ones are still those of before the pass
        """
        return self.normalised(x, mean, var)

    def normalised(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return ``(x - mean) / sqrt(var + eps)``."""
        return (x - beside(mean, x)) / torch.sqrt(beside(var, x) + self.eps)

    def forward(self, x: Tensor) -> Tensor:
        if self.accumulation is not None:
            return self.affine(self.normalised(x, *self.accumulation.add(x)))
        if self.learns():
            mean, var = self.statistics(x)
            normalised = self.normalise_by_batch(x, mean, var)
            self.saw(mean, var, x)
            return self.affine(normalised)
        normalised = self.normalised(x, self.moving_mean, self.moving_var)
        if self._renormalises():
            mean, var = self.statistics(x)
            r = torch.sqrt((var + self.eps) / (self.moving_var + self.eps)).detach()
            learns = self.normalised(x, mean, var) * beside(r, x)
            normalised = normalised.detach() + (learns - learns.detach())
        return self.affine(normalised)

    def uses_moving(self) -> bool:
        """Return whether a pass now uses the moving statistics, with their own gradient."""
        return not self.learns() and self.accumulation is None and not self._renormalises()

    @torch.no_grad()
    def saw(self, mean: Tensor, var: Tensor, x: Tensor) -> None:
        """Let the update rule move the moving statistics towards those of a batch."""
        of_means = bounded(var_of_means(x), var, x) if self.measures_n() else None
        self.move(mean, var, x.shape[1], of_means)

    def move(
        self, mean: Tensor, var: Tensor, batch_size: int, var_of_means: Tensor | None = None
    ) -> None:
        """Let the update rule move the moving statistics towards those of ``batch_size`` inputs.

        :param var_of_means: of these inputs, where :meth:`measures_n`
        """
        moving = (self.moving_mean, self.moving_var)
        if self.waiting is not None and isinstance(self.update, ConfidenceUpdate):
            fused = self.update.known_fused(moving, (mean, var), batch_size)
            if fused is not None:
                self.waiting.append(fused)
                return
        self.update(*moving, mean, var, batch_size, var_of_means)

    def measures_n(self) -> bool:
        """Return whether the update rule needs the variance of the inputs' means."""
        return getattr(self.update, "effective_n", None) == "auto"

    def followed(self) -> list[Tensor]:
        return [self.moving_mean, self.moving_var]

    def gains(self) -> dict[str, Tensor]:
        """Return the gains of the last update by name, of a rule that adapts them."""
        rule = self.update
        return rule.gains() if isinstance(rule, ConfidenceUpdate) else {}

    def as_constant(self) -> Constant | None:
        """Return :meth:`constant` of a derived class that replaces only the parts above."""
        if not self.uses_moving():
            return None
        return Constant((self.moving_mean, self.moving_var, *self.scale_and_shift()), self.eps)

    def as_fused(self, x: Tensor) -> Affine | None:
        """Return :meth:`fused` of a derived class that replaces only the parts above, with
        statistics pooled over time or of each step."""
        if x.dim() != 3 or self.accumulation is not None:
            return None
        given = None if self.learns() else (self.moving_mean, self.moving_var)
        per_step = len(self.statistics_shape()) == 2
        return Affine(given, *self.scale_and_shift(), self.eps, per_step, self._renormalises())

    def _check_steps(self, dimensions: int) -> None:
        if self.shape.time_steps < 2 or dimensions > 1:
            why = (
                "one time step has no autocorrelation over steps"
                if self.shape.time_steps < 2
                else "the statistics are of single steps"
            )
            raise UserError(f"bn.effective_n=auto: {why}; expected a number, or null")

    def _renormalises(self) -> bool:
        return self.renormalises and not self.learns() and torch.is_grad_enabled()


@register("norm", "vanilla", rule="ema")
@register("norm", "ca_only", rule="confidence")
@register("norm", "re_only", rule="ema", recalibrate_every=5_000)
@register("norm", "carebn", rule="confidence", recalibrate_every=5_000)
class PooledBatchNorm(BatchNorm):
    """``y = gamma (x - mean) / sqrt(var + eps) + beta``, one mean and variance per feature.

    Statistics are pooled over time and batch, and for images over space (one per channel); the
    variance is the biased one.

    Source: CaRe-BN (arXiv 2509.23791); gamma and beta start at half the firing threshold.
    """

    def __init__(self, shape: LayerShape, threshold: float, **shared: Any):
        super().__init__(shape, threshold, **shared)
        gamma, beta = self.affine_start(threshold)
        self.gamma = nn.Parameter(torch.full((shape.features,), gamma))
        self.beta = nn.Parameter(torch.full((shape.features,), beta))

    def affine_start(self, threshold: float) -> tuple[float, float]:
        """Return the first value of gamma and of beta."""
        return threshold / 2, threshold / 2

    def statistics_shape(self) -> tuple[int, ...]:
        return (self.shape.features,)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = torch.var_mean(x, dim=(0, 1, *range(3, x.dim())), correction=0)
        return mean, var

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        return self.gamma, self.beta

    constant, fused = BatchNorm.as_constant, BatchNorm.as_fused


def beside(values: Tensor, x: Tensor) -> Tensor:
    """Return ``[N]`` or ``[T, N]`` in a shape that broadcasts with ``x[T, B, N, ...]``."""
    if values.dim() == 2:
        values = values.unsqueeze(1)
    return values.view(*values.shape, *[1] * (x.dim() - 3))


def norm_layers(network: nn.Module) -> list[BatchNorm]:
    """Return the layers of ``network`` that keep moving statistics, in the order of their
    definition."""
    return [module for module in network.modules() if isinstance(module, BatchNorm)]
