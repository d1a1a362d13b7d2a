"""The folder of a run, as it is written."""
