"""Run folders -> tables and pictures. Reads files only: needs neither torch nor the agents."""
