"""Run folders, as they are written."""
