"""Check that the network fits the data set."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from snnrl.data import DataSet, load_data
from snnrl.errors import UserError
from snnrl.experiment.config.check_spaces import check_widths
from snnrl.experiment.config.choices import convolutions, spiking_parts
from snnrl.nn.convolution import convolved_shapes
from snnrl.nn.encoders import encoders_of_images, shape_of_step, takes_time


def data_of(cfg: DictConfig) -> DataSet:
    """Return the data set of a configuration.

    :raises UserError: it is not there, or has other examples than the configuration says
    """
    arguments: Any = OmegaConf.to_container(cfg.data, resolve=True)
    return load_data(**arguments)


def check_data(cfg: DictConfig) -> None:
    """Load the data set, and check that the network can read its inputs.

    :raises UserError: it is not there, or the network cannot
    """
    _check_steps(cfg)
    _check_convolved(cfg)
    data = data_of(cfg)
    check_widths(cfg, data.action_space)
    shape = data.observation_space.shape
    if spiking_parts(cfg):
        shape = shape_of_step(cfg.encoder.name, shape, cfg.actor.time_steps)
    if cfg.conv.name != "none":
        convolved_shapes(shape, **convolutions(cfg.conv))


def _check_convolved(cfg: DictConfig) -> None:
    """Refuse convolutions behind an encoder of vectors, before the data set is read."""
    if cfg.conv.name == "none" or not spiking_parts(cfg) or takes_time(cfg.encoder.name):
        return
    fitting = encoders_of_images()
    if cfg.encoder.name not in fitting:
        raise UserError(
            f"encoder={cfg.encoder.name}: takes a vector of numbers, and conv={cfg.conv.name} "
            f"images; expected encoder={' or encoder='.join(fitting)}, or conv=none"
        )


def _check_steps(cfg: DictConfig) -> None:
    """Refuse another number of frames than of time steps, and convolutions of frames without
    spikes, before the data set is read."""
    frames = OmegaConf.select(cfg, "data.frames")
    if frames is None:
        return
    if not spiking_parts(cfg):
        if cfg.conv.name != "none":
            raise UserError(
                f"conv={cfg.conv.name}: an ordinary network convolves images, and data="
                f"{cfg.data.name} shows frames; expected conv=none, or actor=spiking"
            )
    elif frames != cfg.actor.time_steps:
        raise UserError(
            f"data.frames={frames}: actor.time_steps is {cfg.actor.time_steps}; expected as many"
        )
