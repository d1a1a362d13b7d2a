"""Bounds on the numbers of a run folder: beyond them a file is damaged or foreign."""

MOST_STEPS = 10**15
"""Environment steps that no run reaches."""

LARGEST_NUMBER = 1e100
"""Largest returns and other numbers; squares of larger ones and their sums overflow."""
