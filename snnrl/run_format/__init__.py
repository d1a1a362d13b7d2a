"""Format of a run folder: file names, columns, and one reader and one writer for each file.

All code that writes or reads run folders uses it. It needs neither torch nor the agents, except
:mod:`snnrl.run_format.model`, which reads tensors.
"""
