"""Start up and learn: ``python -m scripts.bench.get_ready KERNEL DEVICE THREADS``.

:mod:`scripts.bench.ready` times this process.
"""

from __future__ import annotations

import sys

import torch

from scripts.bench.agents import spiking
from scripts.bench.options import Options
from scripts.bench.run import quiet
from scripts.bench.steps import stepper


def main(kernel: str, device: str, threads: int, quick: bool) -> None:
    """Take one gradient step without and one with the actor's update, and one action."""
    quiet()
    torch.set_num_threads(threads)
    agent = spiking("td3", kernel, Options(device=device, quick=quick))
    stepper(agent).timed[""]()
    agent.predict(agent.observation_space.sample())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "quick" in sys.argv)
