"""Base class of agents that learn from replay: buffer, captured gradient steps."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce, wraps
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common import buffers
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples
from torch import Tensor

from snnrl.agents.minibatches import MinibatchAgent
from snnrl.agents.normalization import ObservationNormalizer
from snnrl.agents.policies.modes import Pass, QuickModes
from snnrl.agents.replay.buffer import ReplayBuffer, random_transitions
from snnrl.agents.replay.on_device import Places
from snnrl.agents.updates.cuda_graphs import CapturedSteps, CudaRecorder, Recorder, Seen, Step
from snnrl.agents.updates.optimizers import can_be_captured
from snnrl.agents.updates.targets import TargetNetworks
from snnrl.errors import UserError
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.structure import Structure
from snnrl.seeds import SEEDINGS

Minibatch = ReplayBufferSamples | Places
"""What a gradient step learns from, or where it is."""


def squared_errors(values: Iterable[Tensor], targets: Tensor) -> Tensor:
    """Return the mean squared error of each critic's values ``[B, 1]``, summed over critics."""
    return reduce(torch.add, (F.mse_loss(value, targets) for value in values))


def gathering(step: Step) -> Step:
    """Return a step that gathers its minibatch from its :class:`Places`."""

    @wraps(step)
    def gathered(places: Places) -> Tensor | None:
        return step(places.gathered())

    return gathered


class ReplayAgent(MinibatchAgent, OffPolicyAlgorithm):
    """A mixin for Stable-Baselines3's off-policy algorithms: list it before them.

    SB3's ``EvalCallback`` acts before the update, so it sees the statistics of the previous
    re-calibration: call :meth:`recalibrate` first where that matters.

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

    def has_experience(self) -> bool:
        return self.replay_buffer is not None and self.replay_buffer.size() > 0

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
        self._check_networks()
        self._take(step, self._minibatch(batch_size))
        self.followers.draw_anew()

    def _minibatch(self, batch_size: int) -> Minibatch:
        """Return a new minibatch for a gradient step, which a captured step gathers itself."""
        buffer, env = self.replay_buffer, self._vec_normalize_env
        assert buffer is not None
        if self.captured is not None and isinstance(buffer, ReplayBuffer):
            places = buffer.places(batch_size, env)
            if places is not None:
                return places
        return buffer.sample(batch_size, env=env)

    def _take(self, step: Step, batch: Minibatch) -> None:
        """Take a step on a minibatch, captured where steps are."""
        if self.captured is None:
            step(batch)
            return
        baked = tuple(getattr(self, name) for name in self.baked_in)
        if isinstance(batch, Places):
            self.captured(gathering(step), batch, (*baked, batch.transitions))
        else:
            self.captured(step, batch, baked)

    def _store_transition(
        self,
        replay_buffer: buffers.ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: Any,
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        normalizer = self._vec_normalize_env
        if not isinstance(normalizer, ObservationNormalizer):
            super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
            return
        # As they were observed, and as without a normalisation.
        observed = normalizer.get_original_obs()
        self._vec_normalize_env, self._last_obs = None, self._last_original_obs
        try:
            super()._store_transition(
                replay_buffer, buffer_action, observed, reward, dones, normalizer.observed(infos)
            )
        finally:
            self._vec_normalize_env = normalizer
        self._last_obs, self._last_original_obs = new_obs, observed

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

    def part_inputs(self, name: str, observations: Tensor) -> tuple[Tensor, ...]:
        if name != "critic":
            return (observations,)
        with torch.no_grad(), evaluation_mode(self.policy):
            return observations, self.policy._predict(observations, deterministic=True)

    def sample_inputs(
        self, name: str, n: int, generator: np.random.Generator
    ) -> tuple[Tensor, ...] | None:
        if not self.has_experience():
            return None
        assert self.replay_buffer is not None
        observations, actions, _ = random_transitions(
            self.replay_buffer, n, generator, self._vec_normalize_env
        )
        return (observations, actions) if name == "critic" else (observations,)

    def dump_logs(self) -> None:
        """Write the log, losses included.

        :raises NonFiniteError: a loss since the last call is NaN or infinite
        """
        self._record_updates()
        self._record_activity()
        super().dump_logs()
