"""Damage to run folders: what a crash, a bad disk, another version or a stranger makes of them."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import yaml

from snnrl.run_format.done import seal

LONG = 200_000
DEEP = 5_000

TEXTS = (
    "",
    "null",
    "\x1b]0;owned\x07\x1b[2J",
    "\u202efdp.exe",
    r"$\frac{$",
    "$x$ $",
    "a|b`c`<img src=x onerror=alert(1)>",
    "[x](http://example.org)",
    "../../../../tmp/elsewhere",
    "/etc/passwd",
    "--output=emptied",
    "${oc.env:HOME}",
    "${now:%Y}",
    "a,b",
    "glob(*)",
    "_x",
    "\ud800",
    "=1+1",
    "x:y:z",
    ":",
    "damaged_module:Id-v0",
    "nan",
    "1e400",
    "x" * LONG,
)

VALUES: tuple[Any, ...] = (
    *TEXTS,
    None,
    True,
    -1,
    0,
    3,
    0.5,
    1e308,
    -1e308,
    float("inf"),
    float("nan"),
    10**30,
    10**400,
    [],
    {},
    [[]],
    [1, "x"],
    {"_target_": "os.system", "command": "touch canary"},
    {"name": "none"},
)

CELLS = ("", "x", "nan", "inf", "-inf", "1e308", "-1e308", "9" * 400, "-5", "0.5", "\x1b[1m")


class Damage:
    """One way to damage a folder.

    :param name: what it does, the same for the same random numbers
    :param apply: does it to a folder
    """

    def __init__(self, name: str, apply: Callable[[Path], None]):
        self.name = name
        self.apply = apply

    def __repr__(self) -> str:
        return self.name


def damages(folder: Path, name: str, generator: random.Random, count: int) -> Iterator[Damage]:
    """Yield ``count`` kinds of damage to one file of a folder."""
    file = folder / name
    kinds: list[Callable[[str, random.Random], Damage]] = [_bytes, _bytes, _place]
    if name.endswith((".yaml", ".json")) or name == "DONE":
        kinds += [_document] * 6
    if name.endswith(".csv"):
        kinds += [_cell] * 6
    if name.endswith(".zip"):
        kinds += [_entry] * 4
    assert file.exists(), file
    for _ in range(count):
        yield generator.choice(kinds)(name, generator)


def reseal(folder: Path) -> None:
    """Make ``DONE`` say that all files are as they were."""
    done = json.loads((folder / "DONE").read_text())
    (folder / "DONE").write_text(json.dumps({**done, "files": seal(folder)}))


def _bytes(name: str, generator: random.Random) -> Damage:
    kind = generator.choice(
        ["empty", "half", "cut", "random", "zeros", "flipped", "nul", "longer", "latin", "deep"]
    )
    seed = generator.random()

    def apply(folder: Path) -> None:
        draws = random.Random(seed)
        content = bytearray((folder / name).read_bytes())
        middle = len(content) // 2
        if kind == "empty":
            content = bytearray()
        elif kind == "half":
            content = content[:middle]
        elif kind == "cut":
            content = content[: draws.randrange(len(content) + 1)]
        elif kind == "random":
            content = bytearray(draws.randbytes(len(content)))
        elif kind == "zeros":
            content[middle:] = bytes(len(content) - middle)
        elif kind == "flipped":
            for _ in range(3):
                content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        elif kind == "nul":
            content[middle:middle] = b"\0\0"
        elif kind == "longer":
            content += draws.randbytes(100)
        elif kind == "latin":
            content[middle:middle] = "é".encode("latin-1")
        else:
            content = bytearray(b"[" * DEEP + b"]" * DEEP)
        (folder / name).write_bytes(content)

    return Damage(f"{name}: {kind}", apply)


def _place(name: str, generator: random.Random) -> Damage:
    kind = generator.choice(["folder", "loop", "dangling", "elsewhere", "pipe", "gone"])

    def apply(folder: Path) -> None:
        file = folder / name
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "loop":
            file.symlink_to(file.name)
        elif kind == "dangling":
            file.symlink_to("nowhere")
        elif kind == "pipe":
            os.mkfifo(file)
        elif kind == "elsewhere":
            file.symlink_to("/dev/null")

    return Damage(f"{name}: {kind}", apply)


def _document(name: str, generator: random.Random) -> Damage:
    kind = generator.choice(["value", "value", "value", "value", "gone", "recursive", "aliases"])
    value = generator.choice(VALUES)
    seed = generator.random()

    def apply(folder: Path) -> None:
        file = folder / name
        if kind == "recursive":
            file.write_text("&a {seed: 0, env: *a, algo: [*a, *a]}\n")
            return
        if kind == "aliases":
            levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
            file.write_text("\n".join(["l0: &l0 x", *levels, ""]))
            return
        content = yaml.safe_load(file.read_text())
        places = list(_places(content))
        node, key = random.Random(seed).choice(places)
        if kind == "gone":
            del node[key]
        else:
            node[key] = value
        text = json.dumps(content) if not name.endswith(".yaml") else yaml.safe_dump(content)
        file.write_text(text)

    shown = repr(value)
    return Damage(f"{name}: {kind} {seed:.3f} {shown[:30] if kind == 'value' else ''}", apply)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


def _cell(name: str, generator: random.Random) -> Damage:
    cell = generator.choice([*CELLS, "y" * LONG])
    column = generator.random()
    kind = generator.choice(["one", "one", "all", "header", "repeated", "swapped"])

    def apply(folder: Path) -> None:
        rows = list(csv.reader(io.StringIO((folder / name).read_text())))
        place = int(column * len(rows[0]))
        if kind == "header":
            rows[0][place] = cell
        elif kind == "repeated":
            rows.append(rows[-1])
        elif kind == "swapped":
            rows.reverse()
        else:
            for row in rows[1:] if kind == "all" else rows[-1:]:
                row[place] = cell
        with (folder / name).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    return Damage(f"{name}: {kind} {column:.3f} {cell[:12]!r}", apply)


class Evil:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("canary", "w")


def _entry(name: str, generator: random.Random) -> Damage:
    kind = generator.choice(["gone", "half", "random", "evil", "json"])
    entry = generator.choice(["data", "policy.pth", "policy.pth", "data"])
    value = generator.choice(VALUES)
    seed = generator.random()

    def apply(folder: Path) -> None:
        import torch

        draws = random.Random(seed)
        with ZipFile(folder / name) as zipped:
            entries = {n: zipped.read(n) for n in zipped.namelist()}
        content = entries.pop(entry)
        if kind == "half":
            entries[entry] = content[: len(content) // 2]
        elif kind == "random":
            entries[entry] = draws.randbytes(len(content))
        elif kind == "evil":
            buffer = io.BytesIO()
            torch.save({"evil": Evil()}, buffer)
            entries[entry] = buffer.getvalue()
        elif kind == "json":
            entries[entry] = json.dumps({"num_timesteps": value}).encode()
            entries.setdefault("data", b"{}")
        with ZipFile(folder / name, "w") as zipped:
            for n, text in entries.items():
                zipped.writestr(n, text)

    return Damage(f"{name}: {entry} {kind} {seed:.3f}", apply)


def copied(folder: Path, target: Path) -> Path:
    """A copy of a run folder, to be damaged."""
    return Path(shutil.copytree(folder, target, symlinks=True))
