"""Normalisation of observations for agents that learn from replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from snnrl.errors import UserError
from snnrl.parameters import Above, parameters_of

SHOWN, OBSERVED = "terminal_observation", "original_terminal_observation"
"""Keys of a last observation in the infos: as agents see it, and as it was observed."""


class ObservationNormalizer(VecNormalize):
    """Observations as z-scores by their running mean and standard deviation, clipped.

    The replay buffer holds observations as they were. A minibatch is normalised when it is drawn:
    present and next observations by the statistics of that moment. An agent saves the statistics.

    Stable-Baselines3 takes the last observation of an episode back from its normalised form, which
    may have been clipped. Here it is handed on as it was.

    Source: PopSAN (Tang et al. 2020) and ILC-SAN (Chen et al. 2024), whose code clips at 3. It
    updates the statistics every 50 steps; here it is at each step, as in PPO.

    :param venv: environments that observe floating-point numbers
    :param clip_observations: bound of normalised observations
    :raises UserError: other observations, or a bound that is not a number above 0
    """

    def __init__(self, venv: VecEnv, clip_observations: Annotated[float, Above(0)] = 3.0):
        bound = parameters_of(type(self))["clip_observations"]
        bound.check("clip_observations", clip_observations)
        space = venv.observation_space
        if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            kind = space.dtype if isinstance(space, spaces.Box) else type(space).__name__
            raise UserError(
                f"ObservationNormalizer: observations are {kind}; expected an environment that "
                "observes floating-point numbers"
            )
        super().__init__(venv, norm_reward=False, clip_obs=clip_observations)

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = self.venv.step_wait()
        assert isinstance(observations, np.ndarray)
        self.old_obs, self.old_reward = observations, rewards
        if self.training:
            self.obs_rms.update(observations)
        for info in infos:
            if SHOWN in info:
                info[OBSERVED] = info[SHOWN]
                info[SHOWN] = self.normalize_obs(info[SHOWN])
        return self.normalize_obs(observations), rewards, dones, infos

    def observed(self, infos: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return infos with last observations as they were observed."""
        return [{**info, SHOWN: info[OBSERVED]} if OBSERVED in info else info for info in infos]
