"""A queue of long runs, each with the code of a fixed tag, and the collection of their records."""
