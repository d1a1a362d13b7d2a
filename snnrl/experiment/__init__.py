"""From a configuration to a run: schema, builder, run folder, checkpoint, callbacks, tracking."""

from snnrl.earlier_names import install

# Jobs that wait in a queue of SLURM's name these.
install(__name__, {"sweep_job": "sweep.job", "sweep_submitit": "sweep.slurm"})
