"""PPO with a spiking actor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import numpy as np
import stable_baselines3
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel, BasePolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples, Schedule
from stable_baselines3.common.utils import explained_variance
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import kl_divergence

from snnrl.agents.base import SpikingAgent
from snnrl.agents.policies.on_policy import AnnPolicy, SpikingPolicy
from snnrl.agents.policies.part import AgentPart
from snnrl.errors import NonFiniteError
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import norm_layers, recalibrating
from snnrl.nn.norm.interpolation import Interpolation, largest_share
from snnrl.nn.random_numbers import random_numbers
from snnrl.nn.traces import counted

CHUNK = 512
"""Observations in one pass of a refresh."""


class MinibatchLosses(NamedTuple):
    """Losses of a minibatch, and how far the policy has moved since the rollout; ``[]`` each.

    :param policy_gradient_loss: the clipped surrogate objective, negated
    :param value_loss: squared error of the values
    :param entropy_loss: the mean entropy, negated
    :param loss: the weighted sum of the three
    :param approx_kl: an estimate of the divergence from the policy of the rollout (Schulman 2020,
        http://joschu.net/blog/kl-approx.html)
    :param clip_fraction: share of the transitions whose importance ratio is beyond the clip range
    """

    policy_gradient_loss: Tensor
    value_loss: Tensor
    entropy_loss: Tensor
    loss: Tensor
    approx_kl: Tensor
    clip_fraction: Tensor


MUST_BE_FINITE = ("policy_gradient_loss", "value_loss", "entropy_loss", "loss")


class PPO(SpikingAgent, stable_baselines3.PPO):
    """Proximal policy optimisation (Schulman et al. 2017); arguments as in Stable-Baselines3.

    ``PPO("SpikingPolicy", env, policy_kwargs=dict(neuron="lif", bn="carebn"))``.

    Normalisation uses the moving statistics in rollouts and in updates, so that the importance
    ratio is 1 before the first update. They are refreshed once an iteration, after the update, from
    the observations of the whole rollout: a strategy that re-calibrates (``carebn``, ``re_only``,
    any with ``recalibrate_every="auto"``) replaces them, the others (``vanilla``, ``ca_only``) move
    them once by their rule, as if the rollout were one batch. So ``bn.recalibrate_every`` decides
    only whether they are replaced, and ``re_only`` and ``carebn`` are the same: their update rules,
    which differ, are never used.

    A refresh moves the policy, which the clipped objective does not see. ``bn.refresh_kl`` bounds
    how far, in mean Kullback-Leibler divergence: the actor's statistics, whichever way they were
    refreshed, move only the share of the way that keeps to it (:meth:`_refresh`). The critic's
    move all the way, as it chooses no actions. The bound is ours.

    :raises UserError: a policy keyword that does not exist, a value that does not fit, or
        ``VecNormalize(norm_obs=True)`` around bytes
    :raises NonFiniteError: from ``learn``, where a loss or a parameter is NaN or infinite
    """

    experience: ClassVar[str] = "rollout"
    action_spaces = (spaces.Box, spaces.Discrete)
    reads_images = True
    critics = ("ann", "spiking")
    critic_key = "vf"
    usual_adam: ClassVar[dict[str, Any]] = {"eps": 1e-5}
    # It has neither a replay buffer nor target networks, and no normalisation of it learns.
    without_effect = ("recalibrate_batches", "target_stats", "warmup")
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

    def parts(self) -> dict[str, AgentPart]:
        # A spiking network takes the place of the last layer, a normalised one that of the hidden
        # layers.
        policy = self.policy
        modules = {
            "actor": (policy.action_net, getattr(policy.mlp_extractor, "policy_net", None)),
            "critic": (policy.value_net, getattr(policy.mlp_extractor, "value_net", None)),
        }
        return {
            name: part
            for name, places in modules.items()
            for part in places
            if isinstance(part, AgentPart)
        }

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
        """Gradient steps on minibatches of the rollout, then a refresh of the statistics from it.

        ``n_epochs`` passes through the rollout, fewer where ``target_kl`` ends them.
        """
        self._begin_update()
        self._update_learning_rate(self.policy.optimizer)
        try:
            epochs = self._update_policy()
        except ValueError as error:
            # Torch's distributions refuse NaN without saying where it came from.
            self._check_parameters(error)
            raise
        self._log_update(epochs)
        self._check_parameters()
        parts = self.parts()
        if parts:
            # A reference: the buffer starts the next rollout, and its evaluation, with a new array.
            self.last_rollout = self.rollout_buffer.observations
        with self._measuring_refresh():
            for name in parts:
                if (share := self._refresh(name)) is not None:
                    self._keep_loss("train/refresh_share", torch.tensor(share))
                self._regulate(name)
        # Not before: the ratio compares probabilities under the same draws.
        for numbers in random_numbers(self.policy):
            numbers.go_on()
        self.latest_losses.settle()

    def _update_policy(self) -> list[list[MinibatchLosses]]:
        """Pass through the rollout; return the losses of each epoch's minibatches."""
        epochs = []
        for epoch in range(self.n_epochs):
            losses = self._epoch()
            epochs.append(losses)
            self._n_updates += 1
            if self._moved_too_far(losses[-1]):
                if self.verbose >= 1:
                    kl = losses[-1].approx_kl
                    print(f"Early stopping at step {epoch} due to reaching max kl: {kl:.2f}")
                break
        return epochs

    def _epoch(self) -> list[MinibatchLosses]:
        """Take a gradient step on each minibatch, up to one where the policy has moved too far."""
        kept = []
        for batch in self.rollout_buffer.get(self.batch_size):
            losses = self._losses(batch)
            kept.append(MinibatchLosses(*(value.detach() for value in losses)))
            if self._moved_too_far(losses):
                break
            self._step(self.policy.optimizer, losses.loss, self.max_grad_norm)
        return kept

    def _moved_too_far(self, losses: MinibatchLosses) -> bool:
        return self.target_kl is not None and bool(losses.approx_kl > 1.5 * self.target_kl)

    def _losses(self, batch: RolloutBufferSamples) -> MinibatchLosses:
        """Return the losses of a minibatch, with gradients."""
        actions = batch.actions
        if isinstance(self.action_space, spaces.Discrete):
            actions = actions.long().flatten()
        values, log_prob, entropy = self.policy.evaluate_actions(batch.observations, actions)
        clip_range = _now(self.clip_range, self._current_progress_remaining)
        advantages = self._advantages(batch)

        log_ratio = log_prob - batch.old_log_prob
        ratio = log_ratio.exp()
        clipped = advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
        policy_gradient_loss = -torch.min(advantages * ratio, clipped).mean()
        value_loss = F.mse_loss(batch.returns, self._clipped_values(batch, values.flatten()))
        # Without a formula for the entropy, the log-probability of the actions estimates it.
        entropy_loss = log_prob.mean() if entropy is None else -entropy.mean()
        loss = policy_gradient_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
        for name in self.parts():
            if (terms := self._take_terms(name)) is not None:
                loss = loss + terms

        with torch.no_grad():
            approx_kl = ((ratio - 1) - log_ratio).mean()
            clip_fraction = ((ratio - 1).abs() > clip_range).float().mean()
        return MinibatchLosses(
            policy_gradient_loss, value_loss, entropy_loss, loss, approx_kl, clip_fraction
        )

    def _advantages(self, batch: RolloutBufferSamples) -> Tensor:
        """Return the advantages ``[B]``, normalised if asked; a single one has no deviation."""
        advantages = batch.advantages
        if not self.normalize_advantage or len(advantages) == 1:
            return advantages
        return (advantages - advantages.mean()) / (advantages.std() + 1e-8)

    def _clipped_values(self, batch: RolloutBufferSamples, values: Tensor) -> Tensor:
        """Return the values ``[B]``, at most ``clip_range_vf`` from those of the rollout."""
        if self.clip_range_vf is None:
            return values
        limit = _now(self.clip_range_vf, self._current_progress_remaining)
        return batch.old_values + (values - batch.old_values).clamp(-limit, limit)

    def recalibrate(self) -> None:
        """Replace the statistics by those of the last rollout, where the strategy re-calibrates.

        Training does this once an iteration. ``bn.refresh_kl`` bounds each call. Without a rollout
        nothing changes.
        """
        for name, part in self.parts().items():
            if part.norm.recalibrate_every is not None:
                self._refresh(name)

    def _refresh(self, name: str) -> float | None:
        """Refresh the part's statistics from the last rollout.

        With a bound on the divergence they then go back, to the largest share of the way that keeps
        to it (see :class:`snnrl.nn.norm.interpolation.Interpolation`): at most ten passes over the
        observations that :meth:`_measuring_refresh` takes. The state of a rule, such as the
        confidence, stays as the whole way left it.

        :return: the share; ``None`` without a bound or without statistics
        """
        part = self.parts()[name]
        if self.last_rollout is None or not norm_layers(part):
            return None
        bound = part.norm.refresh_kl
        before = None if bound is None else self._actions()
        self.keep_statistics(name)
        with recalibrating(part, by_rule=part.norm.recalibrate_every is None):
            for inputs in self._chunks(name):
                part(*inputs)
        if bound is None or before is None:
            return None
        way = Interpolation(part, self.statistics_before[name])

        def keeps_to_bound(share: float) -> bool:
            way.go(share)
            return bool(mean_divergence(before, self._actions()) <= bound)

        share = largest_share(keeps_to_bound)
        way.go(share)
        return share

    def _chunks(self, name: str) -> Iterator[tuple[Tensor, ...]]:
        """Yield the part's inputs of the last rollout in chunks.

        Each spans the whole rollout, as a layer's inputs depend on what the layers before it
        accumulated so far, and successive observations are alike.
        """
        if self.last_rollout is None:
            return
        chunks = math.ceil(len(self.last_rollout) / CHUNK)
        for first in range(chunks):
            observations = self._to_tensor(self.last_rollout[first::chunks])
            yield self.part_inputs(name, observations)

    @torch.no_grad()
    def _regulate(self, name: str) -> None:
        """Let a regulation move the part's thresholds by the firing rates in the rollout."""
        part = self.parts()[name]
        for network in part.modules():
            if not isinstance(network, SpikingNetwork) or network.regulation is None:
                continue
            seen = []
            with evaluation_mode(part), counted(network) as rates:
                for inputs in self._chunks(name):
                    part(*inputs)
                    seen.append([rate.mean() for rate in rates().values()])
            network.regulate([torch.stack(layer).mean() for layer in zip(*seen, strict=True)])

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the log, losses included: means since the last call."""
        self._record_updates()
        self._record_activity()
        super().dump_logs(iteration)

    @contextmanager
    def _measuring_refresh(self) -> Iterator[None]:
        """Log how far the policy moves inside, as ``train/refresh_kl``.

        It is the Kullback-Leibler divergence between the actions before and after, averaged over
        observations of the last rollout. ``train/approx_kl`` covers the gradient steps alone. What
        a regulation moves is included.
        """
        actor = self.parts().get("actor")
        if actor is None or self.last_rollout is None or not norm_layers(actor):
            yield
            return
        before = self._actions()
        yield
        self._keep_loss("train/refresh_kl", mean_divergence(before, self._actions()))

    @torch.no_grad()
    def _actions(self) -> TorchDistribution:
        """Return the policy on at most ``CHUNK`` observations, evenly spaced in the last
        rollout."""
        assert self.last_rollout is not None
        stride = math.ceil(len(self.last_rollout) / CHUNK)
        observations = self._to_tensor(self.last_rollout[::stride])
        with evaluation_mode(self.policy):
            distribution = self.policy.get_distribution(observations).distribution
        assert isinstance(distribution, TorchDistribution)
        return distribution

    def _log_update(self, epochs: list[list[MinibatchLosses]]) -> None:
        """Log what Stable-Baselines3 logs of an update, rounded as there.

        :raises NonFiniteError: a loss is NaN or infinite
        """
        progress = self._current_progress_remaining
        last = _columns(epochs[-1])
        columns = _columns([losses for epoch in epochs for losses in epoch])
        buffer = self.rollout_buffer
        values = {
            **{name: np.mean(column.astype(np.float64)) for name, column in columns.items()},
            "loss": last["loss"][-1],
            "approx_kl": np.mean(last["approx_kl"]),
            "explained_variance": explained_variance(
                buffer.values.flatten(), buffer.returns.flatten()
            ),
            "clip_range": _now(self.clip_range, progress),
        }
        if hasattr(self.policy, "log_std"):
            values["std"] = self.policy.log_std.exp().mean().item()
        if self.clip_range_vf is not None:
            values["clip_range_vf"] = _now(self.clip_range_vf, progress)
        for name, value in values.items():
            if math.isfinite(value):
                self._keep_loss(f"train/{name}", torch.tensor(float(value), dtype=torch.float64))
            elif name in MUST_BE_FINITE:
                raise NonFiniteError(f"train/{name}", self.num_timesteps)

    def _check_parameters(self, cause: Exception | None = None) -> None:
        for name, parameter in self.policy.named_parameters():
            if not parameter.isfinite().all():
                raise NonFiniteError(name, self.num_timesteps) from cause

    def _to_tensor(self, observations: np.ndarray) -> Tensor:
        return torch.as_tensor(observations, device=self.device)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "last_rollout"]


def mean_divergence(before: TorchDistribution, after: TorchDistribution) -> Tensor:
    """Return the Kullback-Leibler divergence of actions, summed over their dimensions and averaged
    over observations, ``[]``."""
    divergence = kl_divergence(before, after)
    return (divergence.flatten(1).sum(1) if divergence.dim() > 1 else divergence).mean()


def _now(schedule: float | Schedule | None, progress_remaining: float) -> float:
    """Return the value of a schedule; Stable-Baselines3 has made one of every number."""
    assert callable(schedule)
    return schedule(progress_remaining)


def _columns(losses: list[MinibatchLosses]) -> dict[str, np.ndarray]:
    """Return each loss of the minibatches as an array, in one transfer from the device."""
    table = torch.stack([torch.stack(values) for values in losses])
    return dict(zip(MinibatchLosses._fields, table.T.cpu().numpy(), strict=True))
