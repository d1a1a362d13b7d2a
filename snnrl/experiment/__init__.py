"""From a configuration to a run: schema, builder, run folder, checkpoint, callbacks, tracking."""

from snnrl.earlier_names import install

# Jobs waiting in a SLURM queue refer to these names.
install(__name__, {"sweep_job": "sweep.job", "sweep_submitit": "sweep.slurm"})
