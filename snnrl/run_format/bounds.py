"""Bounds on the numbers of a run folder: beyond them a file is damaged, or a stranger's."""

MOST_STEPS = 10**15
"""Environment steps that no run reaches."""

LARGEST_NUMBER = 1e100
"""Returns and other numbers at most; squares of larger ones and their sums overflow."""
