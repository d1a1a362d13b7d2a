"""Checks of an agent's environment."""

from __future__ import annotations

from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecEnvWrapper,
    VecNormalize,
    VecTransposeImage,
)

from snnrl.envs import action_problem, missing_space, observation_problem
from snnrl.errors import UserError


def check_spaces(env: GymEnv) -> None:
    """Check the spaces for what Stable-Baselines3 only asserts and for bounds that would lead to
    NaN.

    :raises UserError: a space is missing or of another kind, or has bounds or shapes that no agent
        can act in or read
    """
    reason = missing_space(env)
    if reason is None and isinstance(env.observation_space, spaces.Box):
        reason = observation_problem(env.observation_space)
    if reason is None and isinstance(env.action_space, spaces.Box):
        reason = action_problem(env.action_space)
    if reason is not None:
        raise UserError(f"env: {reason}")


def refuse_wrapped_normalization(env: VecEnv) -> None:
    """Refuse a ``VecNormalize`` inside another wrapper.

    Its statistics are saved with the agent. When the agent is loaded, they are wrapped around its
    environment as the outermost wrapper.

    :raises UserError: a ``VecNormalize`` of ``env`` is inside another wrapper
    """
    above: list[type] = []
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecNormalize):
            # Stable-Baselines3 itself adds this wrapper, which changes only observations.
            covers = [k for k in above if env.norm_obs or k is not VecTransposeImage]
            if covers:
                name = covers[-1].__name__
                raise UserError(
                    f"VecNormalize: is wrapped in {name}, and would wrap it once the agent is "
                    f"loaded; expected VecNormalize outermost, as VecNormalize({name}(...))"
                )
        above.append(type(env))
        env = env.venv
