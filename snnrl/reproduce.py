"""``python -m snnrl.reproduce <run folder>``: repeat a run and compare the results."""

from __future__ import annotations

import snnrl.starting  # noqa: F401  # before imports that take seconds

# isort: split
import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from snnrl.errors import UserError, exit_status, with_short_errors
from snnrl.experiment.config.plugins import loaded
from snnrl.experiment.reproduction.arguments import add_module
from snnrl.experiment.reproduction.own_code import code_of
from snnrl.experiment.reproduction.provenance import Difference, collect, differences, installable
from snnrl.experiment.reproduction.remake import (
    Recorded,
    added_settings,
    check_code,
    read_record,
    remake,
)
from snnrl.experiment.reproduction.source import as_patch
from snnrl.imports import import_named
from snnrl.run_format.names import DONE, PROGRESS, PROVENANCE
from snnrl.run_format.status import has_failed, is_done
from snnrl.starting import importing
from snnrl.text import one_line

SAME, OTHER = 0, 1


def main(argv: list[str] | None = None) -> int:
    """Run what the command line requests.

    :return: exit status: 0 identical (with ``--check``: nothing differs), 1 not identical, or not
        fully compared, 2 a user error
    """
    return exit_status(lambda: reproduce(_parser().parse_args(argv)), output_is_result=True)


def reproduce(arguments: argparse.Namespace) -> int:
    """Compare the recorded provenance with the present; repeat the run and compare the results.

    :raises UserError: not a whole run folder, one that this version cannot run, or no place to
    :raises RunFailed: it could not be repeated to its end
    """
    recorded = read_record(arguments.folder)
    import_named(arguments.module)
    print(*map(one_line, _what_ran(recorded)), sep="\n")
    if arguments.patch is not None:
        _write_patch(recorded, arguments.patch)
    # These take seconds to import, which no error that was found by now has to wait for.
    with importing():
        from snnrl.experiment.config.validate import validate

    problem, again = None, None
    try:
        again = remake(recorded, arguments.results_dir, arguments.module)
        if arguments.check:
            check_code(again[0], arguments.module)
        validate(again[0])
    except UserError as mistake:
        problem = mistake
    found = list(_compare_facts(recorded, again[0] if again else None))
    print(*map(one_line, _advice(recorded, found)), sep="\n")
    if arguments.check:
        if not is_done(recorded.folder):
            failed = has_failed(recorded.folder)
            print(f"not finished: it {'failed' if failed else 'is running or was cut off'}")
        if problem is not None:
            print(one_line(f"cannot be run here: {problem}"))
        return SAME if problem is None and not found else OTHER
    if again is None or problem is not None:
        why = str(problem).replace("results_dir=", "--results-dir ")
        raise UserError(f"{arguments.folder}: this version cannot run it here ({why})")
    return _run_again(recorded, *again)


def _run_again(recorded: Recorded, cfg: DictConfig, overrides: list[str]) -> int:
    with importing():
        from snnrl.experiment.folder.run_folder import RunFolder
        from snnrl.experiment.reproduction.compare import compare_results, compare_tables, is_same
        from snnrl.experiment.run import run

    folder = recorded.folder
    if not is_done(folder):
        raise UserError(
            f"{folder}: has no {DONE}; expected a run that is finished (--check needs none)"
        )
    run_there, results_dir = folder.resolve(), Path(cfg.results_dir).resolve()
    again = RunFolder(cfg).path
    lies_there = results_dir in run_there.parents or again.resolve() == run_there
    if lies_there or run_there in [results_dir, *results_dir.parents]:
        raise UserError(
            f"--results-dir {cfg.results_dir}: the run itself is there; expected another folder"
        )
    _check_earlier(again)
    print(f"\nrunning again, in {again}", flush=True)
    run(cfg, overrides)
    print()
    resumed = len(recorded.parts) > 1
    comparisons = compare_results(folder, again)
    identical = is_same(comparisons)
    found = {comparison.same for comparison in comparisons}
    if False in found:
        # It has more of the steps up to the first difference.
        comparisons.append(compare_tables(folder, again, PROGRESS, resumed=resumed))
    words = {True: "identical", False: "differs", None: "not compared"}
    for comparison in comparisons:
        print(one_line(f"{comparison.file}: {words[comparison.same]} ({comparison.detail})"))
    if found == {None}:
        print(f"nothing was compared: {folder} holds no result")
    elif found == {None, True}:
        print(f"what was compared is the same, but {folder} does not hold the whole result")
    else:
        print("the result is identical" if identical else "the result is not identical")
    return SAME if identical else OTHER


