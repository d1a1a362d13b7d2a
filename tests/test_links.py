"""What a page links to or shows is there, and is in git; its tables are tables."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from snnrl.run_format.names import OWN_RUNS

TOP = Path(__file__).parent.parent
PAGES = [
    *sorted(TOP.glob("*.md")),
    *sorted((TOP / "docs").rglob("*.md")),
    *sorted(p for p in (TOP / "results").rglob("*.md") if TOP / OWN_RUNS not in p.parents),
]
LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def targets(page: Path) -> list[str]:
    """Addresses of a page's links and pictures in this repository."""
    links = LINK.findall(CODE.sub("", page.read_text()))
    return [link for link in links if not re.match(r"\w+:", link)]


def headings(page: Path) -> set[str]:
    """The page's headings as GitHub makes anchors of them."""
    lines = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.M
    )
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_what_is_linked_is_there(page: Path) -> None:
    for target in targets(page):
        address, _, anchor = target.partition("#")
        file = page.parent / unquote(address) if address else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in headings(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_rows_stand_below_a_heading(page: Path) -> None:
    """Without one, after an empty line say, they are shown as a line of text."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert re.match(r"\|.*\n\|[-:| ]+\|\n", table), table[:100]


def test_there_are_links_to_look_at() -> None:
    found = [target for page in PAGES for target in targets(page)]
    assert any(target.endswith(".png") for target in found)
    assert any("#" in target for target in found)
    assert len(found) > 40


def test_nothing_that_is_linked_stays_out_of_git() -> None:
    if not (TOP / ".git").exists():
        pytest.skip("not a checkout of git")
    linked = [
        str((page.parent / unquote(target.partition("#")[0])).resolve().relative_to(TOP))
        for page in PAGES
        for target in targets(page)
        if not target.startswith("#")
    ]
    answer = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=TOP,
        input="\n".join(linked),
        capture_output=True,
        text=True,
    )
    assert answer.stdout == ""
    pictures = subprocess.run(
        ["git", "ls-files", "results"], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [name for name in pictures if re.search(r"/seed-\d+/.*\.(png|pdf|svg|zip)$", name)] == []


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("results/runs/Env-v0/td3-lif-carebn-01234567/seed-0/config.yaml", True),
        ("results/quickstart/Env-v0/td3-lif-carebn-01234567/seed-0/curve.png", True),
        ("results/quickstart/Env-v0/td3-lif-carebn-01234567/seed-0/config.yaml", False),
        ("results/quickstart/curves.png", False),
        ("results/paper/evidence-9/Env-v0/td3-lif-carebn-01234567/seed-0/DONE", False),
    ],
)
def test_what_git_ignores(path: str, ignored: bool) -> None:
    if not (TOP / ".git").exists():
        pytest.skip("not a checkout of git")
    answer = subprocess.run(["git", "check-ignore", "-q", path], cwd=TOP)
    assert (answer.returncode == 0) is ignored
