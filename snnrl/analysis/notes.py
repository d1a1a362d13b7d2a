"""Warnings that a reader needs to judge a comparison."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from snnrl.analysis.bootstrap import COVERAGE, FEW_SEEDS
from snnrl.analysis.grids import count_seeds
from snnrl.analysis.grouping import Groups, by_environment, confounded_keys, mixed_keys
from snnrl.analysis.published import comparable_results
from snnrl.analysis.runs import Run
from snnrl.analysis.statistics import LAST, common_steps, mean_returns
from snnrl.analysis.table import Overall, Row, results

NAMED = 3
"""Runs that a note names before it only counts; failed and unfinished ones are all named."""


def make_notes(groups: Groups, keys: Sequence[str]) -> list[str]:
    """Return warnings on differing steps, seeds, settings, versions or machines, on missing or too
    narrow intervals, and on unfinished runs.

    :param keys: settings that distinguish the groups
    """
    runs = [run for members in groups.values() for run in members]
    notes = []
    for environment, cells in by_environment(groups).items():
        notes += _difference_notes(environment, cells)
        for name, members in cells.items():
            notes += _group_notes(f"{environment}, {name}", members)
    return [
        *notes,
        *_short_notes(groups),
        *_untrained_notes(runs),
        *_pooling_notes(groups),
        *_confounding_notes(groups, keys),
        *_interval_notes(groups),
        *_seeding_notes(runs),
        *_environment_version_notes(runs),
        *_source_notes(runs),
        *_version_notes(runs),
        *_hardware_notes(runs),
        *_clock_notes(runs),
        *_status_notes(runs),
    ]


def baseline_notes(groups: Groups, baseline: str | None) -> list[str]:
    """Return a note on environments in which the baseline has no counterpart."""
    if baseline is None:
        return []
    return [
        f"{environment}: the baseline {baseline} has no result, so nothing is compared with it"
        for environment, cells in by_environment(groups).items()
        if not results(cells.get(baseline, []))
    ]


def published_notes(rows: Sequence[Row]) -> list[str]:
    """Return what is to be known of the published numbers that are shown beside these rows.

    Of the rows that they stand for, and of the ordinary agent's, which is every table's baseline.
    """
    matched = [entry for row in rows for entry in row.published]
    environments = dict.fromkeys(row.environment for row in rows if row.published)
    return [
        f"{entry.env}: the published {entry.method}'s {entry.mean:.0f} ± {entry.std:.0f} is "
        f"{entry.note}"
        for environment in environments
        for entry in comparable_results(environment)
        if entry.note and (entry in matched or entry.method == "ANN")
    ]


def overall_notes(overall: Sequence[Overall]) -> list[str]:
    """Return a note if the averages over environments leave some out."""
    notes = []
    left_out = sorted({e for row in overall for e in row.environments if e not in row.positive})
    if left_out:
        notes.append(
            f"not in the average gain and the normalised interquartile mean, as the baseline's "
            f"mean return is not positive there: {', '.join(left_out)}"
        )
    if len({tuple(row.environments) for row in overall}) > 1:
        each = "; ".join(f"{row.group}: {', '.join(row.environments)}" for row in overall)
        notes.append(f"averages over different environments: {each}")
    return notes


def _difference_notes(environment: str, cells: Mapping[str, Sequence[Run]]) -> list[str]:
    entering = {name: results(runs) for name, runs in cells.items() if results(runs)}
    notes = []
    steps = {name: sorted({run.steps for run in runs}) for name, runs in entering.items()}
    if len({step for reached in steps.values() for step in reached}) > 1:
        notes.append(f"{environment}: steps differ: {_list(steps)}")
    seeds = {name: sorted(run.seed for run in runs) for name, runs in entering.items()}
    if len({tuple(numbers) for numbers in seeds.values()}) > 1:
        notes.append(f"{environment}: seeds differ: {_list(seeds)}")
    counts = {name: _counts(runs) for name, runs in entering.items()}
    if len({count for found in counts.values() for count, _ in found}) > 1:
        evaluations = {name: sorted({n for n, _ in found}) for name, found in counts.items()}
        notes.append(
            f"{environment}: numbers of evaluations differ, and the maxima of more are higher: "
            f"{_list(evaluations)}"
        )
    if len({episodes for found in counts.values() for _, episodes in found}) > 1:
        lengths = {name: sorted({n for _, n in found}) for name, found in counts.items()}
        notes.append(f"{environment}: episodes of an evaluation differ: {_list(lengths)}")
    return notes


def _counts(runs: Iterable[Run]) -> set[tuple[int, int]]:
    """Return the numbers of evaluations and of episodes per evaluation."""
    episodes = [run.evaluations.groupby("timesteps").size() for run in runs]
    return {(len(sizes), int(sizes.max())) for sizes in episodes}


def _group_notes(label: str, runs: Sequence[Run]) -> list[str]:
    entering = results(runs)
    if not entering:
        return [f"{label}: no run has a result"]
    notes = []
    repeated = [seed for seed, times in Counter(run.seed for run in entering).items() if times > 1]
    if repeated:
        notes.append(
            f"{label}: several runs with one seed, each counted as a seed of its own: "
            f"{_numbers(repeated)}"
        )
    shared, episodes = _shared_episodes(entering)
    if shared:
        notes.append(
            f"{label}: seeds share up to {shared} of {episodes} evaluation episodes, so they are "
            "not independent and intervals are too narrow; seeding=independent is the remedy"
        )
    curves = [mean_returns(run.evaluations) for run in entering]
    common = len(common_steps(curves))
    if any(len(curve) > common for curve in curves):
        notes.append(
            f"{label}: the mean curve is over the {common} evaluations that all seeds have"
        )
    return notes


def _short_notes(groups: Groups) -> list[str]:
    short = [
        f"{environment}, {name}: {fewest}"
        for environment, cells in by_environment(groups).items()
        for name, runs in cells.items()
        if (entering := results(runs))
        and (fewest := min(run.evaluations["timesteps"].nunique() for run in entering)) < LAST
    ]
    if not short:
        return []
    return [f"'last {LAST}' is over fewer, as there are no more evaluations: {'; '.join(short)}"]


def _untrained_notes(runs: Iterable[Run]) -> list[str]:
    named = []
    for run in results(runs):
        curve = mean_returns(run.evaluations)
        untrained = curve[curve.index <= run.untrained_until]
        trained = curve[curve.index > run.untrained_until]
        if not untrained.empty and (trained.empty or trained.max() <= untrained.max()):
            named.append(run.name)
    if not named:
        return []
    return [
        "no evaluation is above those of the untrained network, whose best counts in the maxima: "
        f"{_names(named)}"
    ]


def _pooling_notes(groups: Groups) -> list[str]:
    return [
        f"{name}: pools runs that differ in {', '.join(mixed)}"
        for name, runs in groups.items()
        if (mixed := mixed_keys(runs))
    ]


def _confounding_notes(groups: Groups, keys: Sequence[str]) -> list[str]:
    found = []
    for environment, cells in by_environment(groups).items():
        confounded = confounded_keys(cells, keys)
        if confounded:
            found.append(f"{environment}: groups differ in {', '.join(confounded)} too")
    return found


def _interval_notes(groups: Groups) -> list[str]:
    table = [
        (f"{environment}, {name}", [run.seed for run in results(runs)])
        for environment, cells in by_environment(groups).items()
        for name, runs in cells.items()
    ]
    single = [label for label, seeds in table if len(set(seeds)) == 1]
    few = [
        f"{label}: {count_seeds(seeds)}"
        for label, seeds in table
        if 1 < len(set(seeds)) < FEW_SEEDS
    ]
    notes = []
    if single:
        notes.append(f"one seed, so no interval: {'; '.join(single)}")
    if few:
        notes.append(
            f"fewer than {FEW_SEEDS} seeds, so bootstrap intervals are too narrow ({COVERAGE}; "
            f"Student's t keeps 95 %): {'; '.join(few)}"
        )
    return notes


def _seeding_notes(runs: Sequence[Run]) -> list[str]:
    """Return a note if two ways of seeding evaluations are compared."""
    ways = Counter(str(run.settings["seeding"]) for run in results(runs))
    if len(ways) < 2:
        return []
    counts = ", ".join(f"seeding={way}: {number}" for way, number in sorted(ways.items()))
    return [
        f"evaluations are seeded in two ways, so runs of one seed do not play the same episodes "
        f"(runs with {counts})"
    ]


def _shared_episodes(runs: Sequence[Run]) -> tuple[int, int]:
    """Return the largest number of evaluation episodes that a run shares with one of another seed,
    and the number of episodes."""
    played = [(run.seed, set(run.evaluations["seed"].dropna())) for run in runs]
    shared = max(
        (len(a & b) for (s, a), (t, b) in combinations(played, 2) if s != t),
        default=0,
    )
    return shared, max((len(seeds) for _, seeds in played), default=0)


def _environment_version_notes(runs: Sequence[Run]) -> list[str]:
    ids: dict[str, set[str]] = {}
    for run in runs:
        ids.setdefault(re.sub(r"-v\d+$", "", run.environment), set()).add(run.environment)
    return [
        f"versions of an environment are different tasks, their returns do not compare: "
        f"{', '.join(sorted(versions))}"
        for _, versions in sorted(ids.items())
        if len(versions) > 1
    ]


def _version_notes(runs: Sequence[Run]) -> list[str]:
    notes = [
        f"versions differ: {package} {', '.join(sorted(versions))}"
        for package, versions in _values(run.versions for run in runs)
        if package != "kernel" and len(versions) > 1
    ]
    kernels = dict(_values(run.versions for run in runs)).get("kernel", set())
    if len(kernels) > 1:
        notes.append(f"kernels differ: {', '.join(sorted(kernels))}")
    unknown = [run.name for run in runs if not run.versions]
    if unknown:
        notes.append(f"versions unknown: {_names(unknown)}")
    return notes


def _source_notes(runs: Sequence[Run]) -> list[str]:
    """Return notes on modules of the user's own that are not the same in all runs that have them,
    or of which that is unknown."""
    notes = []
    for module in sorted({name for run in runs for name in run.sources}):
        having: dict[str, list[str]] = {}
        for run in runs:
            if module in run.sources:
                having.setdefault(run.sources[module], []).append(run.name)
        if len(having) > 1:
            each = "; ".join(f"{digest} in {_names(names)}" for digest, names in having.items())
            notes.append(
                f"the source of {module} differs, so these runs are of different code: {each}"
            )
    unknown = [(run.name, name) for run in runs for name in _modules(run) - run.sources.keys()]
    if unknown:
        modules = ", ".join(sorted({module for _, module in unknown}))
        names = _names(list(dict.fromkeys(name for name, _ in unknown)))
        notes.append(f"source not recorded, so it may differ: {modules} in {names}")
    return notes


def _modules(run: Run) -> set[str]:
    """Return the modules that a run's settings name: its plugins and that of its environment."""
    plugins = run.settings.get("plugins")
    named = {str(name) for name in plugins} if isinstance(plugins, list) else set()
    module, _, _ = run.environment.rpartition(":")
    return {*named, *([module] if module else [])}


