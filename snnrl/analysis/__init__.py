"""Run folders -> tables and figures. It only reads files: needs neither torch nor the agents."""
