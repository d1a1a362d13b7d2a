"""Everything that a run resumes from."""
