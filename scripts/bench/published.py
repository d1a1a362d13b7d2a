"""The published loop over time steps, on tensors ``[B, N, T]``.

This is our own writing of the layout of CaRe-BN's public code (arXiv 2509.23791), as the slow end
of the comparison. Time is the last, strided dimension. The linear map, the normalisation and the
neuron each loop over the time steps and write into a tensor of zeros. Statistics are merged step by
step. Adam and the updates of the targets loop over the parameters. The weights are those of one of
our agents, so that the results can be compared.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor, nn

from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm.batch import PooledBatchNorm
from snnrl.nn.norm.confidence import ConfidenceUpdate
from snnrl.nn.readouts import PopulationDecoder

DECAY, THRESHOLD, WIDTH = 0.75, 0.5, 0.5
SMOOTHING = 0.8

PUBLISHED = "published loop"
"""Name in the tables."""


class _Rectangular(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volt: Tensor) -> Tensor:
        ctx.save_for_backward(volt)
        return volt.gt(THRESHOLD).float()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (volt,) = ctx.saved_tensors
        return upstream * (abs(volt - THRESHOLD) < WIDTH).float()


class _PassThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volt: Tensor) -> Tensor:
        return volt.gt(PopulationEncoder.THRESHOLD).float()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return upstream.clone()


class StepwiseNorm(nn.Module):
    """CaRe-BN of ``[B, N, T]``, one time step after another.

    :param norm: layer whose parameters and moving statistics are copied
    :param batch_size: size of the batches that update the statistics
    """

    def __init__(self, norm: PooledBatchNorm, batch_size: int):
        super().__init__()
        self.eps = norm.eps
        self.observations = batch_size - 1
        self.gamma = nn.Parameter(norm.gamma.detach().clone()[None])
        self.beta = nn.Parameter(norm.beta.detach().clone()[None])
        self.moving_mean = nn.Parameter(norm.moving_mean.clone()[None], requires_grad=False)
        self.moving_var = nn.Parameter(norm.moving_var.clone()[None], requires_grad=False)
        assert isinstance(norm.update, ConfidenceUpdate)
        self.p_mean = norm.update.prior_mean.clone()[None]
        self.p_var = norm.update.prior_var.clone()[None]

    def forward(self, x: Tensor, update: bool) -> Tensor:
        """Return ``[B, N, T]`` normalised by the batch's statistics (``update``) or moving ones."""
        mean, var = self.moving_mean, self.moving_var
        if update:
            mean, var = self._batch_statistics(x)
            self._move(mean, var)
        outputs = []
        for step in range(x.shape[2]):
            normalised = (x[:, :, step] - mean) / torch.sqrt(var + self.eps)
            outputs.append(self.gamma * normalised + self.beta)
        return torch.stack(outputs, dim=2)

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, var = torch.zeros_like(self.moving_mean), torch.zeros_like(self.moving_var)
        for step in range(x.shape[2]):
            now = x[:, :, step]
            mean_now = now.mean(dim=0)
            var_now = ((now - mean_now) ** 2).mean(dim=0)
            old, new = step / (step + 1), 1 / (step + 1)
            var = old * var + new * var_now + old * new * torch.square(mean - mean_now)
            mean = old * mean + new * mean_now
        return mean, var

    @torch.no_grad()
    def _move(self, mean: Tensor, var: Tensor) -> None:
        off_mean, off_var = mean - self.moving_mean, var - self.moving_var
        noise_mean = var / self.observations
        noise_var = 2 * torch.square(var) / self.observations
        self.p_mean = self.p_mean * SMOOTHING + (1 - SMOOTHING) * torch.square(off_mean)
        self.p_var = self.p_var * SMOOTHING + (1 - SMOOTHING) * torch.square(off_var)
        gain_mean = self.p_mean / (self.p_mean + noise_mean)
        gain_var = self.p_var / (self.p_var + noise_var)
        # For a feature that never varies the published formula gives NaN, ours a gain of 0.
        gain_mean, gain_var = torch.nan_to_num(gain_mean), torch.nan_to_num(gain_var)
        self.moving_mean.data = self.moving_mean + gain_mean * off_mean
        self.moving_var.data = self.moving_var + gain_var * off_var


