"""Upload of a folder with a model card to the hub of Hugging Face."""

from __future__ import annotations

import re
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

from snnrl.errors import UserError
from snnrl.text import one_line

NAME = r"[\w.-]+/[\w.-]+"


def check_upload(repository: str) -> None:
    """Check that an upload can begin, before anything is played.

    :raises UserError: no name of a repository, no package, or no login
    """
    if not re.fullmatch(NAME, repository):
        raise UserError(f"--upload {repository}: expected USER/NAME")
    if _package().get_token() is None:
        raise UserError(f"--upload {repository}: expected a login (hf auth login), or HF_TOKEN")


def upload(folder: Path, repository: str, files: Collection[str]) -> None:
    """Create the repository if it is not there, and upload files of a folder as one commit.

    :param files: names of what is uploaded, and nothing else of the folder
    :raises UserError: the hub refuses, or cannot be reached
    """
    api = _package().HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            allow_patterns=sorted(files),
            commit_message="An agent of snnrl",
        )
    # The package raises its own, its HTTP library's and the system's.
    except Exception as problem:
        reason = one_line(str(problem).partition("\n")[0])
        raise UserError(
            f"--upload {repository}: {reason or type(problem).__name__}; the folder {folder} is "
            "complete, and the same command tries again"
        ) from None


def _package() -> Any:
    try:
        return import_module("huggingface_hub")
    except ImportError:
        raise UserError(
            "--upload: needs the package huggingface_hub; expected pip install 'snnrl[hub]'"
        ) from None
