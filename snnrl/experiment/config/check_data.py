"""Check that the network fits the data set."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from snnrl.data import DataSet, load_data
from snnrl.errors import UserError
from snnrl.experiment.config.check_spaces import check_widths
from snnrl.experiment.config.choices import convolutions, spiking_parts
from snnrl.nn.convolution import convolved_shapes
from snnrl.nn.encoders import encoders_of_images


def data_of(cfg: DictConfig) -> DataSet:
    """Return the data set of a configuration.

    :raises UserError: it is not there, or has other examples than the configuration says
    """
    root = OmegaConf.select(cfg, "data.root")
    return load_data(cfg.data.name, root, cfg.data.examples)


def check_data(cfg: DictConfig) -> None:
    """Load the data set, and check that the network can read its inputs.

    :raises UserError: it is not there, or the network cannot
    """
    data = data_of(cfg)
    check_widths(cfg, data.action_space)
    shape = data.observation_space.shape
    if cfg.conv.name == "none":
        return
    if spiking_parts(cfg):
        fitting = encoders_of_images()
        if cfg.encoder.name not in fitting:
            raise UserError(
                f"encoder={cfg.encoder.name}: takes a vector of numbers, and conv={cfg.conv.name} "
                f"images; expected encoder={' or encoder='.join(fitting)}, or conv=none"
            )
    convolved_shapes(shape, **convolutions(cfg.conv))
