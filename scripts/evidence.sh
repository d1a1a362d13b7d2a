#!/usr/bin/env bash
# Executes the list configs/evidence.yaml: long runs at published settings, in the background and at
# the lowest priority, each with the code of its tag. docs/reproducing.md explains it.
#
#   scripts/evidence.sh [start]             start the queue, or resume it (--foreground: run it in
#                                           this process; --retry: retry runs that failed twice
#                                           with the same error)
#   scripts/evidence.sh status | stop       one line per run | save all runs and stop
#   scripts/evidence.sh collect             copy the records of the runs to results/paper/
#
#   EVIDENCE_DIR      folder of clones and run folders (default: ../snnrl-evidence)
#   EVIDENCE_LIST     another list of runs
#   EVIDENCE_AT_ONCE  runs at a time (default: cores)
#   EVIDENCE_PYTHON   interpreter of the runs (default: the .venv of each clone)
#   RESULTS           folder to which collect copies (default: results/paper)
set -euo pipefail
for name in EVIDENCE_DIR EVIDENCE_LIST RESULTS; do
    case "${!name:-/}" in
        /*) ;;
        *) export "$name=$PWD/${!name}" ;;
    esac
done
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || {
    echo "error: $python: missing; expected 'make setup' first" >&2
    exit 2
}
# One thread here, too, because the queue is a fork of this process.
export OMP_NUM_THREADS=1
exec "$python" -m scripts.evidence "$@"
