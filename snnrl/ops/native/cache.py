"""The folder of compiled operators: private to its owner, and every file held against a digest.

What is loaded from here runs as this user. So nobody else may be able to put a file into the
folder, or another folder in its place; and a file that a crash or a disk has damaged must not be
loaded, because a damaged library ends the process with SIGBUS or SIGSEGV.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
import sys
import tempfile
from pathlib import Path

from snnrl.errors import UserError

PATTERN = "operators-*"


def private_folder() -> Path:
    """Make the folder, or find it: ``$XDG_CACHE_HOME/snnrl`` (``~/.cache/snnrl``), mode 0700.

    Where others can change what is in or above it, a folder beside the temporary files is used, and
    a line on stderr says so.

    :raises UserError: there is no home, or neither folder is this user's alone
    :raises OSError: it cannot be made
    """
    usual = _usual_folder()
    why = _claim(usual)
    if why is None:
        return usual
    other = Path(tempfile.gettempdir()) / f"snnrl-{os.geteuid()}"
    if (why_not_other := _claim(other)) is not None:
        raise UserError(
            f"kernel=native: compiled operators are not loaded from where others can write ({why}; "
            f"{why_not_other}); set XDG_CACHE_HOME to a folder of your own, or use kernel=naive"
        )
    print(f"kernel=native: {why}; compiled operators are kept in {other}", file=sys.stderr)
    return other


def is_whole(built: Path) -> bool:
    """Whether a library is as :func:`install` left it, and nobody else's."""
    try:
        status = built.lstat()
        digest = _digest_file(built).read_text()
        regular = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o022
        return regular and status.st_uid == os.geteuid() and digest == _digest(built)
    except (OSError, UnicodeDecodeError):
        return False


def install(compiled: Path, built: Path) -> None:
    """Put a library in its place, with its digest; both outlast a power failure.

    :param compiled: a file in a folder of its own beside ``built``
    :raises OSError: it cannot be written
    """
    digest = _digest_file(compiled)
    digest.write_text(_digest(compiled))
    for file in (compiled, digest):
        file.chmod(0o600)
        _sync(file, os.O_RDONLY)
    # Renaming is atomic: runs that start side by side never load half a file.
    compiled.replace(built)
    digest.replace(_digest_file(built))
    _sync(built.parent, os.O_RDONLY | os.O_DIRECTORY)


def _usual_folder() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "snnrl"
    except RuntimeError as problem:
        raise UserError(
            "kernel=native: there is no home to keep the compiled operators in; set "
            "XDG_CACHE_HOME to a folder, or use kernel=naive"
        ) from problem


def _claim(folder: Path) -> str | None:
    """Make a folder this user's alone.

    :return: why it is not
    """
    if (why := _exposed_above(folder)) is not None:
        return why
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid():
        return f"{folder} belongs to {_user(status.st_uid)}"
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)
        if status.st_mode & 0o022:
            # Made by an earlier version: what is in it may be anybody's.
            for file in folder.glob(PATTERN):
                file.unlink()
    return None


def _exposed_above(folder: Path) -> str | None:
    """Which folder above, through which others could exchange this one."""
    for part in dict.fromkeys([*folder.parents, *folder.resolve().parents]):
        if not part.exists():
            continue
        status = part.stat()
        if status.st_uid not in (0, os.geteuid()):
            return f"{part} belongs to {_user(status.st_uid)}"
        # In a folder with the sticky bit, such as /tmp, only its owner can rename an entry.
        if status.st_mode & stat.S_ISVTX:
            continue
        if status.st_mode & stat.S_IWOTH:
            return f"{part} can be written by all"
        if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
            return f"{part} can be written by its group"
    return None


def _is_own_group(group: int) -> bool:
    """Whether nobody but this user is in a group, as in those that are made with a user."""
    try:
        entry, user = grp.getgrgid(group), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return entry.gr_name == user and set(entry.gr_mem) <= {user}


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digest_file(built: Path) -> Path:
    return built.with_name(f"{built.name}.sha256")


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
