"""Settings that a command line gives and that change nothing, though nothing is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from omegaconf import DictConfig

from snnrl.experiment.config.choices import classifies, on_policy, spiking_parts

OF_SPIKES = ("neuron", "surrogate", "encoder")
"""Groups of which only spiking networks are made."""


def without_effect(cfg: DictConfig, overrides: Iterable[str]) -> Iterator[str]:
    """Yield a line for each such setting.

    They are not refused: a preset of a spiking network with ``actor=ann`` is a baseline, and a
    small replay buffer an experiment.

    :param cfg: the composed configuration
    :param overrides: its command line
    """
    if not spiking_parts(cfg):
        for text in overrides:
            if text.lstrip("+").partition("=")[0].partition(".")[0] in OF_SPIKES:
                yield f"{text}: has no effect, as nothing spikes with actor={cfg.actor.name}"
    replays = not classifies(cfg) and not on_policy(cfg)
    if replays and cfg.algo.buffer_size < cfg.algo.batch_size:
        yield (
            f"algo.buffer_size={cfg.algo.buffer_size}: fewer transitions than a minibatch has, "
            f"algo.batch_size={cfg.algo.batch_size}, so every minibatch repeats some"
        )
