"""What was measured: statistics of weights and of signals, losses."""
