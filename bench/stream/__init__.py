"""Benchmarks of the random number stream and of what is drawn from it."""
