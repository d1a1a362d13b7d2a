"""PPO with a spiking actor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel, BasePolicy
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import kl_divergence

from snnrl.agents.base import SpikingAgent, evaluation_mode
from snnrl.agents.policies.on_policy import AnnPolicy, SpikingPolicy
from snnrl.agents.policies.part import SpikingPart
from snnrl.errors import NonFiniteError
from snnrl.nn.norm import norm_layers, recalibrating

CHUNK = 512
"""Observations in one pass of a refresh."""

LOSSES = ("train/loss", "train/policy_gradient_loss", "train/value_loss", "train/entropy_loss")


class PPO(SpikingAgent, stable_baselines3.PPO):
    """Proximal policy optimisation (Schulman et al. 2017); arguments as in Stable-Baselines3.

    ``PPO("SpikingPolicy", env, policy_kwargs=dict(neuron="lif", bn="carebn"))``.

    Normalisation uses the moving statistics in rollouts and in updates, so that the importance
    ratio is 1 before the first update. They are refreshed once an iteration, after the update, from
    the observations of the whole rollout: a strategy that re-calibrates (``carebn``, ``re_only``)
    replaces them, the others (``vanilla``, ``ca_only``) move them once by their rule, as if the
    rollout were one batch. So ``bn.recalibrate_every`` says only whether they are replaced, and
    ``re_only`` and ``carebn`` do the same: the rule by which they differ is never asked.

    :raises UserError: a policy keyword that does not exist, a value that does not fit, or
        ``VecNormalize(norm_obs=True)`` around bytes
    :raises NonFiniteError: from ``learn``, where a loss or a parameter is NaN or infinite
    """

    experience: ClassVar[str] = "rollout"
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **stable_baselines3.PPO.policy_aliases,
        "SpikingPolicy": SpikingPolicy,
        "AnnPolicy": AnnPolicy,
    }
    policy: ActorCriticPolicy

    def _setup_model(self) -> None:
        self._refuse_normalised_bytes()
        super()._setup_model()
        self._prepare()
        self.last_rollout: np.ndarray | None = None

    def parts(self) -> dict[str, SpikingPart]:
        modules = {"actor": self.policy.action_net, "critic": self.policy.value_net}
        return {name: part for name, part in modules.items() if isinstance(part, SpikingPart)}

    def part_inputs(self, name: str, observations: Tensor) -> tuple[Tensor, ...]:
        policy = self.policy
        extractors = {"actor": policy.pi_features_extractor, "critic": policy.vf_features_extractor}
        with torch.no_grad(), evaluation_mode(policy):
            # Not ActorCriticPolicy's, which extracts for both where they share nothing.
            return (BaseModel.extract_features(policy, observations, extractors[name]),)

    def sample_inputs(
        self, name: str, n: int, generator: np.random.Generator
    ) -> tuple[Tensor, ...] | None:
        if self.last_rollout is None:
            return None
        rows = generator.integers(len(self.last_rollout), size=n)
        return self.part_inputs(name, self._to_tensor(self.last_rollout[rows]))

    def train(self) -> None:
        """SB3's update from the rollout, then refresh the statistics from it."""
        with self._recording() as metrics:
            try:
                super().train()
            except ValueError as error:
                # SB3's distributions refuse NaN without saying where it came from.
                self._check_parameters(error)
                raise
        self._keep(metrics)
        self._check_parameters()
        parts = self.parts()
        if parts:
            # A reference: the buffer starts the next rollout, and its evaluation, with a new array.
            self.last_rollout = self.rollout_buffer.observations
        with self._measuring_refresh():
            for name in parts:
                self._refresh(name)
        self.latest_losses.settle()

    def recalibrate(self) -> None:
        """Replace the statistics by those of the last rollout, where the strategy re-calibrates.

        Training does so itself, once an iteration. Without a rollout nothing changes.
        """
        for name, part in self.parts().items():
            if part.norm.recalibrate_every is not None:
                self._refresh(name)

    def _refresh(self, name: str) -> None:
        part = self.parts()[name]
        if self.last_rollout is None or not norm_layers(part):
            return
        self.keep_statistics(name)
        chunks = math.ceil(len(self.last_rollout) / CHUNK)
        with recalibrating(part, by_rule=part.norm.recalibrate_every is None):
            # Each chunk spans the whole rollout, as a layer's inputs depend on what the layers
            # before it accumulated so far, and successive observations are alike.
            for first in range(chunks):
                observations = self._to_tensor(self.last_rollout[first::chunks])
                part(*self.part_inputs(name, observations))

    def dump_logs(self, iteration: int = 0) -> None:
        """Write what was logged, losses included: means since the last call."""
        self._record_updates()
        super().dump_logs(iteration)

    @contextmanager
    def _measuring_refresh(self) -> Iterator[None]:
        """Log how far the policy moves inside: ``train/refresh_kl``, the mean over observations of
        the last rollout of the divergence of its actions before from those after.

        PPO's own ``train/approx_kl`` is of the update alone, whose steps it clips.
        """
        actor = self.parts().get("actor")
        if actor is None or self.last_rollout is None or not norm_layers(actor):
            yield
            return
        stride = math.ceil(len(self.last_rollout) / CHUNK)
        observations = self._to_tensor(self.last_rollout[::stride])
        before = self._actions(observations)
        yield
        divergence = kl_divergence(before, self._actions(observations))
        per_observation = divergence.flatten(1).sum(1) if divergence.dim() > 1 else divergence
        self._keep_loss("train/refresh_kl", per_observation.mean())

    @torch.no_grad()
    def _actions(self, observations: Tensor) -> TorchDistribution:
        with evaluation_mode(self.policy):
            distribution = self.policy.get_distribution(observations).distribution
        assert isinstance(distribution, TorchDistribution)
        return distribution

    @contextmanager
    def _recording(self) -> Iterator[dict[str, Any]]:
        """Inside, SB3 logs into the mapping: its logger would not outlive a checkpoint."""
        # Asked for as a property, it takes in what waits for it: SB3 would ask the other one.
        logger = self.logger
        self._logger = Logger(folder=None, output_formats=[])
        try:
            yield self._logger.name_to_value
        finally:
            self._logger = logger

    def _keep(self, metrics: dict[str, Any]) -> None:
        for name, value in metrics.items():
            if math.isfinite(value):
                self._keep_loss(name, torch.tensor(float(value), dtype=torch.float64))
            elif name in LOSSES:
                raise NonFiniteError(name, self.num_timesteps)

    def _check_parameters(self, cause: Exception | None = None) -> None:
        for name, parameter in self.policy.named_parameters():
            if not parameter.isfinite().all():
                raise NonFiniteError(name, self.num_timesteps) from cause

    def _to_tensor(self, observations: np.ndarray) -> Tensor:
        return torch.as_tensor(observations, device=self.device)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "last_rollout"]
