"""Is this model healthy at step zero: observations, rules, findings and their report."""
