"""Help and mistakes are answered before anything is imported that takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from omegaconf import OmegaConf

from snnrl.experiment.config.compose import compose_config
from snnrl.run_format.model import DATA, WEIGHTS

SLOW = ("torch", "gymnasium", "stable_baselines3", "pandas", "numpy")

ASKED = """
import json, sys
from importlib import import_module

def status(line):
    command, *arguments = line.split()
    try:
        return import_module(f"snnrl.{command}").main(arguments)
    except SystemExit as ended:  # argparse, which has printed the help
        return ended.code

statuses = [status(line) for line in json.loads(sys.argv[1])]
loaded = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
print(json.dumps([statuses, loaded]))
"""

LINES = {
    "train --help": 0,
    "train bn=carbn": 2,
    "train env=hoper": 2,
    "train algo.batch_siz=8": 2,
    "train algo.tau=7": 2,
    "train bn=tdbn bn.alpha=0": 2,
    "train surrogate=learnable surrogate.lowst=1": 2,
    "train algo=dqn critic=ann": 2,
    "train bn=vanilla bn.effective_n=9": 2,
    "train -m seed=0 bn.rule=emma": 2,
    "train --cfg jobs": 2,
    "train -c jobs": 2,
    "classify --help": 0,
    "classify data=digit": 2,
    "classify data.examples=1": 2,
    "classify env=hopper": 2,
    "evaluate --help": 0,
    "evaluate": 2,
    "evaluate run --kernel fast": 2,
    "evaluate run --episodes 0": 2,
    "evaluate run --seed -1": 2,
    "evaluate nowhere": 2,
    "evaluate run": 2,
    "evaluate run --module no.such.module": 2,
    "evaluate damaged": 2,
    "convert --help": 0,
    "convert": 2,
    "convert run --time-steps 0": 2,
    "convert run --correction 2": 2,
    "convert nowhere": 2,
    "convert run": 2,
    "convert ordinary --out run/config.yaml": 2,
    "convert ordinary --module no.such.module": 2,
    "inspect --help": 0,
    "inspect": 2,
    "inspect run --steps 0": 2,
    "inspect run --film avi": 2,
    "inspect nowhere": 2,
    "inspect run": 2,
    "inspect ordinary": 2,
    "inspect ordinary --module no.such.module": 2,
    "reproduce --help": 0,
    "reproduce": 2,
    "reproduce run --run --check": 2,
    "reproduce nowhere": 2,
    "reproduce run": 2,
    "reproduce damaged --module no.such.module": 2,
    "reproduce damaged --patch changes": 2,
}
"""Command lines and their exit status. ``run`` has only a configuration, ``damaged`` a provenance
and a model too, but not a whole one; ``ordinary`` is a run of an ordinary actor."""


def test_help_and_mistakes_import_nothing_slow(tmp_path: Path) -> None:
    config = OmegaConf.to_yaml(compose_config(["env=pendulum"]), resolve=True)
    for name in ("run", "damaged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(config)
    (tmp_path / "ordinary").mkdir()
    ordinary = compose_config(["env=pendulum", "actor=ann"])
    (tmp_path / "ordinary" / "config.yaml").write_text(OmegaConf.to_yaml(ordinary, resolve=True))
    with ZipFile(tmp_path / "ordinary" / "best_model.zip", "w") as model:
        for entry in (DATA, WEIGHTS):
            model.writestr(entry, "")
    (tmp_path / "damaged" / "best_model.zip").write_bytes(b"PK")
    (tmp_path / "damaged" / "provenance.json").write_text(json.dumps({"versions": {}}))
    command = [sys.executable, "-c", ASKED, json.dumps(list(LINES)), json.dumps(SLOW)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    statuses, loaded = json.loads(done.stdout.splitlines()[-1])
    assert dict(zip(LINES, statuses, strict=True)) == LINES, done.stderr
    assert loaded == []
    # Each mistake is one line.
    assert len(done.stderr.splitlines()) == sum(status == 2 for status in statuses)
