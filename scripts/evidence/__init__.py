"""A queue of long runs, each by the code of a fixed tag, and what is collected of them."""
