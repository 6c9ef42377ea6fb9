"""Models that tests and benches use."""
