"""Environments in which a run fails, or is killed, as long as a file says so.

Their ids are ``tests.sweep_envs:<name>-v0``; the file is named by ``SNNRL_TEST_TROUBLE``.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from tests.envs import Follow

AT_STEP = 70
"""Later than any evaluation or trial of a small run gets, so that it is training that stops."""


class Trouble(Follow):
    """``Follow`` until step 70 of its life.

    :param kind: what happens there: ``fail``, ``kill`` or nothing
    """

    def __init__(self, kind: str = ""):
        super().__init__()
        self.kind = kind
        self.taken = 0

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.taken += 1
        if self.taken == AT_STEP and Path(os.environ["SNNRL_TEST_TROUBLE"]).exists():
            if self.kind == "fail":
                raise ArithmeticError("trouble")
            if self.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


for name, kind in (("Sound", ""), ("Failing", "fail"), ("Killed", "kill")):
    gym.register(f"{name}-v0", entry_point="tests.sweep_envs:Trouble", kwargs={"kind": kind})
