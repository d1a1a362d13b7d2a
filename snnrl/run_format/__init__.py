"""What a run folder holds: file names, columns, and one reader and one writer for each file.

Whoever writes run folders and whoever reads them use it. It needs neither torch nor the agents, but
for :mod:`snnrl.run_format.model`, which reads tensors.
"""
