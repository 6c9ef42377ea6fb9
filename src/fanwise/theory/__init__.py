"""What theory says of a network before it runs: moments over a trace, mean-field maps, bands of finite width."""
