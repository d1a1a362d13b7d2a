"""Record what rliable 1.2.0 says of made-up scores, for ``test_bootstrap.py``.

rliable needs pandas 2, so it has an environment of its own:

    python -m venv rliable && rliable/bin/pip install 'rliable==1.2.0' 'pandas<3'
    rliable/bin/python tests/analysis/record_rliable.py
"""

import json
from pathlib import Path

import numpy as np
from rliable import library, metrics

RECORD = Path(__file__).parents[1] / "data" / "rliable.json"
SHAPES = [((3, 1), (3, 1)), ((5, 1), (7, 1)), ((5, 5), (5, 5)), ((10, 3), (6, 3))]
TAUS = [-1.0, 0.0, 0.5, 1.0, 2.0]
RESAMPLES = 20_000


def record(shape: tuple[int, int], other: tuple[int, int]) -> dict[str, object]:
    """Scores, ``[runs, tasks]``, rounded so that there are ties, and rliable's numbers."""
    generator = np.random.default_rng([*shape, *other])
    scores = generator.normal(0.5, 1, size=shape).round(1)
    baseline = generator.normal(0, 1, size=other).round(1)
    np.random.seed(0)
    iqm, iqm_interval = library.get_interval_estimates(
        {"x": scores}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=RESAMPLES
    )
    poi, poi_interval = library.get_interval_estimates(
        {"x": [scores, baseline]},
        lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
        reps=RESAMPLES,
    )
    profile, profile_interval = library.create_performance_profile(
        {"x": scores}, TAUS, reps=RESAMPLES
    )
    return {
        "scores": scores.tolist(),
        "baseline": baseline.tolist(),
        "taus": TAUS,
        "iqm": [iqm["x"][0], *iqm_interval["x"][:, 0]],
        "probability_of_improvement": [poi["x"][0], *poi_interval["x"][:, 0]],
        "profile": [profile["x"].tolist(), *profile_interval["x"].tolist()],
    }


if __name__ == "__main__":
    RECORD.write_text(json.dumps([record(*shapes) for shapes in SHAPES], indent=1) + "\n")
