"""Options and fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from snnrl.experiment.folder import places
from snnrl.nn import registry
from snnrl.nn.registry import Component, names
from snnrl.run_format.names import OWN_RUNS

HERE = Path(__file__).parent

TWO_RUNS = ("env=cartpole", "evaluation.episodes=1", "checkpoint.every=10", "total_steps=30")
OWN_SETTINGS = {"dqn": (), "ppo": ("algo.n_steps=10", "algo.batch_size=5", "critic=spiking")}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        default=str(HERE / "data" / "golden"),
        help="folder of the recordings of published implementations",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow all but ``n`` cases of a test that has the marker ``quick_cases(n)``.

    The name of the test draws them, as a stride could meet one value of a parameter alone.
    """
    cases = defaultdict(list)
    for item in items:
        if item.get_closest_marker("quick_cases") and not item.get_closest_marker("slow"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for name, of_one in cases.items():
        (n,) = of_one[0].get_closest_marker("quick_cases").args
        quick = Random(name).sample(range(len(of_one)), min(n, len(of_one)))
        for i, item in enumerate(of_one):
            if i not in quick:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def _one_thread_no_tracking() -> None:
    os.environ["WANDB_MODE"] = "disabled"
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _forget_compiled_networks(request: pytest.FixtureRequest) -> Iterator[None]:
    """A process compiles a limited number of networks; files of tests together have more."""
    yield
    case = getattr(request.node, "callspec", None)
    names = [] if case is None else [v for v in case.params.values() if isinstance(v, str)]
    if "compile" in names:
        torch._dynamo.reset()


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of two finished runs of 30 steps on CartPole: ``dqn``, and ``ppo``, which normalises
    its observations. To be copied, not changed."""
    from tests.experiment.helpers import folder_of, train

    results = tmp_path_factory.mktemp("two runs")
    settings = {algo: [f"algo={algo}", *TWO_RUNS, *own] for algo, own in OWN_SETTINGS.items()}
    for words in settings.values():
        assert train(results, *words) == 0
    return {algo: folder_of(results, *words).path for algo, words in settings.items()}


@pytest.fixture(autouse=True, scope="session")
def _signals_arrive() -> None:
    """Also under ``nohup`` and in a shell's background, where they are ignored, and what is started
    there ignores them too."""
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(autouse=True)
def _own_runs_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody has trained in this checkout must not decide a test."""
    look = places._of_the_setting
    own = HERE.parent / OWN_RUNS

    def guarded(environment: Path, name: str) -> list[Path]:
        if own in environment.absolute().parents:
            pytest.fail(f"looks for runs in {own}; expected results_dir or another working folder")
        return look(environment, name)

    monkeypatch.setattr(places, "_of_the_setting", guarded)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, type], None]:
    """Make a class a choice in this test: ``registered("neuron", "other", Other)``."""

    def register(kind: str, name: str, cls: type) -> None:
        names(kind)
        monkeypatch.setitem(registry._components[kind], name, Component(name, cls, {}))

    return register


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], dict[str, torch.Tensor]]:
    """Load one recording: name -> tensor (scalars too)."""
    folder = Path(request.config.getoption("--golden-dir"))

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(folder / f"{name}.npz") as arrays:
            return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}

    return load
