"""Saving and loading of agents, with the statistics of a ``VecNormalize``."""

from __future__ import annotations

import inspect
import io
import pathlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, ClassVar, Self

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecNormalize,
    VecTransposeImage,
    unwrap_vec_normalize,
)

from snnrl.agents.environments import refuse_wrapped_normalization
from snnrl.agents.policies.options import SPIKING_DEFAULTS
from snnrl.errors import UserError, nearest


class SavedAgent(BaseAlgorithm):
    """An algorithm of Stable-Baselines3 that keeps its ``VecNormalize``."""

    kept: ClassVar[tuple[str, ...]] = ()
    """Arguments of the agent that ``load`` cannot replace, because they decide its networks."""

    normalization: VecNormalize | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        _check_new(type(self), kwargs)
        super().__init__(*args, **kwargs)

    def normalize(self, observations: np.ndarray) -> np.ndarray:
        """Return the observations as the policy sees them: through ``VecNormalize`` if used."""
        env = self.get_vec_normalize_env() or self.normalization
        return observations if env is None else np.asarray(env.normalize_obs(observations))

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save as Stable-Baselines3 does, with the running statistics of a ``VecNormalize``."""
        self.normalization = self.get_vec_normalize_env() or self.normalization
        super().save(*args, **kwargs)

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        *,
        kernel: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load as Stable-Baselines3 does; wrap an environment in the saved ``VecNormalize``.

        The file is unpickled and can run any code. Load only files that you trust.

        :param kernel: kernel of the spiking networks, in place of the one given when the agent was
            made; ``auto`` is resolved on this machine
        :param kwargs: arguments of the algorithm, in place of the saved ones
        :raises UserError: the saved ``VecNormalize``, or the environment's, is inside another
            wrapper; an argument does not exist, or the agent keeps its own; the kernel cannot run
            here, or the agent has no spiking networks
        """
        _check_arguments(cls, kwargs, custom_objects)
        if kernel is not None:
            # Not an attribute of the agent, which keeps only its effect: see ``_setup_model``.
            kwargs["kernel"] = kernel
        try:
            agent = super().load(
                path, env, device, custom_objects, print_system_info, force_reset, **kwargs
            )
        except Exception as problem:  # What another agent's file lacks may raise anything.
            if isinstance(problem, ValueError) and "policy kwargs" in str(problem):
                raise UserError(
                    "policy_kwargs: differ from those that the agent was saved with; expected "
                    "none, or load(path, kernel=...) for another kernel"
                ) from problem
            _refuse_other_agent(cls, path, problem)
            raise
        if (kept := agent.normalization) is not None:
            if kept.norm_obs and kept.observation_space != agent.observation_space:
                raise UserError(
                    f"VecNormalize: the saved one normalised {kept.observation_space} inside "
                    f"another wrapper, but the agent observes {agent.observation_space}; expected "
                    "an agent that was trained with VecNormalize outermost"
                )
            # Left out by pickling; without it the object can neither be copied nor saved again.
            kept.class_attributes = dict(inspect.getmembers(type(kept)))
            kept.returns = np.zeros(kept.num_envs)
        if agent.env is not None:
            agent.env = agent._with_normalization(agent.env)
            agent._vec_normalize_env = unwrap_vec_normalize(agent.env)
        return agent

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Set the environment, wrapped in the saved ``VecNormalize``.

        :raises UserError: it has a ``VecNormalize`` that is not the outermost wrapper
        """
        self.normalization = self.get_vec_normalize_env() or self.normalization
        wrapped = self._wrap_env(env, self.verbose)
        refuse_wrapped_normalization(wrapped)
        super().set_env(self._with_normalization(wrapped), force_reset)

    def _with_normalization(self, env: VecEnv) -> VecEnv:
        if self.normalization is None or unwrap_vec_normalize(env) is not None:
            return env
        # A copy has no environment yet.
        kept = deepcopy(self.normalization)
        if isinstance(env, VecTransposeImage) and kept.observation_space != env.observation_space:
            # It was inside, where Stable-Baselines3 leaves one that scales only rewards.
            kept.set_venv(env.venv)
            env.venv = kept
            return env
        kept.set_venv(env)
        return kept


def _check_arguments(
    agent: type[SavedAgent], given: Mapping[str, Any], custom_objects: Mapping[str, Any] | None
) -> None:
    """Refuse arguments that Stable-Baselines3's ``load`` would ignore."""
    if "kernel" in (custom_objects or {}):
        raise UserError("custom_objects: cannot change the kernel; expected load(path, kernel=...)")
    known = _arguments(agent) - {"policy", "env"} | {"kernel"}
    for name in given:
        if name not in known:
            raise UserError(f"load={name}: no such argument{_nearest_argument(agent, name, known)}")
        if name in agent.kept:
            raise UserError(
                f"{name}={given[name]}: a saved agent keeps its own; expected none in load"
            )


