"""From a configuration to a run: schema, builder, run folder, checkpoint, callbacks, tracking."""
