"""Repeatable kernels on CUDA: what is set, said and refused, with a stand-in for the device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils import deterministic

from snnrl.errors import UserError
from snnrl.experiment.config import validate as validation
from snnrl.experiment.config.check_repeatable import REPEATABLE, WORKSPACE, check_repeatable
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.config.validate import asks_for_repeatable, validate
from snnrl.experiment.determinism import repeatable_kernels
from snnrl.experiment.reproduction.provenance import collect
from tests.experiment.helpers import folder_of, train


def config(*changes: str) -> Any:
    return compose_config(["env=inverted_pendulum", *changes])


@pytest.fixture(autouse=True)
def variable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The variable is unset, and is again afterwards."""
    monkeypatch.delenv(WORKSPACE, raising=False)
    yield
    os.environ.pop(WORKSPACE, None)


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "resolve_device", lambda device: torch.device("cuda"))


def state() -> tuple[Any, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )


@pytest.mark.parametrize("given", [None, *REPEATABLE])
def test_what_is_set_while_a_run_lasts(
    given: str | None, on_cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is not None:
        monkeypatch.setenv(WORKSPACE, given)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = state()
    with (
        pytest.raises(RuntimeError, match="stop"),
        repeatable_kernels(config("deterministic=true")),
    ):
        assert state() == (True, False, False, True, False)
        assert os.environ[WORKSPACE] == (given or REPEATABLE[0])
        raise RuntimeError("stop")
    assert state() == before


def test_nothing_is_set_without_it(on_cuda: None) -> None:
    before = state()
    with repeatable_kernels(config()):
        assert state() == before and WORKSPACE not in os.environ


def test_on_a_cpu_nothing_is_set_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":0:0")
    cfg, before = config("deterministic=true", "device=cpu", "bn=tab"), state()
    assert not asks_for_repeatable(cfg)
    validate(cfg)
    with repeatable_kernels(cfg):
        assert state() == before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["bn=tab"], "for bn=tab; expected bn=bntt, or deterministic=false"),
        (
            ["critic=spiking", "bn@critic.bn=tab"],
            "for critic.bn=tab; expected critic.bn=bntt, or deterministic=false",
        ),
    ],
)
def test_a_normalisation_without_one_is_refused(changes: list[str], expected: str) -> None:
    with pytest.raises(UserError) as refused:
        check_repeatable(config("deterministic=true", *changes))
    assert str(refused.value) == (
        f"deterministic=true: torch has no repeatable kernel on CUDA {expected}"
    )


@pytest.mark.parametrize("given", [":0:0", "", ":4096:2:16:8"])
def test_another_size_of_workspaces_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, given)
    with pytest.raises(UserError, match=rf"{WORKSPACE}={given} lets .* expected .*=:4096:8, or"):
        check_repeatable(config("deterministic=true"))


@pytest.mark.parametrize("given", [None, *REPEATABLE])
def test_cuda_that_was_used_before_is_refused_unless_the_size_was_set(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    if given is not None:
        monkeypatch.setenv(WORKSPACE, given)
        check_repeatable(config("deterministic=true"))
        return
    with pytest.raises(UserError, match=rf"used CUDA before without {WORKSPACE}; expected"):
        check_repeatable(config("deterministic=true"))


def test_validation_refuses_it(on_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "kernel_for", lambda cfg: "triton")
    monkeypatch.setenv(WORKSPACE, ":0:0")
    validate(config())
    with pytest.raises(UserError, match=r"^deterministic=true: "):
        validate(config("deterministic=true"))


def test_it_is_no_setting_of_what_is_learned() -> None:
    one, other = config(), config("deterministic=true")
    assert settings_hash(one) == settings_hash(other) and label(one) == label(other)
    settings: Any = OmegaConf.to_container(one, resolve=True)
    del settings["deterministic"]
    earlier = OmegaConf.create(settings)
    assert settings_hash(earlier) == settings_hash(other) and not asks_for_repeatable(earlier)


def test_the_record_says_it(tmp_path: Path) -> None:
    assert collect("triton", 1, seed=0, deterministic=True)["deterministic"] is True
    assert train(tmp_path, "algo=td3", "deterministic=true", "device=cpu") == 0
    # On a CPU nothing was set.
    assert folder_of(tmp_path).last_start()["deterministic"] is False
