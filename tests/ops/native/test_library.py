"""How the C++ operators come to be: compiled once, kept, and refused in one line."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from snnrl.errors import UserError
from snnrl.ops.native import cache
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
    (built,) = fresh.glob("*.so")
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


@pytest.fixture(scope="module")
def compiled():
    """A library that is loaded already, and what it holds."""
    return Path(library()._name).read_bytes()


@pytest.fixture
def compilations(compiled, fresh, monkeypatch, tmp_path):
    """Grows by a line whenever operators are compiled, which takes no time here."""
    whole, log = tmp_path / "whole.so", tmp_path / "log"
    whole.write_bytes(compiled)
    log.touch()
    script = (
        f'[ "$1" = --version ] && exit 0; for last; do :; done; echo >> {log}; cp {whole} $last'
    )
    quick = fake_compiler(tmp_path, script)
    monkeypatch.setattr(module, "compiler", lambda: quick)

    def count():
        library.cache_clear()
        library()
        return len(log.read_text())

    return count


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def half(content):
    return content[: len(content) // 2]


def zeroed_tail(content):
    return content[:-4096] + bytes(4096)


def one_bit(content):
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


@pytest.mark.parametrize("damage", [half, zeroed_tail, one_bit, lambda _: b""])
def test_a_damaged_file_is_made_anew_and_never_loaded(damage, compilations, compiled, fresh):
    assert compilations() == 1
    assert compilations() == 1
    (built,) = fresh.glob("*.so")
    built.unlink()  # what is loaded stays as it is
    built.write_bytes(damage(compiled))
    assert compilations() == 2
    assert built.read_bytes() == compiled
    assert compilations() == 2


@pytest.mark.parametrize("digest", [None, b"", b"0" * 64, b"\xff\xfe"])
def test_a_file_without_its_digest_is_made_anew(digest, compilations, fresh):
    assert compilations() == 1
    (beside,) = fresh.glob("*.sha256")
    beside.unlink()
    if digest is not None:
        beside.write_bytes(digest)
    assert compilations() == 2
    assert compilations() == 2


def test_a_file_that_others_could_have_changed_is_made_anew(compilations, fresh):
    compilations()
    (built,) = fresh.glob("*.so")
    assert mode(built) == 0o600
    built.chmod(0o666)
    assert compilations() == 2
    assert mode(built) == 0o600


def test_a_link_in_its_place_is_made_anew(compilations, compiled, fresh, tmp_path):
    compilations()
    (built,) = fresh.glob("*.so")
    elsewhere = tmp_path / "elsewhere.so"
    built.rename(elsewhere)
    built.symlink_to(elsewhere)
    assert compilations() == 2
    assert not built.is_symlink()


def test_it_is_on_the_disk_before_it_has_its_name(compilations, fresh, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle):
        steps.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def renamed(path, target):
        steps.append(f"-> {Path(target).name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    compilations()
    (built,) = (path.name for path in fresh.glob("*.so"))
    digest = f"{built}.sha256"
    assert steps == [built, digest, f"-> {built}", f"-> {digest}", fresh.name]


def test_the_folder_is_its_owner_s_alone(compilations, fresh):
    before = os.umask(0)
    try:
        compilations()
    finally:
        os.umask(before)
    assert mode(fresh) == 0o700
    assert {mode(path) for path in fresh.iterdir()} == {0o600}


@pytest.mark.parametrize(("before", "compiled_again"), [(0o755, 0), (0o775, 1), (0o777, 1)])
def test_the_folder_of_an_earlier_version(before, compiled_again, compilations, fresh):
    compilations()
    fresh.chmod(before)
    assert compilations() == 1 + compiled_again
    assert mode(fresh) == 0o700


@pytest.fixture
def other_place(monkeypatch, tmp_path):
    """Where operators are kept when the usual place is not this user's alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary" / f"snnrl-{os.geteuid()}"


def test_nothing_is_loaded_from_where_others_can_write(
    compilations, compiled, fresh, other_place, monkeypatch, capsys
):
    compilations()
    above = fresh.parent / "above"
    above.mkdir()
    fresh.rename(above / "snnrl")
    monkeypatch.setenv("XDG_CACHE_HOME", str(above))
    above.chmod(0o777)
    capsys.readouterr()
    assert compilations() == 2
    why = f"kernel=native: {above} can be written by all"
    said = f"{why}; compiled operators are kept in {other_place}"
    assert capsys.readouterr().err.splitlines() == [said]
    assert Path(library()._name).parent == other_place
    assert mode(other_place) == 0o700
    assert compilations() == 2
    # A sticky bit keeps others from exchanging what is not theirs.
    above.chmod(0o1777)
    assert compilations() == 2
    assert Path(library()._name).parent == above / "snnrl"


def test_a_group_s_folder(compilations, fresh, other_place, monkeypatch, capsys):
    above = fresh.parent / "above"
    above.mkdir()
    above.chmod(0o770)
    monkeypatch.setenv("XDG_CACHE_HOME", str(above))
    monkeypatch.setattr(cache, "_is_own_group", lambda _: True)
    compilations()
    assert Path(library()._name).parent == above / "snnrl"
    monkeypatch.setattr(cache, "_is_own_group", lambda _: False)
    compilations()
    assert Path(library()._name).parent == other_place
    assert f"{above} can be written by its group" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "members", "own"),
    [("me", [], True), ("me", ["me"], True), ("me", ["me", "her"], False), ("lab", ["me"], False)],
)
def test_a_group_of_one(name, members, own, monkeypatch):
    group = type("Group", (), {"gr_name": name, "gr_mem": members})
    monkeypatch.setattr("grp.getgrgid", lambda _: group)
    monkeypatch.setattr("pwd.getpwuid", lambda _: type("User", (), {"pw_name": "me"}))
    assert cache._is_own_group(1234) is own


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_belongs_to_another(compilations, fresh, other_place, capsys):
    fresh.mkdir(mode=0o700)
    os.chown(fresh, 12345, 12345)
    compilations()
    assert f"{fresh} belongs to user 12345" in capsys.readouterr().err
    assert Path(library()._name).parent == other_place
    os.chown(other_place, 12345, 12345)
    match = r"^kernel=native: compiled operators are not loaded from .*user 12345.*XDG_CACHE_HOME"
    with pytest.raises(UserError, match=match):
        compilations()


@pytest.mark.parametrize("where", ["write_text", "chmod", "replace"])
def test_a_full_disk_leaves_nothing_that_is_loaded(where, compilations, fresh, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, where, full)
        with pytest.raises(UserError, match=r"^kernel=native: .*\(No space left on device\)"):
            compilations()
    assert not list(fresh.glob("*.so"))
    compilations()


def test_no_memory_for_a_compiler(compilations, monkeypatch):
    def none(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "run", none)
    with pytest.raises(UserError, match=r"g\+\+ cannot be run \(Cannot allocate memory\)"):
        compilations()


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


@pytest.mark.slow
def test_importing_compiles_nothing(tmp_path):
    code = "import snnrl.agents, snnrl.ops.native"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"XDG_CACHE_HOME": str(tmp_path), "HOME": "/"}
    )
    assert not Path(tmp_path / "snnrl").exists()
