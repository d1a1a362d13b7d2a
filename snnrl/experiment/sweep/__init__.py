"""Sweeps: launchers and the outcomes of runs."""
