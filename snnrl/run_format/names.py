"""Names of the files and folders of a run."""

from __future__ import annotations

OWN_RUNS = "results/runs"
"""Where runs go unless ``results_dir`` says otherwise; recorded results are beside it."""

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
CHECKPOINT = "checkpoint"
TENSORBOARD = "tensorboard"
WANDB = "wandb"
DONE = "DONE"
FAILED = "FAILED"

FAILURES = "failures.json"
"""The failures of a run, one after another; gone when it is done."""

LOCK = ".lock"
"""Held by the process that runs the run."""

SAVED = ".saved"
"""There is a checkpoint: without one the run is not to start afresh."""

RECORD = (CONFIG, OVERRIDES, PROVENANCE)
"""What ran."""

TABLES = (EVALUATIONS, PROGRESS, STATISTICS_ERROR)

MODELS = (MODEL, BEST_MODEL)

SEALED = (*RECORD, *TABLES, CURVE, *MODELS)
"""The files of a run that is done, as far as it has them."""

SEED = "seed-"


def seed_folder(seed: int) -> str:
    """Return the name of a run folder in the folder of its setting."""
    return f"{SEED}{seed}"


RUNS = f"*/*/{SEED}*/{CONFIG}"
"""Pattern of the configurations below a ``results_dir``: environment, setting, seed."""
