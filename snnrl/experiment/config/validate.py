"""Checks of a whole configuration, before anything is made of it."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config.check_data import check_data
from snnrl.experiment.config.check_repeatable import check_repeatable
from snnrl.experiment.config.check_settings import check_settings
from snnrl.experiment.config.check_spaces import check_environment
from snnrl.experiment.config.choices import classifies, normalisations, spiking_parts
from snnrl.nn.lateral import check_effect
from snnrl.nn.layers import has_fused
from snnrl.nn.registry import build
from snnrl.ops.backend import resolve_kernel


def validate(cfg: DictConfig) -> None:
    """Check one composed configuration.

    :raises UserError: the first setting that does not fit, named by its key
    """
    check_settings(cfg)
    _check_encoder(cfg)
    if cfg.actor.name == "spiking":
        actor = cfg.actor
        check_effect(actor.lateral, actor.time_steps, actor.population, prefix="actor.")
    _check_regulation(cfg)
    _check_loss(cfg)
    kernel_for(cfg)
    if asks_for_repeatable(cfg):
        check_repeatable(cfg)
    if classifies(cfg):
        check_data(cfg)
    else:
        check_environment(cfg)


def kernel_for(cfg: DictConfig) -> str:
    """Return the kernel that computes the networks of this configuration: see
    :func:`resolve_kernel`.

    :raises UserError: the device is missing, or the kernel cannot run on it
    """
    device = str(resolve_device(cfg.device))
    norms = [bn.name for bn in normalisations(cfg).values()]
    neuron, surrogate = (_as_spec(cfg[group]) for group in ("neuron", "surrogate"))
    fused = has_fused(neuron, surrogate, norms)
    return resolve_kernel(cfg.kernel.name, device, cfg.total_steps, fused)


def asks_for_repeatable(cfg: DictConfig) -> bool:
    """Return whether torch is to use only repeatable kernels; on a CPU all are.

    :raises UserError: the device is missing
    """
    # Runs of earlier versions have no such setting.
    return bool(cfg.get("deterministic")) and resolve_device(cfg.device).type == "cuda"


def _check_encoder(cfg: DictConfig) -> None:
    """Refuse numbers of time steps in which the encoder cannot code."""
    encoder = _as_spec(cfg.encoder)
    for part in spiking_parts(cfg).values():
        build("encoder", encoder, inputs=1, time_steps=part.time_steps)


def _check_regulation(cfg: DictConfig) -> None:
    """Refuse parameters that a regulation cannot have together."""
    for place, part in (("", cfg), ("critic.", cfg.critic)):
        node = part.get("regulation")
        if node is None or node.name == "none":
            continue
        try:
            build("regulation", _as_spec(node), layers=1)
        except UserError as problem:
            raise UserError(f"{place}{problem}") from None


def _check_loss(cfg: DictConfig) -> None:
    """Refuse loss terms that cannot be made, or of the user's own that are no number."""
    for node in (cfg.loss, cfg.critic.get("loss")):
        if node is not None and node.name != "none":
            build("loss", _as_spec(node))


def _as_spec(component: DictConfig) -> Any:
    return OmegaConf.to_container(component)


def resolve_device(device: str) -> torch.device:
    """Return the device; ``auto`` is the GPU if there is one.

    :raises UserError: not a device, or this machine does not have it
    """
    try:
        has_gpu = torch.cuda.is_available()
        found = torch.device(("cuda" if has_gpu else "cpu") if device == "auto" else device)
    except RuntimeError:
        raise UserError(f"device={device}: expected auto, cpu, cuda or cuda:N") from None
    if found.type not in ("cpu", "cuda"):
        raise UserError(f"device={device}: expected auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= count:
        raise UserError(f"device={device}: this machine has {count} CUDA devices; use device=cpu")
    return found
