"""Statistics of the weights and signals of a model of PyTorch, and its losses."""
