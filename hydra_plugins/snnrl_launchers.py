"""The launchers of snnrl, where Hydra looks for plugins; see snnrl.experiment.sweep_launchers."""

from snnrl.experiment import sweep_launchers as launchers


class JoblibLauncher(launchers.JoblibLauncher):
    """``hydra/launcher=joblib``."""


class RayLauncher(launchers.RayLauncher):
    """``hydra/launcher=ray``."""


class SubmititLocalLauncher(launchers.SubmititLocalLauncher):
    """``hydra/launcher=submitit_local``."""


class SubmititSlurmLauncher(launchers.SubmititSlurmLauncher):
    """``hydra/launcher=submitit_slurm``."""
