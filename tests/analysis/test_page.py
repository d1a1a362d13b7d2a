from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from snnrl.analysis.grouping import shared_settings
from snnrl.analysis.run_folders import load_run
from snnrl.compare import main
from tests.run_folders import write_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VOID = ("meta", "link", "img")


class Checker(HTMLParser):
    """Collects tags, addresses and text, and asserts that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for bn in ("carebn", "<b>"):
        for seed in range(2):
            write_run(
                folder / f"{bn}-{seed}".replace("<b>", "odd"),
                {0: [0.0, 1.0], 1000: [10.0 * seed, 20.0]},
                seed=seed,
                bn=bn,
                clock={0: 0, 1000: 60},
                errors={0: [0.5], 1000: [0.1]},
            )
    write_run(folder / "failed", {}, seed=9, status="FAILED")
    out = folder / "out"
    assert main([str(folder), "--by", "bn", "--out", str(out)]) == 0
    return out / "comparison.html"


def test_the_page_holds_everything_and_needs_nothing(page: Path) -> None:
    checker = Checker()
    text = page.read_text()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert "script" not in checker.seen
    assert checker.addresses
    assert all(address.startswith("data:") for address in checker.addresses)
    assert not re.search(r"@import|url\(|https?://", text)
    assert checker.seen.count("img") == 4
    assert checker.seen.count("table") == 3
    for part in (
        "grouped by bn.name; baseline: carebn",
        "failed, not in the numbers",
        "P(better): probability",
        f"python -m snnrl.compare {page.parent.parent} --by bn --out",
        "matplotlib",
        "<b>",
    ):
        assert part in checker.text


def test_the_pictures_in_the_page_are_the_files(page: Path) -> None:
    inside = re.findall(r"data:image/png;base64,([^\"]+)", page.read_text())
    files = [page.parent / name for name in ("curves.png", "wall_time.png", "profiles.png")]
    assert [base64.b64decode(data) for data in inside[:3]] == [f.read_bytes() for f in files]


def test_the_page_lists_the_settings_that_all_runs_share(page: Path) -> None:
    _, _, rest = page.read_text().partition("<h2>Settings that all runs share</h2>")
    section, _, _ = rest.partition("<h2>")
    settings = dict(re.findall(r"<li><code>(.*?)</code> (.*?)</li>", section))
    assert settings["algo.batch_size"] == "256"
    assert settings["neuron.name"] == "lif"
    assert settings["total_steps"] == "1000"
    assert settings["seeding"] == "additive"
    assert not {"bn.name", "seed", "results_dir"} & settings.keys()
    assert list(settings) == sorted(settings)


def test_settings_that_are_shared(tmp_path: Path) -> None:
    runs = [
        load_run(write_run(tmp_path / str(seed), {0: [1.0]}, seed=seed, settings=settings))
        for seed, settings in enumerate(
            [
                {"a.same": 1, "a.other": 1, "a.only": 2, "experiment_name": "x", "log_every": 1},
                {"a.same": 1, "a.other": 2, "tracking.name": "none"},
                {"a.same": 1, "a.other": 1, "tracking.name": "none"},
            ]
        )
    ]
    assert {
        k: v for k, v in shared_settings(runs).items() if k.startswith(("a.", "total", "track"))
    } == {
        "a.same": "1",
        "total_steps": "1000",
    }
    alone = shared_settings(runs[:1])
    assert {"a.same", "a.other", "a.only"} <= alone.keys()
    assert not {"experiment_name", "log_every", "seed", "results_dir"} & alone.keys()


def test_shared_settings_are_those_in_use_as_they_are_written(tmp_path: Path) -> None:
    run = load_run(
        write_run(
            tmp_path / "one",
            {0: [1.0]},
            settings={
                "loss.name": "none",
                "regulation.name": "ahsar",
                "critic.bn": None,
                "actor.hidden": [8, 8],
                "algo.joint_pass": True,
            },
        )
    )
    shown = shared_settings([run])
    assert shown["critic.bn"] == "null" and shown["algo.joint_pass"] == "true"
    assert shown["actor.hidden"] == "[8, 8]" and shown["loss.name"] == "none"
    unused = ("critic.bn.", "critic.loss.", "conv.p", "loss.s")
    assert not [key for key in shown if key.startswith(unused)]
    assert {"encoder.std", "seeding"} <= shown.keys()


def console(page: Path, folder: Path) -> tuple[str, str]:
    """What a headless browser says of a page: its log, and the document as it understood it."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser to open the page in: none of {', '.join(BROWSERS)} is installed")
    answer = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1280,1000",
            f"--user-data-dir={folder}",
            "--enable-logging=stderr",
            "--virtual-time-budget=2000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stderr, answer.stdout


@pytest.mark.slow
def test_wide_tables_scroll_and_the_page_does_not(tmp_path: Path) -> None:
    """At 1280 pixels, with names of groups that have no room."""
    settings = {f"algo.a_long_name_of_a_setting_{n}": "a long value of it" for n in range(6)}
    for number in range(4):
        write_run(
            tmp_path / str(number),
            {0: [1e5 + 2e4 * number], 10: [2e5 - 1e4 * number]},
            seed=number,
            settings={**settings, "algo.batch_size": number % 2},
        )
    by = ["--by", "algo.batch_size", *settings]
    assert main([str(tmp_path), *by, "--out", str(tmp_path / "out")]) == 0
    page = tmp_path / "out" / "comparison.html"
    script = """<script>window.onload = () => {
        const wide = [...document.querySelectorAll('.wide')], root = document.documentElement;
        const last = wide.map(w => { w.scrollLeft = 1e6; const cells = w.querySelectorAll('th');
            return cells[cells.length - 1].getBoundingClientRect().right; });
        document.title = JSON.stringify({width: root.clientWidth, page: root.scrollWidth,
            scrolled: wide.map(w => w.scrollLeft), last,
            names: wide.map(w => w.querySelector('td').getBoundingClientRect().left)});
    }</script></body>"""
    measured = tmp_path / "measured.html"
    measured.write_text(page.read_text().replace("</body>", script))
    log, document = console(measured, tmp_path / "browser")
    assert ":CONSOLE" not in log
    found = json.loads(unescape(re.findall("<title>(.*?)</title>", document)[0]))
    assert found["page"] <= found["width"] <= 1280
    assert any(pixels > 0 for pixels in found["scrolled"])
    assert all(right <= found["width"] for right in found["last"])
    # Whose numbers they are still stands beside them.
    assert all(left >= 0 for left in found["names"])


@pytest.mark.slow
def test_a_browser_opens_the_page_without_an_error(page: Path, tmp_path: Path) -> None:
    # Of a page that is broken the browser does tell, or silence would prove nothing.
    broken = tmp_path / "broken.html"
    broken.write_text('<p>Comparison<img src="file:///nowhere.png"><script>missing()</script>')
    log, _ = console(broken, tmp_path / "first")
    assert ":CONSOLE" in log
    # Runs no script of the page's own, but this one of ours counts the pictures that it could show.
    measured = tmp_path / "measured.html"
    count = "[...document.images].filter(i => i.complete && i.naturalWidth > 300).length"
    script = f"<script>window.onload = () => document.title = 'shown ' + {count}</script></body>"
    measured.write_text(page.read_text().replace("</body>", script))
    log, document = console(measured, tmp_path / "second")
    assert ":CONSOLE" not in log
    assert "<title>shown 4</title>" in document
    log, document = console(page, tmp_path / "third")
    assert ":CONSOLE" not in log
    assert "<h1>Comparison of runs</h1>" in document
