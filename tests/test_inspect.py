"""The command that looks inside a trained agent."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from snnrl.agents.base import SpikingAgent
from snnrl.evaluate import main as evaluate
from snnrl.experiment import trained
from snnrl.inspect import main
from snnrl.run_format.done import check_sealed
from tests.analysis.test_page import Checker, console
from tests.experiment.helpers import folder_of, train

SHORT = ["evaluation.episodes=1", "evaluation.max_episode_steps=15", "total_steps=30"]
TD3 = ["env=pendulum", *SHORT, "evaluation.every=15"]
FEW = ["--steps", "20"]
PAGE, FILM = "inspection.html", "inspection.gif"


def finished(folder: Path, settings: list[str]) -> Path:
    assert train(folder, *settings) == 0
    return folder_of(folder, *settings).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("results"), TD3)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "seed-0"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_one_line(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def read(page: Path) -> Checker:
    checker = Checker()
    checker.feed(page.read_text())
    checker.close()
    assert checker.open == []
    assert all(address.startswith("data:") for address in checker.addresses)
    return checker


def needs_pygame() -> None:
    pytest.importorskip("pygame")


def test_a_page_and_a_film(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs_pygame()
    assert main([str(copy), *FEW]) == 0
    out = capsys.readouterr().out
    page = read(copy / PAGE)
    assert page.seen.count("img") == 7
    for part in (
        *("Pendulum-v1, td3-spiking-lif-carebn", "seed 0", "--seed 10000", "layers.1"),
        f"python -m snnrl.inspect {copy} --steps 20",
    ):
        assert part in page.text
    assert "20 steps of 2 episodes, the first one's return " in out
    assert "wrote" in out and str(copy / FILM) in out
    with Image.open(copy / FILM) as film:
        assert film.n_frames == 20 and film.size == (800, 360)
    # The same episode that ``evaluate`` plays.
    found = re.findall(r"the first one's return (\S+)", out)
    assert evaluate([str(copy), "--episodes", "1"]) == 0
    assert f"episode 0: {found[0]} in 15 steps" in capsys.readouterr().out
    check_sealed(copy)


@pytest.mark.slow
def test_the_same_twice_elsewhere_without_a_film(copy: Path, tmp_path: Path) -> None:
    before, out = files(copy), tmp_path / "new" / "place"
    pages = []
    for seed in ("1", "1", "2"):
        asked = ["--film", "none", "--seed", seed, "--out", str(out)]
        assert main([str(copy), "--steps", "7", *asked]) == 0
        pages.append((out / PAGE).read_bytes())
    assert pages[0] == pages[1] != pages[2]
    assert [path.name for path in out.iterdir()] == [PAGE]
    page = read(out / PAGE)
    assert "No film was asked for." in page.text
    assert "7 steps of an episode, return so far" in page.text
    assert files(copy) == before


def breaking(change: Callable[[Any], None]) -> Callable[..., SpikingAgent]:
    """``load_trained`` of agents whose acting network is changed."""
    load = trained.load_trained

    def load_broken(*args: Any, **kwargs: Any) -> SpikingAgent:
        agent = load(*args, **kwargs)
        with torch.no_grad():
            change(agent.acting_network())
        return agent

    return load_broken


def make_dead(network: Any) -> None:
    network.layers[0].norm.gamma.fill_(0)
    network.layers[0].norm.beta[:5] = -5
    network.layers[0].norm.beta[5:] = 0.6


def make_saturated(network: Any) -> None:
    network.layers[1].norm.gamma.fill_(0)
    network.layers[1].norm.beta.fill_(5)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (make_dead, ["layers.0: 5 of 8 neurons never spiked in 7 observations (dead)"]),
        (
            make_saturated,
            [
                "layers.1: 10 of 10 neurons spiked in every time step of 7 observations",
                "layers.1: 0 % of the membrane potentials are inside the surrogate's window",
                "layers.1: the last layer gets no gradient (vanished)",
            ],
        ),
    ],
)
def test_faults_are_named(
    change: Callable[[Any], None],
    words: list[str],
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(trained, "load_trained", breaking(change))
    assert main([str(copy), "--steps", "7", "--film", "none"]) == 0
    printed, page = capsys.readouterr().out, read(copy / PAGE).text
    for line in words:
        assert f"warning: {line}" in printed
        assert line in page


def test_a_run_that_is_not_finished(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "DONE").unlink()
    assert main([str(copy), "--steps", "3", "--film", "none"]) == 0
    assert "the model is that after " in capsys.readouterr().out
    assert "(the run of 30 steps is unfinished)" in read(copy / PAGE).text
    (copy / PAGE).unlink()
    (copy / "model.zip").unlink()
    table = (copy / "progress.csv").read_text().splitlines()
    (copy / "progress.csv").write_text("\n".join(table[:-1]) + "\n" + table[-1])
    assert main([str(copy), "--model", "last"]) == 2
    # The last row is still being written.
    assert_one_line(capsys, "the run is unfinished (15 of 30 steps) and saves it at its end")
    assert not (copy / PAGE).exists()


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "0"], ["--steps 0", "at least 1"]),
        (["--seed", "-1"], ["--seed -1", "at least 0"]),
        (["--film", "avi"], ["--film", "gif", "mp4"]),
        (["--model", "worst"], ["--model", "best"]),
        (["--stepz", "3"], ["--stepz", "--help"]),
    ],
)
def test_mistakes(
    arguments: list[str], words: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(run)
    assert main([str(run), *arguments]) == 2
    assert_one_line(capsys, *words)
    assert files(run) == before


def test_not_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert main([str(folder)]) == 2
        assert_one_line(capsys, str(folder), "config.yaml")
    assert main([]) == 2
    assert_one_line(capsys, "folder")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["env=pendulum", "actor=ann"], ["actor=ann does not spike", "actor=spiking"]),
        (["env=cartpole", "algo=dqn", "actor=ann"], ["actor=ann does not spike"]),
    ],
)
def test_an_ordinary_actor(
    settings: list[str], words: list[str], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder_of(copy, *settings).cfg
    (copy / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    (copy / "DONE").unlink()
    before = files(copy)
    assert main([str(copy)]) == 2
    assert_one_line(capsys, str(copy), *words)
    assert files(copy) == before


def test_no_place_for_the_files(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").write_text("a file")
    assert main([str(copy), "--out", str(tmp_path / "there")]) == 2
    assert_one_line(capsys, f"--out {tmp_path / 'there'}", "expected a folder to write to")
    (copy / FILM).mkdir()
    assert main([str(copy)]) == 2
    assert_one_line(capsys, str(copy / FILM), "is a folder")
    assert not (copy / PAGE).exists()


def test_no_way_to_render(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def render(*_: Any, **__: Any) -> None:
        raise ImportError("cannot load libEGL.so.1\nmore")

    needs_pygame()
    before = files(copy)
    monkeypatch.setattr("gymnasium.wrappers.PassiveEnvChecker.render", render)
    assert main([str(copy), "--steps", "3"]) == 2
    assert_one_line(capsys, "--film", "libEGL.so.1", "apt-get install libegl1", "--film none")
    monkeypatch.setattr("gymnasium.wrappers.PassiveEnvChecker.render", lambda *_: None)
    assert main([str(copy), "--steps", "3"]) == 2
    assert_one_line(capsys, "--film", "render() returned NoneType", "--film none")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert main([str(copy), "--film", "mp4"]) == 2
    assert_one_line(capsys, "--film mp4", "imageio_ffmpeg", "snnrl[video]")
    assert files(copy) == before


def test_an_environment_that_does_not_draw(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gymnasium.envs.classic_control import PendulumEnv

    monkeypatch.setitem(PendulumEnv.metadata, "render_modes", ["human"])
    assert main([str(copy), "--steps", "3"]) == 0
    assert "No film: Pendulum-v1 does not draw pictures." in read(copy / PAGE).text
    assert not (copy / FILM).exists()


def test_an_earlier_page_stays_where_an_inspection_fails(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / PAGE).write_text("earlier")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("snnrl.analysis.inspection.page.to_html", fail)
    assert main([str(copy), "--steps", "3", "--film", "none"]) == 130
    assert (copy / PAGE).read_text() == "earlier"
    assert not list(copy.glob(".*tmp*")) and not (copy / FILM).exists()


IMAGES = [
    *("env=minatar/breakout", "algo=dqn", "algo.learning_starts=10", "algo.buffer_size=100"),
    *SHORT,
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (IMAGES, ["MinAtar/Breakout-v1", "conv.layers.0", "layers.0"]),
        ([*IMAGES, "bn=mpbn"], ["conv.layers.0"]),
        (["env=pendulum", "bn=none", "bn.recalibrate_every=null", *SHORT], ["no normalisation"]),
        (["env=pendulum", "bn=layernorm", "bn.recalibrate_every=null", *SHORT], ["no moving"]),
        (["env=pendulum", "algo=ppo", "algo.n_steps=15", "algo.batch_size=5", *SHORT], []),
        (["env=pendulum", "algo=sac", "neuron=alif", "critic=spiking", *SHORT], []),
        (["env=pendulum", "actor.lateral=intra", "actor.readout=membrane", *SHORT], ["layers.1"]),
        (["env=pendulum", "neuron=circulate_firing", "surrogate=learnable", *SHORT], []),
    ],
    ids=lambda value: None,
)
def test_what_a_run_can_be(settings: list[str], words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    needs_pygame()
    folder = finished(tmp_path, settings)
    assert main([str(folder), *FEW]) == 0
    page = read(folder / PAGE)
    assert page.seen.count("img") == 7
    for word in words:
        assert word in page.text
    with Image.open(folder / FILM) as film:
        assert film.n_frames == 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_a_browser_opens_the_page_without_an_error(
    kind: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_pygame()
    if kind == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    assert main([str(copy), *FEW, "--film", kind]) == 0
    assert (copy / f"inspection.{kind}").stat().st_size > 5_000
    page = copy / PAGE
    log, document = console(page, tmp_path / "first")
    assert ":CONSOLE" not in log and "<h1>A look inside</h1>" in document
    # This script of ours counts the pictures that the browser could show.
    count = """[...document.images].filter(i => i.complete && i.naturalWidth > 300).length
        + [...document.querySelectorAll('video')].filter(v => v.videoWidth == 800).length"""
    script = f"<script>window.onload = () => document.title = 'shown ' + ({count})</script></body>"
    measured = tmp_path / "measured.html"
    measured.write_text(page.read_text().replace("</body>", script))
    log, document = console(measured, tmp_path / "second")
    assert ":CONSOLE" not in log
    assert "<title>shown 7</title>" in document


@pytest.mark.slow
def test_mujoco_draws_the_film(tmp_path: Path) -> None:
    if find_library("EGL") is None and not os.environ.get("DISPLAY"):
        pytest.skip("no library to render with")
    folder = finished(tmp_path, ["env=inverted_pendulum", *SHORT])
    assert main([str(folder), "--steps", "5"]) == 0
    with Image.open(folder / FILM) as film:
        assert film.n_frames == 5
