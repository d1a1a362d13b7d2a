"""DQN with a spiking Q-network."""

from __future__ import annotations

from typing import Any, ClassVar

import stable_baselines3
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, ReplayBufferSamples, Schedule
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor

from snnrl.agents.off_policy import ReplayAgent
from snnrl.agents.policies.critics import SpikingQNetwork
from snnrl.agents.policies.features import convolve_images
from snnrl.agents.policies.modes import QuickModes
from snnrl.agents.policies.options import SpikingOptions, check_keywords, layer_sizes
from snnrl.agents.policies.ordinary import NormalisedQNetwork
from snnrl.agents.replay.buffer import ReplayBuffer
from snnrl.agents.updates.targets import TargetNetworks
from snnrl.errors import UserError, expect
from snnrl.nn.ordinary import ordinary_strategy
from snnrl.nn.registry import Spec

LOSSES = {"huber": F.smooth_l1_loss, "mse": F.mse_loss}

SPIKING_KEYS_WITHOUT_MEANING = ("actor", "critic")


def check_common_mode(value: bool) -> bool:
    """Return the setting.

    :raises UserError: not a bool
    """
    if not isinstance(value, bool):
        raise UserError(f"common_mode={value!r}: expected True or False")
    return value


class AnnPolicy(QuickModes, DQNPolicy):
    """The baseline: the same agent with an ordinary Q-network.

    :param net_arch: hidden neurons
    :param conv: ``dict(channels=..., kernels=..., strides=...)`` of convolutions, for images
    :param bn: normalisation: a name, a class, or ``dict(name=..., **parameters)``
    :param kwargs: those of SB3's ``DQNPolicy``
    :raises UserError: an unknown keyword, or a normalisation that an ordinary network cannot have
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        conv: dict[str, list[int]] | None = None,
        bn: Spec = "none",
        **kwargs: Any,
    ):
        check_keywords(type(self), kwargs)
        convolve_images(kwargs, conv)
        self.norm, self.bn = ordinary_strategy(bn), bn
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)

    def make_q_net(self) -> Any:
        """Return a new Q-network, online or target."""
        if self.norm is None:
            return super().make_q_net()
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return NormalisedQNetwork(**arguments, bn=self.bn).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "bn": self.bn}


class SpikingPolicy(QuickModes, DQNPolicy):
    """Spiking Q-network.

    :param net_arch: hidden neurons, ``[128, 128]`` as published
    :param neuron: a name (``configs/neuron`` has them), a class, or ``dict(name=...,
        **parameters)`` with either; ``surrogate``, ``encoder``, ``bn``, ``regulation`` and each of
        ``losses`` are given in the same way
    :param surrogate: surrogate gradient of the spike function
    :param encoder: ``direct``, ``population`` (which scales bytes before its tanh)
    :param conv: ``dict(channels=..., kernels=..., strides=...)`` of spiking convolutions of images
    :param bn: normalisation
    :param regulation: regulation of the firing thresholds; ``None``: they are constant
    :param losses: terms of the loss
    :param time_steps: time steps T of one forward pass
    :param readout: ``linear``, ``population``, ``membrane``, ``auto`` (linear), or
        ``dict(name="membrane", value=..., decay=...)``
    :param lateral: connections within the output populations (ILC-SAN): ``none``, ``intra`` and its
        variants, the keys of :data:`snnrl.nn.lateral.LATERALS`
    :param population: output neurons per action, unless the readout is linear
    :param kernel: ``naive``, ``compile``, ``native`` (CPU), ``triton`` (CUDA), ``auto``
    :param common_mode: as of :class:`DQN`
    :param kwargs: those of SB3's ``DQNPolicy``
    :raises UserError: unknown name or parameter, or observations that are not one array
    """

    options_class: ClassVar[type[SpikingOptions]] = SpikingOptions

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        common_mode: bool = False,
        **kwargs: Any,
    ):
        kwargs.setdefault("encoder", "direct")
        self.options = self.options_class.take(
            kwargs, observation_space, type(self), without=SPIKING_KEYS_WITHOUT_MEANING
        )
        self.common_mode = check_common_mode(common_mode)
        if common_mode and self.options.takes_time:
            raise UserError(
                "common_mode=True: its ordinary network reads vectors and images, and "
                f"encoder={self.options.given['encoder']} takes frames over time; expected False"
            )
        arch = [128, 128] if net_arch is None else layer_sizes(net_arch)
        super().__init__(observation_space, action_space, lr_schedule, arch, **kwargs)

    def make_q_net(self) -> Any:
        """Return a new Q-network, online or target."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return SpikingQNetwork(**arguments, options=self.options, common_mode=self.common_mode).to(
            self.device
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        given = self.options.given.items()
        ours = {key: value for key, value in given if key not in SPIKING_KEYS_WITHOUT_MEANING}
        return {
            **super()._get_constructor_parameters(),
            **ours,
            "common_mode": self.common_mode,
        }


