"""Names of the files and folders of a run."""

from __future__ import annotations

OWN_RUNS = "results/runs"
"""Default of ``results_dir``; recorded results are beside it."""

CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
PROVENANCE = "provenance.json"
EVALUATIONS = "evaluations.csv"
PROGRESS = "progress.csv"
STATISTICS_ERROR = "statistics_error.csv"
CURVE = "curve.png"
MODEL = "model.zip"
BEST_MODEL = "best_model.zip"
VIDEO = "video.mp4"
CONVERSION = "conversion.csv"
CONVERSION_CURVE = "conversion.png"
INSPECTION = "inspection.html"
INSPECTION_FILMS = {"gif": "inspection.gif", "mp4": "inspection.mp4"}
COST = "cost.csv"
POLICY = "policy"
"""Exported agent, without the ending that its format has."""

HUB = "hub"
"""Folder of what a model hub shows of the run."""

CARD = "README.md"
REPLAY = "replay.mp4"
"""Card and film in it, by the names that hubs look for."""

CHECKPOINT = "checkpoint"
TENSORBOARD = "tensorboard"
WANDB = "wandb"
DONE = "DONE"
FAILED = "FAILED"

FAILURES = "failures.json"
"""Failures of a run, in order; removed when it is done."""

LOCK = ".lock"
"""Lock, held by the process that runs the run."""

SAVED = ".saved"
"""Mark that a checkpoint exists: without the checkpoint, the run must not start from the
beginning."""

RECORD = (CONFIG, OVERRIDES, PROVENANCE)
"""Record of what ran."""

TABLES = (EVALUATIONS, PROGRESS, STATISTICS_ERROR)

MODELS = (MODEL, BEST_MODEL)

SEALED = (*RECORD, *TABLES, CURVE, *MODELS)
"""Files of a finished run, as far as it has them."""

SEED = "seed-"


def seed_folder(seed: int) -> str:
    """Return the name of a run folder within the folder of its setting."""
    return f"{SEED}{seed}"


RUNS = f"*/*/{SEED}*/{CONFIG}"
"""Pattern of the configurations below a ``results_dir``: environment, setting, seed."""
