"""Which number stands at (key, index). Knows nothing of networks."""