class DQN(ReplayAgent, stable_baselines3.DQN):
    """Deep Q-network (Mnih et al. 2015).

    ``DQN("SpikingPolicy", env, policy_kwargs=dict(neuron="lif", bn="carebn"))``.

    :param loss: ``huber``, as in Stable-Baselines3, or ``mse``
    :param max_grad_norm: largest norm of the gradient; ``None``: no limit
    :param exploration_updates: number of gradient steps, from the first, over which epsilon falls
        linearly from ``exploration_initial_eps`` to ``exploration_final_eps``; ``None``: over
        ``exploration_fraction`` of the environment steps, as in Stable-Baselines3
    :param target_update_updates: gradient steps between copies to the target network; ``None``:
        ``target_update_interval`` environment steps, as in Stable-Baselines3
    :param replacement: sample minibatches with replacement
    :param common_mode: whether an ordinary network learns what the values of all actions have in
        common (CMC-DSQN, arXiv 2610.07808): ``Q - mean_a Q + C(s)``, see :class:`SpikingQNetwork`.
        Only of spiking Q-networks: it would make an ordinary one a dueling network
    :param kwargs: as in Stable-Baselines3
    :raises UserError: a policy keyword that does not exist, or a value that does not fit
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **stable_baselines3.DQN.policy_aliases,
        "SpikingPolicy": SpikingPolicy,
        "AnnPolicy": AnnPolicy,
    }

    action_spaces = (spaces.Discrete,)
    reads_images = True
    critics = ("none",)
    critic_key = None
    usual_readout = "linear"
    kept: ClassVar[tuple[str, ...]] = ("common_mode",)
    baked_in: ClassVar[tuple[str, ...]] = ("gamma", "loss", "max_grad_norm")
    loss_names: ClassVar[dict[str, str]] = {"q_network": "train/loss"}

    def __init__(
        self,
        policy: str | type[DQNPolicy],
        env: GymEnv | str,
        *args: Any,
        loss: str = "huber",
        max_grad_norm: float | None = 10,
        exploration_updates: int | None = None,
        target_update_updates: int | None = None,
        replacement: bool = True,
        common_mode: bool = False,
        policy_kwargs: dict[str, Any] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        expect("loss", loss, LOSSES)
        for name, value in (
            ("exploration_updates", exploration_updates),
            ("target_update_updates", target_update_updates),
        ):
            if value is not None and value < 1:
                raise UserError(f"{name}={value}: expected at least 1")
        self.loss = loss
        self.exploration_updates = exploration_updates
        self.target_update_updates = target_update_updates
        self.replacement = replacement
        if check_common_mode(common_mode):
            policy_kwargs = {**(policy_kwargs or {}), "common_mode": True}
        if not replacement:
            replay_buffer_kwargs = {**(replay_buffer_kwargs or {}), "replacement": False}
        super().__init__(
            policy,
            env,
            *args,
            max_grad_norm=max_grad_norm,
            policy_kwargs=policy_kwargs,
            replay_buffer_kwargs=replay_buffer_kwargs,
            **kwargs,
        )

    @property
    def common_mode(self) -> bool:
        """Whether an ordinary network learns what the values of all actions share."""
        return bool((self.policy_kwargs or {}).get("common_mode", False))

    def _setup_model(self) -> None:
        for name, given, usual in (
            ("n_steps", self.n_steps, 1),
            ("optimize_memory_usage", self.optimize_memory_usage, False),
        ):
            if not self.replacement and given != usual:
                raise UserError(
                    f"replacement=False: cannot be combined with {name}={given}; expected "
                    f"{name}={usual}"
                )
        if not self.replacement and self.replay_buffer_class not in (None, ReplayBuffer):
            raise UserError(
                f"replacement=False: {self.replay_buffer_class} draws its own minibatches; "
                "expected no replay_buffer_class"
            )
        spikes = issubclass(self.policy_class, SpikingPolicy)
        if self.policy_kwargs.get("common_mode") and not spikes:
            raise UserError(
                f"common_mode=True: corrects spiking values, and {self.policy_class.__name__} has "
                "an ordinary Q-network; expected SpikingPolicy, or common_mode=False"
            )
        super()._setup_model()

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Take gradient steps on the replay buffer, and copy the weights to the target network when
        due.

        The online network's only pass in training mode is that in the loss. There its normalisation
        uses batch statistics and updates the moving ones.
        """
        self._begin_update()
        self._update_learning_rate(self.policy.optimizer)
        for _ in range(gradient_steps):
            self._run(self._gradient_step, batch_size)
            self._n_updates += 1
            every = self.target_update_updates
            if every is not None and self._n_updates % every == 0:
                self._update_targets()
        if self.exploration_updates is not None:
            self._update_epsilon(self.exploration_updates)
        self.latest_losses.settle()

    def _gradient_step(self, batch: ReplayBufferSamples) -> None:
        self._update(batch, self._target_values(batch))

    @torch.no_grad()
    def _target_values(self, batch: ReplayBufferSamples) -> Tensor:
        """``r + gamma (1 - done) max_a Q'(s', a)``, ``[B, 1]``."""
        discounts = self.gamma if batch.discounts is None else batch.discounts
        best: Tensor = self.q_net_target(batch.next_observations).max(dim=1, keepdim=True).values
        return batch.rewards + (1 - batch.dones) * discounts * best

    def _update(self, batch: ReplayBufferSamples, targets: Tensor) -> None:
        values = self.q_net(batch.observations).gather(1, batch.actions.long())
        loss = LOSSES[self.loss](values, targets)
        self._learn("q_network", self.policy.optimizer, loss, self.max_grad_norm)

    def _on_step(self) -> None:
        # Here Stable-Baselines3 updates the target network and epsilon, by environment steps.
        self._n_calls += 1
        interval = max(self.target_update_interval // self.n_envs, 1)
        if self.target_update_updates is None and self._n_calls % interval == 0:
            self._update_targets()
        if self.exploration_updates is None:
            self.exploration_rate = self.exploration_schedule(self._current_progress_remaining)
        elif self._n_updates == 0:
            self.exploration_rate = self.exploration_initial_eps
        # The ``logger`` property would wait for the losses at every step.
        self._logger.record("rollout/exploration_rate", self.exploration_rate)

    def _make_followers(self) -> TargetNetworks:
        return TargetNetworks(
            [(self.q_net, self.q_net_target)], self.batch_norm_stats, self.batch_norm_stats_target
        )

    def _update_epsilon(self, updates: int) -> None:
        first, last = self.exploration_initial_eps, self.exploration_final_eps
        self.exploration_rate = first + (last - first) * min(1, self._n_updates / updates)
