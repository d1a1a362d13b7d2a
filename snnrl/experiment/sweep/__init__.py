"""Many runs: who does them, and what came of each."""
