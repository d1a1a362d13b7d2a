"""Run all measures, one after another."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from dataclasses import replace

import torch

from scripts.bench.options import Options
from scripts.bench.race import WRONG, Table
from scripts.bench.report import facts, heading, markdown, write
from snnrl.errors import UserError


def run(options: Options) -> int:
    """Measure, print and write; return 1 if a contestant is wrong or failed, else 0."""
    options = replace(options, device=_device(options.device))
    quiet()
    torch.set_num_threads(options.threads)
    found = facts(options)
    print(heading(found), flush=True)
    tables: list[Table] = []
    for name in options.only:
        module = importlib.import_module(f"scripts.bench.{name}")
        for table in module.measure(options):
            print(f"\n{markdown(table)}", flush=True)
            tables.append(table)
        # After each measure, so that an interrupted benchmark leaves its results.
        written, _ = write(found, tables, options.out)
    print(f"\nwritten to {written}")
    wrong = [
        f"{table.measure}, {table.case}: {row.contestant} {row.status}: {row.detail}"
        for table in tables
        for row in table.rows
        if row.status in WRONG
    ]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def quiet() -> None:
    """Keep libraries from printing between the tables."""
    warnings.simplefilter("ignore")
    logging.getLogger("torch").setLevel(logging.ERROR)


def _device(asked: str) -> str:
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise UserError("--device=cuda: no CUDA device here; expected cpu")
    return ("cuda" if there else "cpu") if asked == "auto" else asked
