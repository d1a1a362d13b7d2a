"""How the C++ operators come to be: compiled once, kept, and refused in one line."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from snnrl.errors import UserError
from snnrl.ops.native import library as module
from snnrl.ops.native.library import library


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache; the process forgets what it has loaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    yield tmp_path / "snnrl"
    library.cache_clear()


def fake_compiler(folder, script):
    path = folder / "g++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_is_built_once_and_kept(fresh, monkeypatch):
    library()
    (built,) = fresh.iterdir()
    made = built.stat().st_mtime_ns
    library.cache_clear()
    monkeypatch.setattr(module, "_build", lambda *_: pytest.fail("compiled again"))
    library()
    assert built.stat().st_mtime_ns == made


@pytest.mark.parametrize("change", ["source", "flags", "processor"])
def test_another_source_or_machine_is_another_file(fresh, monkeypatch, tmp_path, change):
    before = module._fingerprint(module.compiler())
    if change == "source":
        changed = tmp_path / "operators.cpp"
        changed.write_text(module.SOURCE.read_text() + "\n")
        monkeypatch.setattr(module, "SOURCE", changed)
    elif change == "flags":
        monkeypatch.setattr(module, "FLAGS", (*module.FLAGS, "-g"))
    else:
        monkeypatch.setattr(module, "_processor", lambda: "another")
    assert module._fingerprint(module.compiler()) != before


def test_no_compiler(fresh, monkeypatch):
    monkeypatch.setattr(module, "compiler", lambda: None)
    with pytest.raises(UserError, match=r"^kernel=native: needs a C\+\+ compiler.*kernel=naive$"):
        library()


def test_a_compiler_that_fails_leaves_nothing(fresh, monkeypatch, tmp_path):
    broken = fake_compiler(tmp_path, '[ "$1" = --version ] && exit 0; echo no room >&2; exit 1')
    monkeypatch.setattr(module, "compiler", lambda: broken)
    with pytest.raises(UserError, match=r"^kernel=native: .* failed \(no room\).*kernel=naive$"):
        library()
    assert list(fresh.iterdir()) == []


@pytest.mark.slow
def test_half_a_file_is_made_anew(fresh):
    fresh.mkdir()
    built = fresh / f"operators-{module._fingerprint(module.compiler())}.so"
    built.write_bytes(b"half a file")
    library()
    assert built.stat().st_size > 10_000


def test_a_compiler_that_cannot_even_say_its_version(fresh, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "compiler", lambda: fake_compiler(tmp_path, "exit 1"))
    with pytest.raises(UserError, match=r"^kernel=native: .* --version failed"):
        library()


def test_no_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nowhere():
        raise RuntimeError("no home")

    monkeypatch.setattr(module.Path, "home", nowhere)
    library.cache_clear()
    with pytest.raises(UserError, match=r"^kernel=native: there is no home .*XDG_CACHE_HOME"):
        library()
    library.cache_clear()


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "snnrl").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    with pytest.raises(UserError, match=r"^kernel=native: .*cannot be written.*XDG_CACHE_HOME"):
        library()
    library.cache_clear()


def test_importing_compiles_nothing(tmp_path):
    code = "import snnrl.agents, snnrl.ops.native"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"XDG_CACHE_HOME": str(tmp_path), "HOME": "/"}
    )
    assert not Path(tmp_path / "snnrl").exists()
