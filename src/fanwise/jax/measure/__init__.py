"""Statistics of the weights and signals of a model of JAX, and its losses."""
