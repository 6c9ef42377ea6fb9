"""Parameters of a model of PyTorch: read, written, drawn by a plan, and described by a manifest."""
