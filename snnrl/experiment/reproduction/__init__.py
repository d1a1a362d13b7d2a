"""Records of what ran, and runs made again from them."""