class StepwiseActor(nn.Module):
    """The actor, ``[B, D] -> [B, A]`` in [-1, 1].

    :param network: network whose weights are copied: population coding, LIF, CaRe-BN
    :param batch_size: size of the batches that update the statistics
    """

    def __init__(self, network: SpikingNetwork, batch_size: int):
        super().__init__()
        encoder, decoder = network.encoder, network.decoder
        assert isinstance(encoder, PopulationEncoder) and isinstance(decoder, PopulationDecoder)
        self.time_steps = encoder.time_steps
        self.mean = nn.Parameter(encoder.mean.detach().clone()[None])
        self.std = nn.Parameter(encoder.std.detach().clone()[None])
        layers: list[SpikingLayer] = list(network.layers)  # type: ignore[arg-type]
        self.linears = nn.ModuleList(deepcopy(layer.linear) for layer in layers)
        self.norms = nn.ModuleList(StepwiseNorm(layer.norm, batch_size) for layer in layers)
        outputs, population = decoder.weight.shape
        device = decoder.weight.device
        self.decoder = nn.Conv1d(outputs, outputs, population, groups=outputs, device=device)
        self.decoder.weight.data.copy_(decoder.weight.detach()[:, None])
        self.decoder.bias.data.copy_(decoder.bias.detach())  # type: ignore[union-attr]

    def forward(self, observation: Tensor, update: bool = False) -> Tensor:
        """Return actions; ``update`` uses the batch's statistics and updates the moving ones."""
        spikes = self._encode(torch.tanh(observation))
        for linear, norm in zip(self.linears, self.norms, strict=True):
            currents = spikes.new_zeros(len(observation), linear.out_features, self.time_steps)
            for step in range(self.time_steps):
                currents[:, :, step] = linear(spikes[:, :, step])
            spikes = self._fire(norm(currents, update))
        rates = torch.zeros_like(spikes[:, :, 0])
        for step in range(self.time_steps):
            rates = rates + spikes[:, :, step]
        rates = rates / self.time_steps
        outputs, population = self.decoder.in_channels, self.decoder.kernel_size[0]
        return torch.tanh(self.decoder(rates.view(-1, outputs, population)).view(-1, outputs))

    def _encode(self, observation: Tensor) -> Tensor:
        distance = observation.unsqueeze(-1) - self.mean
        drive = torch.exp(-(1.0 / 2.0) * distance.pow(2) / self.std.pow(2)).flatten(1)
        volt = torch.zeros_like(drive)
        spikes = drive.new_zeros(*drive.shape, self.time_steps)
        for step in range(self.time_steps):
            volt = volt + drive
            spikes[:, :, step] = _PassThrough.apply(volt)
            volt = volt - spikes[:, :, step] * PopulationEncoder.THRESHOLD
        return spikes

    def _fire(self, currents: Tensor) -> Tensor:
        spikes = torch.zeros_like(currents)
        volt = spike = currents.new_zeros(currents.shape[:2])
        for step in range(self.time_steps):
            volt = volt * DECAY * (1.0 - spike) + currents[:, :, step]
            spike = _Rectangular.apply(volt)
            spikes[:, :, step] = spike
        return spikes


class StepwiseTD3:
    """TD3's gradient step with such an actor, as published: one parameter after another.

    :param agent: our TD3 with ordinary critics; its networks are copied, its settings and buffer
        are used
    """

    def __init__(self, agent: Any):
        self.actor = StepwiseActor(agent.actor.network, agent.batch_size).to(agent.device)
        self.actor_target = deepcopy(self.actor)
        self.critic, self.critic_target = deepcopy(agent.critic), deepcopy(agent.critic_target)
        group = agent.actor.optimizer.param_groups[0]
        settings = dict(lr=group["lr"], eps=group["eps"])
        self.actor_optimizer = torch.optim.Adam(self._weights(self.actor), **settings)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), **settings)
        self.replay_buffer = agent.replay_buffer
        self.batch_size: int = agent.batch_size
        self.noise: float = agent.target_policy_noise
        self.noise_clip: float = agent.target_noise_clip
        self.delay: int = agent.policy_delay
        self.gamma: float = agent.gamma
        self.tau: float = agent.tau
        self.device = agent.device
        self.updates = 0

    def train(self) -> None:
        """Take one gradient step."""
        self.updates += 1
        batch = _single_precision(self.replay_buffer.sample(self.batch_size))
        values = self.critic(batch.observations, batch.actions)
        targets = self._targets(batch)
        loss = F.mse_loss(values[0], targets) + F.mse_loss(values[1], targets)
        self._step(self.critic_optimizer, loss)
        if self.updates % self.delay == 0:
            actions = self.actor(batch.observations, update=True)
            self._step(
                self.actor_optimizer, -self.critic.q1_forward(batch.observations, actions).mean()
            )
            self._follow(self.critic, self.critic_target)
            self._follow(self.actor, self.actor_target)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return the action ``[A]`` for an observation ``[D]``; as published, record a graph."""
        one = torch.FloatTensor(observation.reshape(1, -1)).to(self.device)
        action: np.ndarray = self.actor(one).cpu().data.numpy().flatten()
        return action

    @torch.no_grad()
    def _targets(self, batch: ReplayBufferSamples) -> Tensor:
        noise = torch.randn_like(batch.actions) * self.noise
        noise = noise.clamp(-self.noise_clip, self.noise_clip)
        actions = (self.actor_target(batch.next_observations) + noise).clamp(-1, 1)
        values = torch.min(*self.critic_target(batch.next_observations, actions))
        return batch.rewards + (1 - batch.dones) * self.gamma * values

    @staticmethod
    def _weights(network: nn.Module) -> list[nn.Parameter]:
        return [p for p in network.parameters() if p.requires_grad]

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def _follow(self, online: nn.Module, target: nn.Module) -> None:
        for ours, theirs in zip(online.parameters(), target.parameters(), strict=True):
            theirs.data.copy_(self.tau * ours.data + (1 - self.tau) * theirs.data)


def _single_precision(batch: ReplayBufferSamples) -> ReplayBufferSamples:
    observations, following = batch.observations.float(), batch.next_observations.float()
    return batch._replace(observations=observations, next_observations=following)


def own_name(published: str) -> str:
    """Return the name of a :class:`StepwiseActor`'s parameter in our ``SpikingActor``."""
    kind, _, rest = published.partition(".")
    if kind in ("mean", "std"):
        return f"network.encoder.{kind}"
    if kind == "decoder":
        return f"network.decoder.{rest}"
    layer, _, name = rest.partition(".")
    return f"network.layers.{layer}.{kind.removesuffix('s')}.{name}"
