"""Records of runs, and runs reproduced from them."""