def _hardware_notes(runs: Sequence[Run]) -> list[str]:
    return [
        f"hardware differs: {part} {', '.join(sorted(values))}"
        for part, values in _values(run.hardware for run in runs)
        if len(values) > 1
    ]


def _clock_notes(runs: Sequence[Run]) -> list[str]:
    missing = [run.name for run in results(runs) if run.clock.empty]
    if not missing:
        return []
    return [f"wall time unknown, so not in the curves over wall time: {_names(missing)}"]


def _status_notes(runs: Sequence[Run]) -> list[str]:
    notes = []
    for run in runs:
        planned = run.settings.get("total_steps", "?")
        if run.status == "failed":
            notes.append(f"failed, not in the numbers: {run.name} ({run.reason})")
        elif run.evaluations.empty:
            notes.append(f"unfinished, not in the numbers, no evaluation yet: {run.name}")
        elif run.status == "unfinished":
            notes.append(
                f"unfinished (running or interrupted), included as far as it got ({run.steps} of "
                f"{planned} steps): {run.name}"
            )
    return notes


def _values(facts: Iterable[Mapping[str, str]]) -> list[tuple[str, set[str]]]:
    found: dict[str, set[str]] = {}
    for mapping in facts:
        for name, value in mapping.items():
            found.setdefault(name, set()).add(value)
    return sorted(found.items())


def _list(values: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"{name}: {_numbers(numbers)}" for name, numbers in values.items())


def _numbers(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
