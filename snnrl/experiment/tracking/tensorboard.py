"""TensorBoard: event files beside the csv files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from snnrl.errors import UserError
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.tracking.history import history
from snnrl.experiment.tracking.tracker import Tracker
from snnrl.run_format.names import TENSORBOARD


class TensorBoard(Tracker):
    """Scalars in ``<run folder>/tensorboard``, by environment steps.

    Events cannot be removed, so a resumed run writes them again from the csv files.

    :raises UserError: the package ``tensorboard`` is not installed
    """

    name = "TensorBoard"

    def __init__(self, folder: RunFolder):
        super().__init__(folder)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError(
                "tracking=tensorboard: the package tensorboard is not installed; expected "
                "`pip install 'snnrl[tensorboard]'` first, or another tracking"
            ) from None
        self.make_writer = SummaryWriter

    @property
    def message(self) -> str:
        return f"TensorBoard: tensorboard --logdir {self.folder.cfg.results_dir}"

    def _begin(self) -> None:
        path = self.folder.path / TENSORBOARD
        shutil.rmtree(path, ignore_errors=True)
        self.writer = self.make_writer(str(path))
        for step, values in history(self.folder):
            self._log(step, values)

    def _log(self, timesteps: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, timesteps)

    def _finish(self, exit_code: int) -> None:
        self.writer.close()