POLICY_KEYWORDS = tuple(SPIKING_DEFAULTS)
"""What belongs into ``policy_kwargs``."""

COUNTS = ("batch_size", "buffer_size", "n_steps", "n_epochs")
"""Arguments of which Stable-Baselines3 says only while it learns that they must be positive."""


def _check_new(agent: type[SavedAgent], given: Mapping[str, Any]) -> None:
    """Check the named arguments of a new agent.

    :raises UserError: one that no class takes, a count below 1, or an optimiser that is no class
    """
    known = _arguments(agent)
    for name, value in given.items():
        if name not in known:
            raise UserError(f"{name}: no such argument{_nearest_argument(agent, name, known)}")
        if name in COUNTS and isinstance(value, int) and value < 1:
            raise UserError(f"{name}={value}: expected at least 1")
    optimizer = (given.get("policy_kwargs") or {}).get("optimizer_class")
    if optimizer is not None and not callable(optimizer):
        raise UserError(
            f"policy_kwargs=optimizer_class={optimizer}: expected a class, such as torch.optim.Adam"
        )


def _arguments(agent: type[SavedAgent]) -> set[str]:
    """Return the names of the arguments that an agent's constructors take."""
    known = {name for base in agent.__mro__ for name in inspect.signature(base).parameters}
    return known - {"self", "args", "kwargs"}


def _nearest_argument(agent: type[SavedAgent], name: str, known: set[str]) -> str:
    usual = sorted(each for each in known if not each.startswith("_"))
    hint = nearest(name, usual) if name not in POLICY_KEYWORDS else ""
    if not hint and name in POLICY_KEYWORDS:
        return f"; expected policy_kwargs=dict({name}=...)"
    return hint or f"; help({agent.__name__}) lists them"


def _refuse_other_agent(
    agent: type[SavedAgent], path: str | pathlib.Path | io.BufferedIOBase, problem: Exception
) -> None:
    """Refuse the file of another agent, which Stable-Baselines3 loads as far as it can.

    :raises UserError: it is one
    """
    if not isinstance(path, str | pathlib.Path) or isinstance(problem, OSError):
        return
    try:
        data, _, _ = load_from_zip_file(path, device="cpu")
    except Exception:  # The first error counts.
        return
    policy = (data or {}).get("policy_class")
    if policy in agent.policy_aliases.values():
        return
    having = [each.__name__ for each in _agents() if policy in each.policy_aliases.values()]
    if having:
        raise UserError(
            f"{path}: holds an agent of {' or '.join(having)}; expected {having[0]}.load, not "
            f"{agent.__name__}.load"
        ) from problem


def _agents(below: type[SavedAgent] | None = None) -> Iterator[type[SavedAgent]]:
    """Yield this package's agents."""
    for agent in (below or SavedAgent).__subclasses__():
        if agent.__module__.startswith(f"{__package__}.") and agent.policy_aliases:
            yield agent
        yield from _agents(agent)
