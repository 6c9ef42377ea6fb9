"""Mean field of wide networks: lengths and correlations of signals from layer to layer, fixed points, finite width."""
