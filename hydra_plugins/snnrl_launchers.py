"""The launchers of snnrl, where Hydra looks for plugins; snnrl.experiment has what they do."""

from snnrl.experiment.sweep import launchers, slurm


class JoblibLauncher(launchers.JoblibLauncher):
    """``hydra/launcher=joblib``."""


class RayLauncher(launchers.RayLauncher):
    """``hydra/launcher=ray``."""


class SubmititLocalLauncher(slurm.SubmititLocalLauncher):
    """``hydra/launcher=submitit_local``."""


class SubmititSlurmLauncher(slurm.SubmititSlurmLauncher):
    """``hydra/launcher=submitit_slurm``."""
