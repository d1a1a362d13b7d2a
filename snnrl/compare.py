"""``python -m snnrl.compare <folders>``: compare runs in tables, figures and a page."""

from __future__ import annotations

import snnrl.starting  # noqa: F401  # before imports that take seconds

# isort: split
import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from snnrl.analysis.comparison import Comparison, compare_runs
from snnrl.analysis.figures import FORMATS, save
from snnrl.analysis.grids import LABELS
from snnrl.analysis.grouping import Groups, grouping_keys, in_environments, resolve_key
from snnrl.analysis.page import to_html
from snnrl.analysis.plots import plot_curves, plot_statistics_error, plot_wall_time
from snnrl.analysis.profiles import plot_profiles
from snnrl.analysis.report import to_csv, to_markdown
from snnrl.analysis.run_folders import find_folders, load_run
from snnrl.analysis.runs import Run
from snnrl.analysis.statistics import METRICS
from snnrl.analysis.wandb_runs import fetch_runs
from snnrl.errors import UserError, exit_status, expect, with_short_errors
from snnrl.run_format.names import OWN_RUNS, RUNS
from snnrl.run_format.place import check_place
from snnrl.text import printable

PICTURES = {
    "curves": "Returns over steps",
    "wall_time": "Returns over wall time",
    "profiles": "Performance profiles",
    "statistics_error": "Error of the normalisation statistics",
}
TABLES = ("table.md", "table.csv", "comparison.html")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: arguments; those of the process if not given
    :return: exit status: 0, or 2 for a user error
    """
    given = list(sys.argv[1:] if argv is None else argv)
    return exit_status(lambda: _compare(given), output_is_result=True)


def _compare(given: list[str]) -> None:
    arguments = with_short_errors(_parser()).parse_args(given)
    is_own = not (arguments.folders or arguments.wandb)
    runs, notes = collect_runs([_own_runs()] if is_own else arguments.folders, arguments.wandb)
    if is_own:
        why = "left out, earlier versions wrote to it by default"
        notes += [f"{why}: {place}" for place in _earlier_places()]
    runs = in_environments(runs, _split(arguments.env)) if arguments.env else runs
    by = _split(arguments.by)
    keys = [resolve_key(key, runs) for key in by] if by else grouping_keys(runs)
    comparison = compare_runs(runs, keys, arguments.baseline)
    comparison = replace(comparison, notes=[*notes, *comparison.notes])
    formats = _formats(arguments.format)
    command = shlex.join(["python", "-m", "snnrl.compare", *given])
    written = write(comparison, Path(arguments.out), arguments.metric, command, formats)
    print(to_markdown(comparison))
    print("\n".join(f"wrote {printable(file)}" for file in written))


def _own_runs() -> str:
    if not Path(OWN_RUNS).is_dir():
        earlier = ", ".join(_earlier_places())
        hint = f" (earlier versions wrote to {earlier})" if earlier else ""
        raise UserError(
            f"{OWN_RUNS}: no runs of your own there; expected run folders{hint}, or --wandb"
        )
    return OWN_RUNS


def _earlier_places() -> list[str]:
    """Return the earlier default places of the user's runs, before they and recorded ones were
    separated."""
    runs = Path(OWN_RUNS).parent.glob(RUNS)
    return sorted({str(file.parents[2]) for file in runs})


def collect_runs(folders: Iterable[str], projects: Iterable[str]) -> tuple[list[Run], list[str]]:
    """Return runs of folders and W&B projects, and notes on missing or skipped data.

    :raises UserError: a source without runs, or a run that cannot be read
    """
    found, notes = find_folders(folders)
    runs = [load_run(folder) for folder in found]
    for project in projects:
        fetched, lacking = fetch_runs(project)
        runs += fetched
        notes += lacking
    return runs, notes


def write(
    comparison: Comparison,
    out: Path,
    metric: str,
    command: str,
    formats: Sequence[str] = ("png",),
) -> list[Path]:
    """Write figures, tables and page, all or none; a figure without data is not written.

    :param metric: metric of the performance profiles
    :param formats: of the pictures, of ``FORMATS``; the page has its own
    :return: the files
    :raises UserError: ``out`` cannot be written
    """
    check_place(out, f"--out {out}", file_names(FORMATS))
    groups = comparison.groups
    profiles = partial(plot_profiles, metric=metric, baseline=comparison.baseline)
    plots: tuple[Callable[[Groups], Figure | None], ...] = (
        plot_curves,
        plot_wall_time,
        profiles,
        plot_statistics_error,
    )
    with _replacing(out) as folder:
        drawn = {}
        for (name, title), plot in zip(PICTURES.items(), plots, strict=True):
            figure = plot(groups)
            if figure is None:
                continue
            for suffix in dict.fromkeys(["png", *formats]):
                save(figure, folder / f"{name}.{suffix}")
            drawn[title] = folder / f"{name}.png"
        (folder / "table.md").write_text(to_markdown(comparison))
        (folder / "table.csv").write_text(to_csv(comparison))
        (folder / "comparison.html").write_text(to_html(comparison, drawn, command))
        if "png" not in formats:
            for picture in drawn.values():
                picture.unlink()
    return [out / name for name in file_names(formats) if (out / name).exists()]


def file_names(formats: Iterable[str]) -> list[str]:
    """Return the names of all files that a comparison may write."""
    return [*(f"{name}.{suffix}" for suffix in formats for name in PICTURES), *TABLES]


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Context with a folder to write to, whose files replace those of an earlier comparison at the
    end."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".compare-", dir=out))
        try:
            yield folder
            for name in file_names(FORMATS):
                if (folder / name).exists():
                    (folder / name).replace(out / name)
                else:
                    # A figure of an earlier comparison must not remain beside this table.
                    (out / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(folder)
    except OSError as error:
        raise UserError(f"--out {out}: expected a folder to write to ({error})") from None


def _formats(values: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(_split(values)))
    for name in found:
        expect("--format", name, FORMATS)
    if not found:
        raise UserError(f"--format: expected some of {', '.join(FORMATS)}")
    return found


def _split(values: Sequence[str]) -> list[str]:
    """Return ``["a,b", "c"]`` as ``["a", "b", "c"]``."""
    return [part for value in values for part in value.split(",") if part]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m snnrl.compare",
        description="Compare runs: tables with intervals, learning curves, performance profiles "
        "and a page that holds them all.",
    )
    parser.add_argument(
        "folders",
        nargs="*",
        help="run folders, folders that contain them, or patterns of either (default: your own "
        "runs in "
        f"{OWN_RUNS})",
    )
    parser.add_argument(
        "--wandb",
        action="append",
        default=[],
        metavar="ENTITY/PROJECT[/GROUP]",
        help="runs of a Weights & Biases project, or of a group in it; may be repeated",
    )
    parser.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="KEY",
        help="configuration keys to group runs by, such as bn.name (or bn) or algo.batch_size; "
        "separate several by spaces or commas (default: the keys that differ)",
    )
    parser.add_argument(
        "--env", nargs="+", default=[], metavar="ID", help="only these environments"
    )
    parser.add_argument(
        "--baseline",
        metavar="GROUP",
        help="the group that the others are compared with, by its name in the table (default: "
        "the one with an ordinary network, else with bn=vanilla, else with bn=none, else the "
        "first)",
    )
    parser.add_argument(
        "--metric",
        default="final",
        choices=METRICS,
        help="the metric of the performance profiles: "
        + ", ".join(f"{name} ({LABELS[name]})" for name in METRICS)
        + " (default: final)",
    )
    parser.add_argument(
        "--format",
        nargs="+",
        default=["png"],
        metavar="FORMAT",
        help=f"format of the pictures: {', '.join(FORMATS)}; separate several by spaces or "
        "commas (default: png); text in vector pictures stays searchable",
    )
    parser.add_argument(
        "--out", default="compare", metavar="DIR", help="folder for the files (default: ./compare)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