def _what_ran(recorded: Recorded) -> Iterator[str]:
    facts = recorded.facts
    yield f"{recorded.folder}"
    yield f"command:  {recorded.command}"
    yield f"kernel:   {facts.get('kernel')}; threads: {facts.get('threads')}"
    starts = [str(part.get("started")) for part in recorded.parts]
    yield f"started:  {starts[0]}" + "".join(f", resumed {start}" for start in starts[1:])


def _check_earlier(again: Path) -> None:
    """Refuse an earlier reproduction by other code: it would be compared, or resumed, as if this
    code had made it."""
    if not (again / PROVENANCE).exists():
        return
    earlier = read_record(again)
    differing = [difference.what for _, difference in _compare_facts(earlier, None)]
    if differing:
        raise UserError(
            f"{again}: made by an earlier reproduction whose {', '.join(differing)} differed; "
            "expected another --results-dir, or the folder removed"
        )


def _compare_facts(recorded: Recorded, cfg: DictConfig | None) -> Iterator[tuple[int, Difference]]:
    """Compare the present with each start of the run; a difference shared with a later start is
    named only there."""
    named: set[Difference] = set()
    here: dict[str, Any] = {}
    for number, facts in reversed(list(enumerate(recorded.parts, start=1))):
        if not here:
            here = collect(
                facts.get("kernel", ""),
                facts.get("threads", 0),
                recorded.config["seed"],
                code_of(loaded(recorded.config), recorded.config),
            )
        try:
            found = list(differences(facts, here))
        except (TypeError, AttributeError, KeyError):
            file = recorded.folder / PROVENANCE
            raise UserError(f"{file}: cannot be read; the run folder is damaged") from None
        for difference in found:
            if difference not in named:
                named.add(difference)
                yield number, difference
    for key, value in (added_settings(recorded, cfg) if cfg is not None else {}).items():
        yield len(recorded.parts), Difference(f"setting {key}", "not there", str(value))


def _advice(recorded: Recorded, found: list[tuple[int, Difference]]) -> Iterator[str]:
    if not found:
        yield "here:     the same code, packages and hardware"
        return
    yield "here differs:"
    parts = len(recorded.parts)
    for number, difference in found:
        when = "there" if number == parts else f"there (start {number} of {parts})"
        yield f"  {difference.what}: {difference.then} {when}, {difference.now} here"
    git, versions = recorded.facts.get("git") or {}, installable(recorded.facts["versions"])
    if any(difference.what == "code" for _, difference in found) and git.get("revision"):
        changed = git.get("diff") or git.get("untracked")
        patch = "; its uncommitted changes: --patch FILE, then git apply FILE" if changed else ""
        yield f"its code:     git checkout {git['revision']}{patch}"
    packages = [d.what for _, d in found if d.what in versions]
    if packages:
        pins = " ".join(dict.fromkeys(f"{name}=={versions[name]}" for name in packages))
        yield f"its packages: pip install {pins}"


def _write_patch(recorded: Recorded, file: Path) -> None:
    patch = as_patch(recorded.facts.get("git") or {})
    if not patch:
        raise UserError(f"--patch {file}: the run had no uncommitted changes; expected no --patch")
    try:
        file.write_text(patch)
    except OSError as problem:
        raise UserError(f"--patch {file}: cannot write there ({problem.strerror})") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m snnrl.reproduce",
        description="Report how a run was made and what differs here, run it again, and compare: "
        "evaluations and the final model, bit for bit. Running it imports the module that its "
        "env.id names; --check runs no code of the folder (docs/security.md).",
        epilog="Exit status: 0 identical, 1 not identical or not wholly compared, 2 a mistake in "
        "the command.",
    )
    parser.add_argument("folder", type=Path, help="run folder, .../seed-<s>")
    parser.add_argument(
        "--results-dir",
        type=Path,
        default=Path("reproduced"),
        metavar="DIR",
        help="folder for the new run (default: ./reproduced)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--run", action="store_true", help="check, then run again (the default)")
    mode.add_argument("--check", action="store_true", help="only report what differs here")
    add_module(parser)
    parser.add_argument(
        "--patch", type=Path, metavar="FILE", help="write the run's uncommitted changes to FILE"
    )
    return with_short_errors(parser)


if __name__ == "__main__":
    sys.exit(main())
