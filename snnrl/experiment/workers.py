"""Parallel training environments, each in a process with random generators of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import SubprocVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from snnrl.experiment.mistakes import Reporting, raise_mistake
from snnrl.seeds import (
    SEEDINGS,
    Independent,
    child_seed,
    global_states,
    restore_global_states,
)

MakeEnv = Callable[[], gymnasium.Env[Any, Any]]


class Workers(SubprocVecEnv):
    """Stable-Baselines3's ``SubprocVecEnv`` with independent randomness in each process.

    There, environment ``i`` of seed ``s`` starts like environment ``i - 1`` of seed ``s + 1``, and
    Python's, numpy's and torch's global generators are the same or unseeded in all processes.
    ``reset`` and ``step`` raise :class:`UserError` where an environment did.

    :param make: makes one environment, which has ``get_state`` and ``set_state``
    :param count: how many
    :param seed: the run's: global generators follow from it and the process's number
    :param seeding: how the environments' seeds follow from the one of :meth:`seed`
    :param preloaded: modules that are imported once for all processes
    """

    def __init__(
        self,
        make: MakeEnv,
        count: int,
        seed: int,
        seeding: Independent = SEEDINGS["independent"],
        preloaded: Sequence[str] = (),
    ):
        self.seeding = seeding
        multiprocessing.set_forkserver_preload(list(preloaded))
        own = [child_seed(seed, "worker", rank) for rank in range(count)]
        super().__init__([_apart(make, number) for number in own], start_method="forkserver")

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Set the seed of each environment's next reset.

        :param seed: the run's; ``None`` draws one
        """
        first = super().seed(seed)[0]
        assert first is not None
        self._seeds = [self.seeding.environment(first, index) for index in range(self.num_envs)]
        return self._seeds

    def reset(self) -> VecEnvObs:
        """As Stable-Baselines3's."""
        observations = super().reset()
        raise_mistake(self.reset_infos)
        return observations

    def step_wait(self) -> VecEnvStepReturn:
        """As Stable-Baselines3's."""
        result = super().step_wait()
        raise_mistake([*result[3], *self.reset_infos])
        return result


class WithGlobalGenerators(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps the process's global generators with the environment's state."""

    def get_state(self) -> dict[str, Any] | None:
        """Return the state of both; ``None`` where the environment has none."""
        state = self.env.get_wrapper_attr("get_state")()
        return None if state is None else {"env": state, "generators": global_states()}

    def set_state(self, state: Any) -> str | None:
        """Put both into that state; the generators come last, as the environment may draw.

        :param state: without generators where an earlier version wrote it
        :return: why it could not be
        """
        parts = state if isinstance(state, dict) else {"env": state}
        reason: str | None = self.env.get_wrapper_attr("set_state")(parts["env"])
        if "generators" in parts:
            restore_global_states(parts["generators"])
        return reason


def _apart(make: MakeEnv, seed: int) -> MakeEnv:
    """Make the environment in a process group of its own: a signal to the run's (Ctrl-C) must
    leave it alive, because the run still has to save its state."""

    def make_apart() -> gymnasium.Env[Any, Any]:
        os.setpgid(0, 0)
        set_random_seed(seed)
        return Reporting(WithGlobalGenerators(make()))

    return make_apart
