"""Base of trackers, which show curves outside the run folder; its csv files stay the source of
truth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from tqdm import tqdm

from snnrl.experiment.folder.run_folder import RunFolder


class Tracker:
    """Show the curves of a run; this one (``tracking=none``) shows none.

    A run does not depend on its tracker: one that fails is dropped, with a message.

    :param folder: the run's folder
    """

    name = "tracking"

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.given_up = False

    @property
    def message(self) -> str | None:
        """Return a message for the user, once."""
        return None

    def begin(self) -> None:
        """Show the contents of the csv files, which must already be cut back to where the run
        resumes."""
        self._try(self._begin)

    def log(self, timesteps: int, values: Mapping[str, float]) -> None:
        """Show new values; the x-axis is ``timesteps``, which never decreases."""
        self._try(lambda: self._log(timesteps, values))

    def finish(self, exit_code: int = 0) -> None:
        """End the tracking of the run.

        :param exit_code: 0 for a run that is done
        """
        self._try(lambda: self._finish(exit_code))

    def _begin(self) -> None: ...

    def _log(self, timesteps: int, values: Mapping[str, float]) -> None: ...

    def _finish(self, exit_code: int) -> None: ...

    def _try(self, action: Callable[[], None]) -> None:
        if self.given_up:
            return
        try:
            action()
        except Exception as problem:
            self.given_up = True
            reason = (str(problem) or type(problem).__name__).split("\n")[0]
            tell(f"{self.name} is disabled ({reason}); the csv files have every curve")


def tell(line: str) -> None:
    """Print a line above the progress bar."""
    tqdm.write(line, file=sys.stderr)
