"""Base class of the agents, which put spiking networks into Stable-Baselines3's algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import (
    VecEnv,
)
from torch import Tensor, nn

from snnrl.agents.environments import check_spaces, refuse_wrapped_normalization
from snnrl.agents.policies.part import AgentPart
from snnrl.agents.record import Recording, logged_values, record
from snnrl.agents.saving import SavedAgent
from snnrl.agents.updates.loss_log import LatestLosses, LossLog
from snnrl.agents.updates.optimizers import (
    keep_implementation,
    keeps_implementation,
    prepare_adam,
    separate_rates,
    set_learning_rate,
)
from snnrl.agents.updates.precision import disable_tf32
from snnrl.errors import UserError, expect
from snnrl.nn.activity import Activity, activity
from snnrl.nn.early_exit import exit_step, leaving_after
from snnrl.nn.learning_rates import own_learning_rates
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import norm_layers
from snnrl.nn.perceptron import fuse_perceptrons
from snnrl.nn.regulations import Regulation
from snnrl.nn.schedule import scheduled_modules
from snnrl.nn.surrogates import Surrogate
from snnrl.ops.backend import KERNELS
from snnrl.seeds import stream

Statistics = list[tuple[Tensor, Tensor]]

LOGGED_INPUTS = 256
"""Inputs of which firing rates are logged."""


class SpikingAgent(SavedAgent):
    """A mixin for Stable-Baselines3's algorithms: list it before them.

    ``recalibrated_at`` holds the environment step of each part's last re-calibration,
    ``statistics_before`` the statistics that it replaced, which are needed to measure their error.
    """

    experience: ClassVar[str]
    """Source of what is learned: ``replay`` (a buffer) or ``rollout`` (the latest one)."""

    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]]
    """Kinds of actions that the agent can choose."""

    reads_images: ClassVar[bool] = False
    """True for an agent whose networks can have convolutions."""

    critics: ClassVar[tuple[str, ...]]
    """Critics to choose from, by their names in ``critic=``; the first is the default."""

    critic_key: ClassVar[str | None]
    """Key of the critic's hidden layers in ``net_arch``; ``None``: no critic."""

    targets: ClassVar[tuple[str, ...]] = ("soft",)
    """Choices of ``target=``; the first is the default."""

    usual_readout: ClassVar[str] = "population"
    """Readout of the actor where ``readout`` is ``auto``."""

    usual_adam: ClassVar[dict[str, Any]] = {}
    """Arguments of Adam that differ from torch's defaults, as in Stable-Baselines3."""

    without_effect: ClassVar[tuple[str, ...]] = ()
    """Settings of a normalisation that mean nothing to the agent."""

    loss_log: LossLog
    latest_losses: LatestLosses
    recalibrated_at: dict[str, int]
    statistics_before: dict[str, Statistics]
    returns_so_far: list[float] | None = None
    """Lowest and highest mean return of the evaluations that were reported."""

    logs_activity = True
    """Whether firing rates and gains are logged with the losses."""

    @property
    def policy_kwargs(self) -> dict[str, Any]:
        """Copy of the given arguments, because Stable-Baselines3 writes into them."""
        kwargs: dict[str, Any] = vars(self)["policy_kwargs"]
        return kwargs

    @policy_kwargs.setter
    def policy_kwargs(self, given: dict[str, Any]) -> None:
        vars(self)["policy_kwargs"] = deepcopy(given)

    @property
    def logger(self) -> Logger:
        """Stable-Baselines3's logger, with the losses of the last ``train()``.

        Losses stay on the device until this property is read.
        """
        logger = super().logger
        if (means := self.latest_losses.read()) is not None:
            for name, mean in means.items():
                logger.record(name, mean)
            self._record_progress(logger)
        return logger

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        check_spaces(env)
        return BaseAlgorithm._wrap_env(env, verbose, monitor_wrapper)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        expect("policy", policy_name, self.policy_aliases)
        return super()._get_policy_from_name(policy_name)

    def _setup_model(self) -> None:
        # ``load`` sets its arguments and the saved attributes without calling the setters.
        self.policy_kwargs = vars(self)["policy_kwargs"]
        if (kernel := vars(self).pop("kernel", None)) is not None:
            if not issubclass(self.policy_class, self.policy_aliases["SpikingPolicy"]):
                raise UserError(
                    f"kernel={kernel}: the saved {self.policy_class.__name__} has no spiking "
                    "network to compute; expected no kernel"
                )
            expect("kernel", kernel, KERNELS)
            self.policy_kwargs = {**self.policy_kwargs, "kernel": kernel}
        super()._setup_model()  # type: ignore[safe-super]

    def parts(self) -> dict[str, AgentPart]:
        """The networks that learn and are spiking or normalised, by name: ``actor`` and ``critic``,
        or ``q_network``."""
        modules = {name: getattr(self, name, None) for name in ("actor", "critic", "q_net")}
        names = {"q_net": "q_network"}
        return {
            names.get(name, name): module
            for name, module in modules.items()
            if isinstance(module, AgentPart)
        }

    @property
    def kernel(self) -> str:
        """Kernel of the spiking networks: ``naive``, ``compile``, ``native`` or ``triton``."""
        networks = self._networks()
        return networks[0].kernel if networks else "naive"

    def why_not_fused(self) -> str | None:
        """Return why no fused kernel can compute the spiking networks; ``None``: one can."""
        networks = self._networks()
        return networks[0].why_not_fused() if networks else None

    def _networks(self) -> list[SpikingNetwork]:
        return [
            module
            for part in self.parts().values()
            for module in part.modules()
            if isinstance(module, SpikingNetwork)
        ]

    def acting_network(self) -> SpikingNetwork | None:
        """Return the spiking network that acts, of the actor or DQN's; ``None``: an ordinary one
        does."""
        parts = self.parts()
        part: Any = parts.get("actor", parts.get("q_network"))
        network = getattr(part, "network", None)
        return network if isinstance(network, SpikingNetwork) else None

    @contextmanager
    def early_exit(self, limit: float = 0.1) -> Iterator[int]:
        """Context in which the agent acts with early exit; yields the time steps taken.

        See :func:`snnrl.nn.early_exit.exit_step`. It is for acting: learning inside is refused.

        :param limit: bound of BNTT's gamma, in firing thresholds
        :raises UserError: a network without BNTT, or a limit that is not above 0
        """
        network = self.acting_network()
        if network is None:
            raise UserError(
                "early exit: an ordinary network has no time steps; expected a spiking actor "
                "trained with bn=bntt"
            )
        steps = exit_step(network, limit)
        with leaving_after(network, steps):
            yield steps

    def report_evaluation(self, mean_return: float) -> None:
        """Report an evaluation of the agent to the regulations of its firing thresholds.

        Once for each evaluation: a regulation can have a slow state that moves with it. Thresholds
        move in the next pass that learns, so the evaluated policy stays as it is until then. Runs
        of ``snnrl.train`` report by themselves. Without a regulation nothing happens.

        :param mean_return: mean return of the evaluation's episodes
        :raises UserError: not a finite number
        """
        networks = [m for part in self.parts().values() for m in part.modules()]
        regulations = [m for m in networks if isinstance(m, Regulation)]
        if not regulations:
            return
        value = float(mean_return)
        if not math.isfinite(value):
            raise UserError(f"mean_return={value}: expected a finite number")
        progress = relative_progress(value, self.returns_so_far)
        lowest, highest = self.returns_so_far or (value, value)
        self.returns_so_far = [min(lowest, value), max(highest, value)]
        for regulation in regulations:
            regulation.evaluated(progress)

    def part_inputs(self, name: str, observations: Tensor) -> tuple[Tensor, ...]:
        """Return the inputs with which a part is called for observations ``[B, ...]``."""
        raise NotImplementedError

    def sample_inputs(
        self, name: str, n: int, generator: np.random.Generator
    ) -> tuple[Tensor, ...] | None:
        """Return ``n`` inputs of the part from the agent's experience; ``None`` while it has none.

        :param generator: source of the random draws; no other is used
        """
        raise NotImplementedError

    def record(self, observations: np.ndarray) -> Recording:
        """Return the activity of every spiking layer for the observations, with any kernel.

        ``agent.record(observations)["actor"]["layers.0"].membranes`` are the membrane potentials of
        the first layer, ``[T, B, N]``, beside ``currents``, ``spikes`` and ``rates`` ``[N]``.

        :param observations: ``[B, ...]``, or a single one without the batch dimension, as for
            :meth:`predict`
        :raises UserError: the membrane potentials of a neuron are unknown
        """
        tensor, _ = self.policy.obs_to_tensor(observations)
        assert isinstance(tensor, Tensor)
        parts = self.parts()
        return record(parts, {name: self.part_inputs(name, tensor) for name in parts})

    def _record_activity(self) -> None:
        """Log the firing rates and gains of every part, on a sample of the agent's experience."""
        for name in self.parts() if self.logs_activity else ():
            generator = stream(self.seed, "activity", self.num_timesteps)
            inputs = self.sample_inputs(name, LOGGED_INPUTS, generator)
            if inputs is not None:
                for key, value in logged_values(name, self.activity(name, inputs)).items():
                    self.logger.record(key, value)

    def activity(self, name: str, inputs: tuple[Tensor, ...]) -> Activity:
        """Return firing rates, saturation and gains of a part's layers, in evaluation mode.

        Gains are left out where statistics are replaced at each rollout, because no update rule
        runs.

        :param name: of the part
        :param inputs: what it is called with
        """
        part = self.parts()[name]
        seen = activity(part, *inputs)
        replaced = self.experience == "rollout" and part.norm.recalibrate_every is not None
        return seen._replace(gains={}) if replaced else seen

    def keep_statistics(self, name: str) -> None:
        """Store a copy of the part's moving statistics before a re-calibration at this step."""
        self.statistics_before[name] = [
            (layer.moving_mean.clone(), layer.moving_var.clone())
            for layer in norm_layers(self.parts()[name])
        ]
        self.recalibrated_at[name] = self.num_timesteps

    def _prepare(self, *, capturable: bool = False) -> None:
        """Prepare optimisers, kernels and logs; call it at the end of ``_setup_model``.

        :param capturable: whether gradient steps will be captured as CUDA graphs
        :raises UserError: the chosen kernel cannot run on the agent's device, or a
            ``VecNormalize`` is not the outermost wrapper
        """
        if self.env is not None:
            refuse_wrapped_normalization(self.env)
        if self.device.type == "cuda":
            disable_tf32()
        self._prepare_optimizers(capturable)
        self._resolve_kernels()
        self._collect_components()
        self.loss_log = LossLog()
        self.latest_losses = LatestLosses()
        for part in self.parts().values():
            part.has_agent = True
        self.statistics_before = {}
        if not hasattr(self, "recalibrated_at"):
            self.recalibrated_at = {}

    def _collect_components(self) -> None:
        """Collect the surrogates that are projected after gradient steps, and the modules with a
        schedule."""
        surrogates = [m for m in self.policy.modules() if isinstance(m, Surrogate)]
        self._surrogates = [m for m in surrogates if type(m).project is not Surrogate.project]
        self._scheduled = [m for part in self.parts().values() for m in scheduled_modules(part)]

    def _begin_update(self) -> None:
        """Put the networks into training mode, and tell them the progress of training: the first
        line of every ``train()``."""
        self.policy.set_training_mode(True)
        for module in self._scheduled:
            module.set_progress(self._current_progress_remaining)

    def _resolve_kernels(self) -> None:
        networks = [m for m in self.policy.modules() if isinstance(m, SpikingNetwork)]
        chosen = bool(networks) and networks[0].kernel != "auto"
        for network in networks:
            network.resolve(self.device)
        if any(network.kernel == "native" for network in networks):
            fuse_perceptrons(self.policy)
        if networks and self.verbose >= 1:
            reason = None if chosen else networks[0].why_not_fused()
            print(f"Using kernel {networks[0].kernel}{f' ({reason})' if reason else ''}")

    def _refuse_normalised_bytes(self) -> None:
        """Refuse to normalise integer observations: encoders scale them by their range, and buffers
        store them as integers.

        :raises UserError: ``VecNormalize(norm_obs=True)`` around integer observations
        """
        env, space = self.get_vec_normalize_env(), self.observation_space
        whole = isinstance(space, spaces.Box) and not np.issubdtype(space.dtype, np.floating)
        if env is not None and env.norm_obs and whole:
            raise UserError(
                f"VecNormalize: observations are {space.dtype} and are stored as such, which "
                "would truncate normalised ones; expected norm_obs=False, or an environment that "
                "observes floating-point numbers"
            )

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return list(self._named_optimizers().values())

    def _named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        names, _ = self._get_torch_save_params()
        return {n: recursive_getattr(self, n) for n in names if n.endswith("optimizer")}

    def _prepare_optimizers(self, capturable: bool) -> None:
        """Separate parameters with learning rates of their own, and make Adam fused by default, for
        this package's policies; leave Stable-Baselines3's unchanged."""
        ours = tuple(self.policy_aliases[name] for name in ("AnnPolicy", "SpikingPolicy"))
        if not isinstance(self.policy, ours):
            return
        given = self.policy_kwargs.get("optimizer_kwargs") or {}
        rates = own_learning_rates(self.policy)
        for name, optimizer in self._named_optimizers().items():
            # SB3 passes them only to the policy's optimisers, not to that of SAC's entropy
            # coefficient; without capture, that optimiser computes as if it had them, as in all
            # earlier versions.
            theirs = "." in name or not capturable
            separate_rates(optimizer, rates)
            prepare_adam(optimizer, given if theirs else {}, capturable=capturable)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copy = memo[id(self)] = type(self).__new__(type(self))
        copy.__dict__.update(deepcopy(vars(self), memo))
        for own, other in zip(self._optimizers(), copy._optimizers(), strict=True):
            if keeps_implementation(own):
                keep_implementation(other)
        return copy

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        """The optimiser whose learning rate is logged."""
        part: Any = getattr(self, "actor", self.policy)
        optimizer: torch.optim.Optimizer = part.optimizer
        return optimizer

    def _update_learning_rate(
        self, optimizers: list[torch.optim.Optimizer] | torch.optim.Optimizer
    ) -> None:
        # Stable-Baselines3's method would replace a rate that is a tensor, and log it.
        rate = self.lr_schedule(self._current_progress_remaining)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            set_learning_rate(optimizer, rate)

    def _step(
        self,
        optimizer: torch.optim.Optimizer,
        loss: Tensor,
        max_grad_norm: float | None = None,
    ) -> None:
        """Take one gradient step.

        :param loss: scalar
        :param max_grad_norm: largest norm of the gradient of all weights of the optimiser;
            ``None``: no limit
        """
        optimizer.zero_grad()
        loss.backward()
        if max_grad_norm is not None:
            learning = [weight for group in optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(learning, max_grad_norm)
        optimizer.step()
        if self._surrogates:
            # Only those that this optimiser moved: another part may be between its two passes.
            moved = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
            for surrogate in self._surrogates:
                if any(id(weight) in moved for weight in surrogate.parameters()):
                    surrogate.project()

    def _take_terms(self, name: str) -> Tensor | None:
        """Return, and log, the loss terms of a part, ``[]``; ``None``: it has none."""
        part = self.parts().get(name)
        terms = None if part is None else part.take_terms()
        if terms is not None:
            self._keep_loss(f"train/{name}_terms", terms)
        return terms

    def _record_updates(self) -> None:
        """Pass the losses since the last call and the learning rate to the logger.

        :raises NonFiniteError: a loss is NaN or infinite
        """
        logger = self.logger
        for name, mean in self.loss_log.drain(self.num_timesteps).items():
            logger.record(name, mean)
        self._record_progress(logger)

    def _record_progress(self, logger: Logger) -> None:
        logger.record("train/learning_rate", float(self._optimizer.param_groups[0]["lr"]))
        logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _keep_loss(self, name: str, value: Tensor) -> None:
        """Log a scalar loss, of shape ``[]``, without waiting for the device."""
        self.loss_log.add(name, value)
        self.latest_losses.add(name, value)

    def _excluded_save_params(self) -> list[str]:
        made_anew = [
            "loss_log",
            "latest_losses",
            "statistics_before",
            "_surrogates",
            "_scheduled",
            "logs_activity",
        ]
        return [*super()._excluded_save_params(), *made_anew]


def relative_progress(value: float, before: Sequence[float] | None) -> float:
    """Return how far a return is above the best one before, as a share of the range of all.

    The range includes the return itself, so the result is at most 1. It is negative where the
    return is below the best one, and 0 where there is no range.

    :param before: lowest and highest return before; ``None``: this is the first
    """
    if before is None:
        return 0.0
    lowest, highest = before
    span = max(highest, value) - min(lowest, value)
    return (value - highest) / span if span > 0 else 0.0
