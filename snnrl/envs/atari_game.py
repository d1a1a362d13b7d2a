"""Atari game whose randomness comes from gymnasium's generator alone."""

from __future__ import annotations

from typing import Any

from ale_py import ALEInterface, LoggerMode
from ale_py.env import AtariEnv
from gymnasium.utils import EzPickle

NOOP = 0
"""The first action of every game."""

INEXACT = ("tic_tac_toe_3d", "yars_revenge")
"""Games that continue differently from a restored emulator state."""


class AtariGame(AtariEnv):
    """``ale_py.AtariEnv``, with the sticky actions drawn from ``np_random``.

    In each frame the previous frame's action is repeated with probability
    ``repeat_action_probability`` (Machado et al. 2018, https://doi.org/10.1613/jair.5699). The
    emulator would do this with its own generator, which starts every episode alike until it is
    seeded again. A restored emulator has also forgotten which action it repeats.

    :param game: such as ``space_invaders``
    :param repeat_action_probability: probability in each frame
    :param frameskip: frames per action
    :param options: those of ``AtariEnv``
    """

    # A video shows one frame per step: every fourth of the console's sixty per second.
    metadata = {**AtariEnv.metadata, "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        game: str,
        repeat_action_probability: float = 0.25,
        frameskip: int = 4,
        **options: Any,
    ):
        # Each emulator prints a banner to stderr.
        ALEInterface.setLoggerMode(LoggerMode.Error)
        super().__init__(game, repeat_action_probability=0.0, frameskip=1, **options)
        # AtariEnv is copied by its constructor's arguments: keep ours.
        EzPickle.__init__(self, game, repeat_action_probability, frameskip, **options)
        self.game = game
        self.repeat_action_probability = repeat_action_probability
        self.frames = frameskip
        self.last_action: Any = NOOP

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Any]:
        """Start an episode; there is no action before its first frame."""
        self.last_action = NOOP
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        """Play ``frameskip`` frames, or fewer if the episode ends."""
        total = 0.0
        for _ in range(self.frames):
            if self.np_random.random() >= self.repeat_action_probability:
                self.last_action = action
            observation, reward, terminated, truncated, info = super().step(self.last_action)
            total += reward
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info

    def state_dict(self) -> dict[str, Any]:
        """Return all state that changes.

        :raises TypeError: the emulator's state of this game is not enough to resume from
        """
        if self.game in INEXACT:
            raise TypeError(f"{self.game}: has no exact state")
        return {
            "emulator": self.ale.cloneState(include_rng=True),
            "np_random": self.np_random,
            "last_action": self.last_action,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the output of :meth:`state_dict`."""
        # The emulator's state lacks its position within a frame, and a reset does not change it.
        self.ale.reset_game()
        if state["emulator"].getEpisodeFrameNumber() > 0:
            self.ale.act(NOOP)
        self.ale.restoreState(state["emulator"])
        self.np_random = state["np_random"]
        self.last_action = state["last_action"]
