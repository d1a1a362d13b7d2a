"""One small pass of a component that is not this package's, when it is made.

Its author learns then, in one line, what is wrong with it, and not from a training that fails.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnrl.errors import UserError, describe

PACKAGE = __name__.partition(".")[0]

BATCH, SIDE = 3, 2
"""Inputs of the pass, and height and width of its images in pixels."""


class Kind(NamedTuple):
    """What a kind of component must be.

    :param base: module and name of its base class
    :param method: its ``forward``, as its author has to write it
    """

    base: tuple[str, str]
    method: str


KINDS = {
    "neuron": Kind(("snnrl.nn.neurons", "Neuron"), "forward(x[T, B, N, ...], state=None)"),
    "surrogate": Kind(
        ("snnrl.nn.surrogates", "Surrogate"), "forward(membrane[B, N, ...], threshold, step)"
    ),
    "norm": Kind(("snnrl.nn.norm", "Norm"), "forward(x[T, B, N, ...])"),
    "encoder": Kind(("snnrl.nn.encoders", "Encoder"), "forward(observation[B, D])"),
    "regulation": Kind(("snnrl.nn.regulations", "Regulation"), "forward(rates[L])"),
    "loss": Kind(("snnrl.nn.losses", "LossTerm"), "forward(seen)"),
}


def check_kind(key: str, kind: str, maker: Any) -> None:
    """Check that a class is derived from the base class of its kind.

    :param key: setting that chooses it, with its name
    :param kind: kind of component
    :raises UserError: it is not
    """
    if not isinstance(maker, type) or _is_own(maker):
        return
    module, name = KINDS[kind].base
    if issubclass(maker, getattr(import_module(module), name)):
        return
    raise UserError(f"{key}: is no {name}; expected a class derived from {module}.{name}")


def try_component(
    key: str,
    kind: str,
    maker: Callable[..., nn.Module],
    make: Callable[[], nn.Module],
    context: Mapping[str, Any],
) -> None:
    """Let a component compute small inputs, and check what it returns.

    It is one that is used for nothing else, and random numbers are drawn as if there had been no
    trial. This package's own are not tried.

    :param key: setting that chooses it, with its name
    :param kind: kind of component
    :param maker: its class
    :param make: makes it
    :param context: what comes from the network, whether the class takes it or not
    :raises UserError: it lacks a method, raises an exception, or returns another shape
    """
    if _is_own(maker):
        return
    with torch.random.fork_rng(devices=[]):
        component = make()
        try:
            _TRIALS[kind](_Trial(key, component), context)
        except UserError:
            raise
        except Exception as problem:  # Their code may raise anything.
            raise UserError(f"{key}: {_reason(problem, KINDS[kind].method)}") from problem


class _Trial(NamedTuple):
    """A component and the setting that chooses it."""

    key: str
    component: nn.Module

    def check(self, what: str, found: Any, shape: tuple[int, ...], words: str) -> None:
        """:raises UserError: ``found`` is no tensor of ``shape``"""
        if not isinstance(found, Tensor):
            raise UserError(
                f"{self.key}: forward returned a {type(found).__name__} in a trial; expected "
                f"{what}{words}"
            )
        if tuple(found.shape) != shape:
            raise UserError(
                f"{self.key}: forward returned {what}{list(found.shape)} in a trial; expected "
                f"{words}, which was {list(shape)}"
            )


def _try_neuron(trial: _Trial, context: Mapping[str, Any]) -> None:
    x = _currents(context)
    found = trial.component(x)
    if not (isinstance(found, tuple) and len(found) == 2):
        raise UserError(
            f"{trial.key}: forward returned a {type(found).__name__} in a trial; expected "
            "(spikes, state)"
        )
    trial.check("spikes ", found[0], tuple(x.shape), "[T, B, N, ...] as its input")


def _try_surrogate(trial: _Trial, context: Mapping[str, Any]) -> None:
    membrane = _currents(context)[0]
    found = trial.component(membrane, 0.5, 0)
    trial.check("", found, tuple(membrane.shape), "[B, N, ...] as its input")


def _try_norm(trial: _Trial, context: Mapping[str, Any]) -> None:
    x = _currents(context)
    x = x[:1] if getattr(trial.component, "of_membranes", False) else x
    trial.check("", trial.component(x), tuple(x.shape), "[T, B, N, ...] as its input")


def _try_encoder(trial: _Trial, context: Mapping[str, Any]) -> None:
    time_steps = context["time_steps"]
    frames = time_steps if getattr(trial.component, "takes_time", False) else 1
    low, high = context.get("input_range") or (-1.0, 1.0)
    observation = low + (high - low) * torch.rand(BATCH, frames * context["inputs"])
    features = int(trial.component.features)  # type: ignore[arg-type]
    shape = (time_steps, BATCH, features)
    trial.check("", trial.component(observation), shape, "[T, B, features]")


def _try_regulation(trial: _Trial, context: Mapping[str, Any]) -> None:
    layers = context["layers"]
    trial.check("", trial.component(torch.rand(layers)), (layers,), "[L]")


def _try_loss(trial: _Trial, context: Mapping[str, Any]) -> None:
    seen = trial.component.example()  # type: ignore[operator]
    trial.check("", trial.component(seen), (), "[], a number")


_TRIALS: dict[str, Callable[[_Trial, Mapping[str, Any]], None]] = {
    "neuron": _try_neuron,
    "surrogate": _try_surrogate,
    "norm": _try_norm,
    "encoder": _try_encoder,
    "regulation": _try_regulation,
    "loss": _try_loss,
}


def _currents(context: Mapping[str, Any]) -> Tensor:
    """Return inputs ``[T, B, N, ...]`` of a layer."""
    shape = context["shape"]
    image = (SIDE, SIDE) if shape.is_image else ()
    return torch.randn(shape.time_steps, BATCH, shape.features, *image)


def _is_own(maker: Callable[..., Any]) -> bool:
    """Return whether a class is this package's."""
    return maker.__module__.partition(".")[0] == PACKAGE


def _reason(problem: Exception, method: str) -> str:
    """Return in words why a pass failed, with the last line of the component's author."""
    frames = traceback.extract_tb(problem.__traceback__)
    homes = tuple(str(Path(p.__file__ or "").parent) for p in (torch, import_module(PACKAGE)))
    theirs = [frame for frame in frames if not frame.filename.startswith(homes)]
    if isinstance(problem, NotImplementedError) and frames[-1] not in theirs:
        missing = "forward" if "forward" in frames[-1].name else frames[-1].name
        expected = method if missing == "forward" else f"a method {missing}, which forward calls"
        return f"has no {missing}; expected {expected}"
    where = f", {Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""
    return f"forward fails ({describe(problem)}{where})"
