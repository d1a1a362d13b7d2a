"""Training examples as a vectorised environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from snnrl.data.sets import DataSet


class DataStream(VecEnv):
    """Minibatches of a data set's training examples, as parallel environments whose episodes have
    one step.

    Each environment shows an input; the reward is 1 for its class as the action. Examples come in
    an order that is drawn anew for each pass over them; a minibatch may begin in one pass and end
    in the next.

    :param data: the data set
    :param batch_size: examples of a minibatch
    :param generator: draws the orders
    """

    only_between_episodes = False
    obstacle: str | None = None
    time_limit = 1
    render_mode: str | None = None

    def __init__(self, data: DataSet, batch_size: int, generator: np.random.Generator):
        self.data = data
        self.generator = generator
        self._begin_pass()
        super().__init__(batch_size, data.observation_space, data.action_space)
        self._batch = self._next_batch()

    def reset(self) -> VecEnvObs:
        """Return the inputs of the present minibatch, ``[B, ...]``."""
        inputs: np.ndarray = self.data.train.inputs[self._batch]
        return inputs

    @property
    def labels(self) -> np.ndarray:
        """Return the classes of the present minibatch, ``[B]``."""
        labels: np.ndarray = self.data.train.labels[self._batch]
        return labels

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the guessed classes ``[B]``."""
        self._guesses = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Return the next minibatch, and rewards for the guesses of the last one."""
        rewards = (self._guesses == self.labels).astype(np.float32)
        self._batch = self._next_batch()
        ends = np.ones(self.num_envs, dtype=bool)
        return self.reset(), rewards, ends, [{} for _ in range(self.num_envs)]

    def sample(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Return ``n`` inputs, drawn with replacement.

        :param generator: draws them; the stream's own order does not move
        """
        inputs = self.data.train.inputs
        return inputs[generator.integers(len(inputs), size=n)]

    def get_state(self) -> dict[str, Any]:
        """Return what the rest of the stream depends on."""
        return {
            "order": self._order,
            "position": self._position,
            "batch": self._batch,
            "generator": self.generator.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> str | None:
        """Continue where :meth:`get_state` was.

        :return: why that is impossible; ``None``: it is done
        """
        if len(state["order"]) != len(self.data.train.labels):
            return (
                f"the data set has {len(self.data.train.labels)} training examples and had "
                f"{len(state['order'])}"
            )
        self._order, self._position = state["order"], state["position"]
        self._batch = state["batch"]
        self.generator.bit_generator.state = state["generator"]
        return None

    def close(self) -> None:
        """Do nothing: the examples are in memory."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute; all environments are one."""
        return [getattr(self, attr_name)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method; all environments are one."""
        return [getattr(self, method_name)(*args, **kwargs)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return that nothing is wrapped."""
        return [False] * self.num_envs

    def _begin_pass(self) -> None:
        self._order = self.generator.permutation(len(self.data.train.labels))
        self._position = 0

    def _next_batch(self) -> np.ndarray:
        """Return the numbers of the next examples, ``[B]``."""
        parts, missing = [], self.num_envs
        while missing:
            if self._position == len(self._order):
                self._begin_pass()
            part = self._order[self._position : self._position + missing]
            parts.append(part)
            self._position += len(part)
            missing -= len(part)
        return np.concatenate(parts)
