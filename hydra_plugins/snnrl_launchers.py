"""The launchers of snnrl, where Hydra looks for plugins; snnrl.experiment has what they do."""

from snnrl.experiment import sweep_launchers, sweep_submitit


class JoblibLauncher(sweep_launchers.JoblibLauncher):
    """``hydra/launcher=joblib``."""


class RayLauncher(sweep_launchers.RayLauncher):
    """``hydra/launcher=ray``."""


class SubmititLocalLauncher(sweep_submitit.SubmititLocalLauncher):
    """``hydra/launcher=submitit_local``."""


class SubmititSlurmLauncher(sweep_submitit.SubmititSlurmLauncher):
    """``hydra/launcher=submitit_slurm``."""
