"""Folder of compiled operators: private to its owner, with a digest for every file.

Code loaded from here runs as this user. So nobody else may be able to put a file into the folder,
or replace the folder. A file damaged by a crash or a disk must not be loaded either, because a
damaged library ends the process with SIGBUS or SIGSEGV.
"""

from __future__ import annotations

import atexit
import errno
import grp
import hashlib
import os
import pwd
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from snnrl.errors import UserError

PATTERN = "operators-*"


class _UnfitError(Exception):
    """Reason why operators are not cached in a place."""


def private_folder(name: str) -> Path:
    """Make the folder, or find it: ``$XDG_CACHE_HOME/snnrl`` (``~/.cache/snnrl``), mode 0700.

    Where there is none, or others can change what is in or above it, a folder beside the temporary
    files is used, and where that is somebody else's, one that lasts as long as the process. A line
    on stderr says so.

    :param name: file name of the library that is wanted
    :return: the folder's path, without links
    :raises UserError: none of them is this user's alone
    """
    reasons: list[str] = []
    for place in (_usual_folder, _folder_beside_temporary_files, _folder_of_this_process):
        try:
            folder = _claim(place())
            if not is_whole(folder / name) and not os.access(folder, os.W_OK):
                raise _UnfitError(f"{folder} cannot be written")
        except _UnfitError as unfit:
            reasons.append(str(unfit))
        except OSError as problem:
            reasons.append(f"{problem.filename or 'a folder'} cannot be used ({problem.strerror})")
        else:
            break
    why = "; ".join(dict.fromkeys(reasons))
    advice = "set XDG_CACHE_HOME to a folder of your own"
    if len(reasons) == 3:
        raise UserError(
            f"kernel=native: found no folder for compiled operators that only you can write to "
            f"({why}); {advice}, "
            "or use kernel=naive"
        )
    if len(reasons) == 2:
        print(
            f"kernel=native: {why}; operators are compiled anew in each process; {advice} to keep "
            "them",
            file=sys.stderr,
        )
    elif reasons:
        print(f"kernel=native: {why}; compiled operators are kept in {folder}", file=sys.stderr)
    return folder


def is_whole(built: Path) -> bool:
    """Return whether a library is as :func:`install` wrote it, and owned by this user."""
    try:
        status = built.lstat()
        digest = _digest_file(built).read_text()
        regular = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o022
        return regular and status.st_uid == os.geteuid() and digest == _digest(built)
    except (OSError, UnicodeDecodeError):
        return False


def install(compiled: Path, built: Path) -> None:
    """Install a library with its digest; both survive a power failure.

    :param compiled: a file in a folder of its own beside ``built``
    :raises OSError: it cannot be written
    """
    digest = _digest_file(compiled)
    digest.write_text(_digest(compiled))
    for file in (compiled, digest):
        file.chmod(0o600)
        _sync(file, os.O_RDONLY)
    # Renaming is atomic: runs that start in parallel never load half a file.
    compiled.replace(built)
    digest.replace(_digest_file(built))
    _sync(built.parent, os.O_RDONLY | os.O_DIRECTORY)


def _usual_folder() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "snnrl"
    except RuntimeError as problem:
        raise _UnfitError("there is no home folder for the compiled operators") from problem


def _folder_beside_temporary_files() -> Path:
    folder = Path(tempfile.gettempdir()).absolute() / f"snnrl-{os.geteuid()}"
    if folder.is_symlink():
        raise _UnfitError(f"{folder} is a link")
    return folder


def _folder_of_this_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="snnrl-")).absolute()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _claim(path: Path) -> Path:
    """Make a folder private to this user.

    :return: its path, without links
    :raises _UnfitError: others own it, or could exchange it
    :raises OSError: it cannot be made
    """
    folder = _find(path)
    status = folder.lstat()
    if status.st_uid != os.geteuid():
        raise _UnfitError(f"{folder} belongs to {_user(status.st_uid)}")
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)
        if status.st_mode & 0o022:
            # Made by an earlier version: its contents may be anybody's.
            for file in folder.glob(PATTERN):
                file.unlink()
    return folder


def _find(path: Path) -> Path:
    """Go down to a folder through those above it, and make what is missing.

    Every folder and link on the way is checked before it is followed, so that nobody else can lead
    this user to another folder, neither now nor later.

    :return: its path, without links
    """
    here, ahead = Path(path.anchor), list(reversed(path.parts[1:]))
    links = 0
    while ahead:
        _check_above(here)
        part = ahead.pop()
        if part == "..":
            here = here.parent
            continue
        entry = here / part
        status = _found_or_made(entry)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > 40:  # The limit of Linux.
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            if not _is_trusted(status.st_uid, here):
                raise _UnfitError(f"the link {entry} belongs to {_user(status.st_uid)}")
            target = entry.readlink()
            if target.is_absolute():
                here = Path(target.anchor)
            ahead.extend(reversed([part for part in target.parts if part != target.anchor]))
        elif stat.S_ISDIR(status.st_mode):
            here = entry
        else:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(entry))
    return here


def _found_or_made(entry: Path) -> os.stat_result:
    try:
        return entry.lstat()
    except FileNotFoundError:
        # If another process makes it in the meantime, that is checked below.
        entry.mkdir(mode=0o700, exist_ok=True)
        return entry.lstat()


def _check_above(folder: Path) -> None:
    """Check that others cannot exchange what this user has in a folder.

    :raises _UnfitError: they can
    """
    status = folder.lstat()
    if not _is_trusted(status.st_uid, folder.parent):
        raise _UnfitError(f"{folder} belongs to {_user(status.st_uid)}")
    # In a folder with the sticky bit, such as /tmp, only its owner can rename an entry.
    if status.st_mode & stat.S_ISVTX:
        return
    if status.st_mode & stat.S_IWOTH:
        raise _UnfitError(f"{folder} can be written by all")
    if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
        raise _UnfitError(f"{folder} can be written by its group")


def _is_trusted(owner: int, holder: Path) -> bool:
    """Return whether to follow an owner's entries in a folder: this user's, root's and the
    system's."""
    if owner in (0, os.geteuid()):
        return True
    # In a user namespace the outer root appears as the overflow user, and so does everybody else
    # outside: whoever could have put it there decides.
    return owner == _overflow_user() and not holder.lstat().st_mode & 0o022


def _overflow_user() -> int:
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return 65534


def _is_own_group(group: int) -> bool:
    """Return whether this user is the only member of a group, such as one made with the user."""
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
