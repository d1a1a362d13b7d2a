"""How the C++ operators come to be: compiled once, kept, and refused in one line."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from snnrl.errors import UserError
from snnrl.ops.dynamics import OPERATORS
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


@pytest.mark.parametrize(
    "change", [*(str(path.relative_to(OPERATORS)) for path in module.sources()), "flags", "machine"]
)
def test_another_source_or_machine_is_another_file(fresh, monkeypatch, tmp_path, change):
    before = module._fingerprint(module.compiler())
    if change.endswith("pp"):
        changed = tmp_path / "changed"
        changed.write_text((OPERATORS / change).read_text() + "\n")
        paths = [changed if path == OPERATORS / change else path for path in module.sources()]
        monkeypatch.setattr(module, "sources", lambda: paths)
    elif change == "flags":
        monkeypatch.setattr(module, "FLAGS", (*module.FLAGS, "-g"))
    else:
        monkeypatch.setattr(module, "_processor", lambda: "another")
    assert module._fingerprint(module.compiler()) != before


def test_every_file_of_c_is_a_source():
    assert set(module.sources()) == {*OPERATORS.rglob("*.cpp"), *OPERATORS.rglob("*.hpp")}


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


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


@as_root
def test_a_folder_that_belongs_to_another(compilations, fresh, other_place, capsys):
    fresh.mkdir(mode=0o700)
    os.chown(fresh, 12345, 12345)
    compilations()
    assert f"{fresh} belongs to user 12345" in capsys.readouterr().err
    assert Path(library()._name).parent == other_place
    os.chown(other_place, 12345, 12345)
    compilations()
    assert_compiled_for_this_process(other_place)
    said = capsys.readouterr().err
    assert f"{fresh} belongs to user 12345; {other_place} belongs to user 12345; " in said
    assert said.count("\n") == 1
    assert "compiled anew in each process; set XDG_CACHE_HOME" in said


def assert_compiled_for_this_process(other_place):
    folder = Path(library()._name).parent
    assert folder.parent == other_place.parent
    assert folder != other_place
    assert mode(folder) == 0o700


def test_the_folder_of_a_process_goes_with_it(monkeypatch, other_place):
    at_exit = []
    monkeypatch.setattr("atexit.register", lambda *call, **how: at_exit.append((call, how)))
    folder = cache._folder_of_this_process()
    (folder / "operators-1.so").touch()
    (((remove, *what), how),) = at_exit
    remove(*what, **how)
    assert not folder.exists()


@pytest.fixture
def unusable(fresh):
    """A file where the usual folder should be."""
    fresh.write_text("not a folder")
    return fresh


@pytest.mark.parametrize("existing", [True, False])
def test_a_link_beside_the_temporary_files_is_not_followed(
    existing, compilations, unusable, other_place, tmp_path, capsys
):
    elsewhere = tmp_path / "elsewhere"
    if existing:
        elsewhere.mkdir()
        elsewhere.chmod(0o755)
    other_place.symlink_to(elsewhere)
    compilations()
    assert_compiled_for_this_process(other_place)
    assert f"{other_place} is a link" in capsys.readouterr().err
    assert elsewhere.exists() == existing
    assert not existing or (mode(elsewhere) == 0o755 and not list(elsewhere.iterdir()))


@pytest.mark.parametrize("linked", [".cache", ".cache/snnrl"])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("existing", [True, False])
def test_a_link_of_one_s_own(linked, relative, existing, monkeypatch, tmp_path, capsys):
    home, target = tmp_path / "home", tmp_path / "scratch" / "me"
    link = home / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(target, link.parent) if relative else target)
    if existing:
        target.mkdir(parents=True)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(home))
    folder = cache.private_folder("operators-1.so")
    assert folder == (target if linked.endswith("snnrl") else target / "snnrl")
    assert mode(folder) == 0o700
    assert capsys.readouterr().err == ""


def test_a_link_that_leads_to_itself(fresh, other_place, capsys):
    fresh.symlink_to(fresh)
    assert cache.private_folder("operators-1.so") == other_place
    assert "symbolic links" in capsys.readouterr().err


@as_root
def test_a_link_that_belongs_to_another(monkeypatch, tmp_path, other_place, capsys):
    (tmp_path / "target").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    monkeypatch.setenv("XDG_CACHE_HOME", str(link))
    os.lchown(link, 12345, 12345)
    assert cache.private_folder("operators-1.so") == other_place
    assert f"the link {link} belongs to user 12345" in capsys.readouterr().err
    assert not list((tmp_path / "target").iterdir())


@as_root
@pytest.mark.parametrize(
    ("holder", "above", "trusted"),
    [(0o755, 0o755, True), (0o755, 0o1777, True), (0o755, 0o757, False), (0o1777, 0o755, False)],
)
@pytest.mark.parametrize("overflow", [65534, 12345])
def test_the_system_s_folders_in_a_user_namespace(
    holder, above, trusted, overflow, monkeypatch, tmp_path, other_place
):
    monkeypatch.setattr(cache, "_overflow_user", lambda: overflow)
    folder = tmp_path / "holder" / "above"
    folder.mkdir(parents=True)
    folder.chmod(above)
    folder.parent.chmod(holder)
    os.chown(folder, overflow, overflow)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    expected = folder / "snnrl" if trusted else other_place
    assert cache.private_folder("operators-1.so") == expected


@as_root
def test_a_folder_of_the_overflow_user_is_not_one_s_own(fresh, other_place):
    fresh.mkdir(mode=0o700)
    os.chown(fresh, cache._overflow_user(), 0)
    assert cache.private_folder("operators-1.so") == other_place


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_missing_folders_are_made_private(umask, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cache, "_is_own_group", lambda _: False)
    before = os.umask(umask)
    try:
        places = [cache.private_folder("operators-1.so") for _ in range(2)]
    finally:
        os.umask(before)
    assert places == [tmp_path / "home" / ".cache" / "snnrl"] * 2
    assert {mode(folder) for folder in [places[0], *places[0].parents[:2]]} == {0o700}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_home_in_which_nothing_can_be_made(number, monkeypatch, tmp_path, other_place, capsys):
    home = tmp_path / "home"
    home.mkdir()
    mkdir = Path.mkdir

    def refused(path, *args, **kwargs):
        if home in path.parents:
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refused)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(home))
    assert cache.private_folder("operators-1.so") == other_place
    why = f"{home / '.cache'} cannot be used ({os.strerror(number)})"
    said = f"kernel=native: {why}; compiled operators are kept in {other_place}\n"
    assert capsys.readouterr().err == said


def test_a_folder_that_has_become_read_only(compilations, fresh, other_place, monkeypatch, capsys):
    compilations()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, how: path != fresh and access(path, how))
    assert compilations() == 1  # what it holds is still good
    for file in fresh.glob("*.sha256"):
        file.unlink()
    assert compilations() == 2
    assert Path(library()._name).parent == other_place
    assert f"{fresh} cannot be written" in capsys.readouterr().err


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


def test_no_home(monkeypatch, other_place, capsys):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nowhere():
        raise RuntimeError("no home")

    monkeypatch.setattr(module.Path, "home", nowhere)
    assert cache.private_folder("operators-1.so") == other_place
    assert capsys.readouterr().err.startswith("kernel=native: there is no home ")


def test_a_file_where_the_folder_should_be(unusable, other_place, capsys):
    assert cache.private_folder("operators-1.so") == other_place
    assert f"{unusable} cannot be used (Not a directory)" in capsys.readouterr().err


def test_no_folder_at_all(unusable, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(unusable))
    library.cache_clear()
    with pytest.raises(UserError, match=r"^kernel=native: found no folder .*CACHE_HOME.*naive$"):
        library()


def test_temporary_files_that_others_can_exchange(unusable, other_place):
    other_place.parent.chmod(0o777)
    match = rf"^kernel=native: found no folder .*; {other_place.parent} can be written by all\)"
    with pytest.raises(UserError, match=match):
        cache.private_folder("operators-1.so")


@pytest.mark.slow
def test_importing_compiles_nothing(tmp_path):
    code = "import snnrl.agents, snnrl.ops.native"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"XDG_CACHE_HOME": str(tmp_path), "HOME": "/"}
    )
    assert not Path(tmp_path / "snnrl").exists()
