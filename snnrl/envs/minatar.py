"""The five games of MinAtar: simplified Atari games on a 10 x 10 grid."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error, spaces

GAMES = {
    "Asterix": "asterix",
    "Breakout": "breakout",
    "Freeway": "freeway",
    "Seaquest": "seaquest",
    "SpaceInvaders": "space_invaders",
}

EPISODE_STEPS = 10_000
"""Steps after which an episode is truncated: our choice. A perfect policy's would never end."""

CELL = 16
"""Side of a cell in a rendered frame, in pixels."""


def register() -> None:
    """Register the games with gymnasium as ``MinAtar/<Game>-v1``."""
    for name, game in GAMES.items():
        gymnasium.register(
            f"MinAtar/{name}-v1",
            entry_point="snnrl.envs.minatar:MinAtarGame",
            max_episode_steps=EPISODE_STEPS,
            kwargs={"game": game},
        )


class MinAtarGame(gymnasium.Env[np.ndarray, int]):
    """A game as published (Young & Tian 2019, arXiv 1903.03176): sticky actions with probability
    0.1, growing difficulty, the actions that have an effect in the game.

    Observes uint8 ``[C, 10, 10]``, one channel of zeros and ones for each kind of object. All
    randomness comes from ``np_random``. Freeway's limit of 2,500 steps is part of the game: it
    terminates.

    :param game: such as ``space_invaders``
    :param render_mode: ``rgb_array`` or None
    :raises gymnasium.error.DependencyNotInstalled: the package is missing
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(self, game: str, render_mode: str | None = None):
        try:
            from minatar import Environment
        except ImportError as missing:
            raise error.DependencyNotInstalled(
                "needs MinAtar; pip install 'snnrl[minatar]'"
            ) from missing
        self.game = Environment(game, sticky_action_prob=0.1, difficulty_ramping=True)
        self.actions: list[int] = self.game.minimal_action_set()
        rows, columns, channels = self.game.state_shape()
        self.observation_space = spaces.Box(0, 1, (channels, rows, columns), np.uint8)
        self.action_space = spaces.Discrete(len(self.actions))  # type: ignore[assignment]
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        self._share_generator()
        # Otherwise the package would repeat the last episode's action.
        self.game.last_action = 0
        self.game.reset()
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play one frame."""
        self._share_generator()
        reward, terminated = self.game.act(self.actions[action])
        return self._observe(), float(reward), bool(terminated), False, {}

    def render(self) -> np.ndarray:
        """Return the grid as RGB uint8 ``[160, 160, 3]``, with a colour for each kind of object."""
        grid = self._observe()
        frame = np.zeros((*grid.shape[1:], 3), np.uint8)
        for channel, cells in enumerate(grid):
            colour = hsv_to_rgb(channel / len(grid), 0.75, 1.0)
            frame[cells == 1] = np.multiply(colour, 255)
        return frame.repeat(CELL, 0).repeat(CELL, 1)

    def _observe(self) -> np.ndarray:
        grid: np.ndarray = self.game.state()
        return np.ascontiguousarray(grid.transpose(2, 0, 1), np.uint8)

    def _share_generator(self) -> None:
        """Make the game's legacy numpy generator draw from the bits of ``np_random``, which may
        change at any call."""
        generator = np.random.RandomState(self.np_random.bit_generator)
        self.game.random = self.game.env.random = generator
