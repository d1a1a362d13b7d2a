#!/usr/bin/env bash
# Writes constraints.txt from a clean install of everything that pyproject.toml requires. Torch
# keeps its pin, because its version and its index go together. To upgrade torch, change its line
# in constraints.txt first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

grep '^torch==' constraints.txt >"$work/torch.txt"
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c "$work/torch.txt" -e '.[dev]'

{
    sed '/^[^#]/,$d' constraints.txt
    # Torch pins its own CUDA packages and triton, and its CPU build has none of them.
    "$work/venv/bin/python" -m pip freeze --all --exclude-editable |
        grep -viE '^(pip|triton|nvidia[-_].*|cuda[-_].*)==' | sed 's/+[^+]*$//'
} >"$work/constraints.txt"
mv "$work/constraints.txt" constraints.txt
