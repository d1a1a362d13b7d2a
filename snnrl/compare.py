"""``python -m snnrl.compare <folders>``: runs side by side, as curves and as a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from snnrl.analysis.plots import plot_curves, plot_statistics_error
from snnrl.analysis.report import make_notes, make_table, to_csv, to_markdown, to_text
from snnrl.analysis.runs import NOT_SETTINGS, Run, find_runs
from snnrl.errors import UserError, nearest

# The environment has its own panel.
ENVIRONMENT = ("env.id",)
# The order in which a name is the better one to tell groups apart by.
CHOICES = ("algo.name", "actor.name", "neuron.name", "bn.name")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: arguments; the process's if not given
    :return: exit status: 0, or 2 for the user's mistake
    """
    arguments = _parser().parse_args(argv)
    try:
        print(compare(arguments.folders, arguments.by, arguments.out))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def compare(folders: Iterable[str | Path], by: Sequence[str] | None, out: str | Path) -> str:
    """Write curves and table of all runs at or below the folders.

    :param by: configuration keys that make a group, :func:`grouping_keys` if None
    :param out: folder for ``curves.png``, ``statistics_error.png``, ``table.md``, ``table.csv``
    :return: the table as text, its notes and the files written
    :raises UserError: a folder without runs, an unreadable run, an unknown key, an ``out`` that
        cannot be written
    """
    runs = find_runs(folders)
    keys = grouping_keys(runs) if by is None else [_resolve(key, runs) for key in by]
    groups = group_runs(runs, keys)
    table = make_table(groups)
    notes = [*make_notes(groups), *_pooling_notes(groups)]
    written = _write(groups, Path(out), to_markdown(table, notes), to_csv(table))
    files = "\n".join(f"wrote {file}" for file in written)
    return f"grouped by {', '.join(keys)}\n\n{to_text(table, notes)}\n\n{files}"


def grouping_keys(runs: Sequence[Run]) -> list[str]:
    """The keys that tell the runs' settings apart, names of choices (``bn.name``) first.

    Each key is taken only where the ones before it leave runs of one environment together that
    differ in it: a group's other keys, which vary with its name, add nothing. Where nothing
    differs, the names of the algorithm, actor, neuron and normalisation.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    candidates = [key for key in keys if not _ignored(key) and _varies(key, runs)]
    chosen: list[str] = []
    for key in sorted(candidates, key=lambda key: (not key.endswith(".name"), _rank(key))):
        classes = group_runs(runs, [*chosen, *ENVIRONMENT]).values()
        if any(_varies(key, members) for members in classes):
            chosen.append(key)
    return chosen or [key for key in CHOICES if key in keys] or ["env.id"]


def group_runs(runs: Iterable[Run], keys: Sequence[str]) -> dict[str, list[Run]]:
    """Runs by their values at the keys, such as ``"td3, carebn"`` or ``"algo.batch_size=64"``."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        name = ", ".join(
            _value(run, key) if key.endswith(".name") else f"{key}={_value(run, key)}"
            for key in keys
        )
        groups.setdefault(name, []).append(run)
    return groups


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m snnrl.compare",
        description="Compare runs: learning curves with intervals and a table of returns.",
    )
    parser.add_argument(
        "folders", nargs="+", help="run folders, folders above them, or patterns of such"
    )
    parser.add_argument(
        "--by",
        nargs="+",
        metavar="KEY",
        help="configuration keys that make a group, such as bn.name (or bn) or algo.batch_size; "
        "without it, the keys that differ",
    )
    parser.add_argument(
        "--out", default="compare", metavar="DIR", help="where the files go (default: ./compare)"
    )
    return parser


def _write(groups: dict[str, list[Run]], out: Path, markdown: str, csv: str) -> list[Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        written = []
        for plot, name in (
            (plot_curves, "curves.png"),
            (plot_statistics_error, "statistics_error.png"),
        ):
            # A picture of an earlier comparison must not stand beside this table.
            (out / name).unlink(missing_ok=True)
            if plot(groups, out / name):
                written.append(out / name)
        for name, text in (("table.md", markdown), ("table.csv", csv)):
            (out / name).write_text(text)
            written.append(out / name)
    except OSError as error:
        raise UserError(f"--out {out}: expected a folder to write to ({error})") from None
    return written


def _resolve(key: str, runs: Sequence[Run]) -> str:
    known = {name for run in runs for name in run.settings}
    for name in (key, f"{key}.name", f"{key}.id"):
        if name in known:
            return name
    raise UserError(f"--by {key}: expected a key of the runs' config.yaml{nearest(key, known)}")


def _pooling_notes(groups: dict[str, list[Run]]) -> list[str]:
    notes = []
    for name, members in groups.items():
        cells = group_runs(members, ENVIRONMENT).values()
        keys = sorted({key for cell in cells for run in cell for key in run.settings})
        mixed = [
            key for key in keys if not _ignored(key) and any(_varies(key, cell) for cell in cells)
        ]
        if mixed:
            notes.append(f"{name}: pools runs that differ in {', '.join(mixed)}")
    return notes


def _varies(key: str, runs: Sequence[Run]) -> bool:
    return len({_value(run, key) for run in runs}) > 1


def _value(run: Run, key: str) -> str:
    return str(run.settings.get(key, "unset"))


def _ignored(key: str) -> bool:
    return key.split(".")[0] in NOT_SETTINGS or key in ENVIRONMENT


def _rank(key: str) -> int:
    return CHOICES.index(key) if key in CHOICES else len(CHOICES)


if __name__ == "__main__":
    sys.exit(main())
