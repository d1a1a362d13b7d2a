"""Modules and classes by their earlier names, which saved agents and checkpoints hold."""

MODULES = {
    "actor": "policies.actors",
    "actor_critic": "policies.on_policy",
    "buffers": "replay.buffer",
    "captured": "updates.cuda_graphs",
    "critic": "policies.critics",
    "features": "policies.features",
    "fixed": "updates.frozen",
    "followers": "updates.targets",
    "losses": "updates.loss_log",
    "modes": "policies.modes",
    "optimizers": "updates.optimizers",
    "part": "policies.part",
    "precision": "updates.precision",
    "recalibration": "updates.recalibration",
    "resident": "replay.on_device",
    "spiking": "policies.options",
}
"""Earlier name in ``snnrl.agents`` -> where its content is now."""

CLASSES = {
    "Fixed": "Frozen",
    "Followers": "TargetNetworks",
    "Losses": "LossLog",
    "ResidentTransitions": "OnDeviceTransitions",
}
"""Earlier name of a class -> its name now."""
