"""Base class of agents that learn from replay: buffer, gradient steps, re-calibration."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback, PyTorchObs
from torch import Tensor

from snnrl.agents.base import SpikingAgent
from snnrl.agents.policies.modes import Pass, QuickModes
from snnrl.agents.replay.buffer import ReplayBuffer, random_transitions
from snnrl.agents.updates.cuda_graphs import CapturedSteps, CudaRecorder, Recorder, Seen, Step
from snnrl.agents.updates.optimizers import can_be_captured
from snnrl.agents.updates.recalibration import Recalibration
from snnrl.agents.updates.targets import TargetNetworks
from snnrl.errors import UserError
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.norm import recalibrating
from snnrl.nn.structure import Structure
from snnrl.seeds import SEEDINGS, Independent


def squared_errors(values: Iterable[Tensor], targets: Tensor) -> Tensor:
    """Return the mean squared error of each critic's values ``[B, 1]``, summed over critics."""
    return reduce(torch.add, (F.mse_loss(value, targets) for value in values))


class ReplayAgent(SpikingAgent, OffPolicyAlgorithm):
    """A mixin for Stable-Baselines3's off-policy algorithms: list it before them.

    If the normalisation strategy re-calibrates, ``learn`` does so every ``recalibrate_every``
    environment steps, after the update. The data come from the replay buffer, drawn with separate
    generators. SB3's ``EvalCallback`` acts before the update, so it sees the statistics of the
    previous re-calibration: call :meth:`recalibrate` first where that matters.

    On CUDA, gradient steps and the networks' pass in ``predict`` are captured as graphs
    (:mod:`snnrl.agents.updates.cuda_graphs`). This needs a policy of this package, Adam or AdamW
    that is fused or ``capturable``, and observations that are one array. ``captured`` and
    ``acting`` hold the graphs; if ``captured`` is set to ``None``, everything runs operator by
    operator.
    """

    experience: ClassVar[str] = "replay"
    without_effect: ClassVar[tuple[str, ...]] = ("refresh_kl",)

    baked_in: ClassVar[tuple[str, ...]] = ("gamma", "tau")
    """Attributes whose values are part of a captured gradient step."""

    loss_names: ClassVar[dict[str, str]] = {}
    """Names in the log of parts' losses that are not ``train/<part>_loss``."""

    captured: CapturedSteps | None
    _structure: Structure | None
    acting: CapturedSteps

    def _setup_model(self) -> None:
        one_array = isinstance(self.observation_space, spaces.Box)
        if self.replay_buffer_class is None and self.n_steps == 1 and one_array:
            self.replay_buffer_class = ReplayBuffer
        super()._setup_model()
        recorder = self._recorder() if one_array else None
        self._prepare(capturable=recorder is not None)
        self.captured = None
        if recorder is not None and self._can_be_captured():
            self.captured = CapturedSteps(recorder)
            self.acting = CapturedSteps(recorder.fresh())
        self._collect_networks()
        if self.parts():
            self._refuse_normalised_bytes()
        for part in self.parts().values():
            if (bound := part.norm.refresh_kl) is not None:
                raise UserError(
                    f"bn.refresh_kl={bound}: has no effect with {type(self).__name__}, which "
                    "learns from replay; expected None, or PPO"
                )
            if part.norm.recalibrate_every == "auto":
                raise UserError(
                    f"bn.recalibrate_every=auto: {type(self).__name__} has no rollouts, it learns "
                    "from replay; expected environment steps, or None"
                )
        if not hasattr(self, "recalibration_generators"):
            self.seed_recalibration(SEEDINGS["independent"])

    def seed_recalibration(self, seeding: Independent) -> None:
        """Give the re-calibration of each part a new generator."""
        self.recalibration_generators = {
            name: seeding.stream(self.seed, f"recalibration/{name}")
            for name in ("actor", "q_network", "critic")
        }

    def _can_be_captured(self) -> bool:
        return all(can_be_captured(optimizer) for optimizer in self._optimizers())

    def _recorder(self) -> Recorder | None:
        return CudaRecorder(self.device) if self.device.type == "cuda" else None

    def _collect_networks(self) -> None:
        """Collect the tensors and modules that gradient steps use; call it again when one was
        replaced."""
        self._structure = Structure(self.policy)
        self._collect_components()
        self.followers = self._make_followers()
        if self.captured is not None:
            self.captured.clear()
            self.acting.clear()

    def _check_networks(self) -> None:
        """Make sure that gradient steps and decisions use the current networks.

        :raises UserError: there are hooks, which a captured graph would not call
        """
        if self._structure is None or not self._structure.is_current():
            self._collect_networks()
            assert self._structure is not None
        if self.captured is not None and not self._structure.is_plain():
            raise UserError(
                f"captured gradient steps: {self._structure.why_not_plain()}, which captured "
                "steps would not call; expected agent.captured = None"
            )

    def _make_followers(self) -> TargetNetworks:
        """Return the target networks, paired with the networks that they follow."""
        raise NotImplementedError

    def _update_targets(self) -> None:
        self.followers.update(self.tau)

    def _run(self, step: Step, batch_size: int) -> None:
        """Take one gradient step on a new minibatch.

        :param step: a method that changes only tensors, in place
        """
        assert self.replay_buffer is not None
        self._check_networks()
        batch = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
        if self.captured is None:
            step(batch)
        else:
            self.captured(step, batch, tuple(getattr(self, name) for name in self.baked_in))
        self.followers.draw_anew()

    def predict(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
        """Return actions, as in Stable-Baselines3; by a CUDA graph if the pass is captured."""
        policy = self.policy
        if self.captured is None or not isinstance(policy, QuickModes):
            return super().predict(*args, **kwargs)
        self._check_networks()
        policy.decide = self._decide
        try:
            return super().predict(*args, **kwargs)
        finally:
            policy.decide = None

    def _decide(self, usual: Pass, observations: PyTorchObs, deterministic: bool) -> Tensor:
        def decide(seen: Seen) -> Tensor:
            return usual(seen.observations, deterministic)

        assert isinstance(observations, Tensor)
        network = self.acting_network()
        taken = None if network is None else network.taken
        actions = self.acting(decide, Seen(observations), (deterministic, taken))
        assert actions is not None
        # The next replay overwrites the actions.
        return actions.to("cpu", copy=True)

    def set_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Set parameters, as in Stable-Baselines3."""
        super().set_parameters(*args, **kwargs)
        # Optimisers now have new tensors, and the user may have given other networks.
        if self.captured is not None:
            self.captured.clear()
            self.acting.clear()
            self.captured = self.captured if self._can_be_captured() else None

    def _excluded_save_params(self) -> list[str]:
        made_anew = ["captured", "acting", "followers", "frozen_critic", "_structure"]
        return [*super()._excluded_save_params(), *made_anew]

    def _learn(
        self,
        part: str,
        optimizer: torch.optim.Optimizer,
        loss: Tensor,
        max_grad_norm: float | None = None,
    ) -> None:
        """Take one gradient step on the loss of a part and its terms, and log both.

        :param part: ``actor``, ``critic``, ``q_network``, or SAC's ``ent_coef``
        :param loss: scalar
        :param max_grad_norm: as in :meth:`_step`
        """
        terms = self._take_terms(part)
        self._step(optimizer, loss if terms is None else loss + terms, max_grad_norm)
        self._keep_loss(self.loss_names.get(part, f"train/{part}_loss"), loss)

    def part_inputs(self, name: str, observations: Tensor) -> tuple[Tensor, ...]:
        if name != "critic":
            return (observations,)
        with torch.no_grad(), evaluation_mode(self.policy):
            return observations, self.policy._predict(observations, deterministic=True)

    def sample_inputs(
        self, name: str, n: int, generator: np.random.Generator
    ) -> tuple[Tensor, ...] | None:
        if self.replay_buffer is None or self.replay_buffer.size() == 0:
            return None
        observations, actions, _ = random_transitions(
            self.replay_buffer, n, generator, self._vec_normalize_env
        )
        return (observations, actions) if name == "critic" else (observations,)

    def recalibration_due(self) -> list[str]:
        """Return the parts whose strategy asks for a re-calibration at this step."""
        if self.replay_buffer is None or self.replay_buffer.size() == 0:
            return []
        return [
            name
            for name, part in self.parts().items()
            if isinstance(every := part.norm.recalibrate_every, int)
            and self.num_timesteps // every > self.recalibrated_at.get(name, 0) // every
        ]

    def recalibrate(self, names: list[str] | None = None) -> None:
        """Replace moving statistics by those pooled over replay minibatches.

        Each part sees ``recalibrate_batches`` minibatches of the training batch size; see
        :func:`snnrl.nn.norm.recalibrating`. The replaced statistics are kept to measure their
        error.

        :param names: the parts; all spiking ones if not given
        """
        for name in self.parts() if names is None else names:
            part = self.parts()[name]
            generator = self.recalibration_generators[name]
            self.keep_statistics(name)
            with recalibrating(part):
                for _ in range(part.norm.recalibrate_batches):
                    inputs = self.sample_inputs(name, self.batch_size, generator)
                    if inputs is not None:
                        part(*inputs)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        given = callback if isinstance(callback, list) else [callback]
        callbacks = [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in given]
        return super()._init_callback([Recalibration(), *callbacks], progress_bar)

    def dump_logs(self) -> None:
        """Write the log, losses included.

        :raises NonFiniteError: a loss since the last call is NaN or infinite
        """
        self._record_updates()
        self._record_activity()
        super().dump_logs()
