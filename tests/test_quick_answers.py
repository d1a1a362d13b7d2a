"""Help and mistakes are answered before anything is imported that takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys

SLOW = ("torch", "gymnasium", "stable_baselines3", "pandas", "numpy")

ASKED = """
import json, sys
from snnrl.train import main
statuses = [main(line.split()) for line in json.loads(sys.argv[1])]
loaded = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
print(json.dumps([statuses, loaded]))
"""

LINES = {
    "--help": 0,
    "bn=carbn": 2,
    "env=hoper": 2,
    "algo.batch_siz=8": 2,
    "algo.tau=7": 2,
    "bn=tdbn bn.alpha=0": 2,
    "surrogate=learnable surrogate.lowst=1": 2,
    "algo=dqn critic=ann": 2,
    "bn=vanilla bn.effective_n=9": 2,
    "-m seed=0 bn.rule=emma": 2,
    "--cfg jobs": 2,
}


def test_help_and_mistakes_import_nothing_slow() -> None:
    command = [sys.executable, "-c", ASKED, json.dumps(list(LINES)), json.dumps(SLOW)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    statuses, loaded = json.loads(answer.stdout.splitlines()[-1])
    assert dict(zip(LINES, statuses, strict=True)) == LINES
    assert loaded == []
