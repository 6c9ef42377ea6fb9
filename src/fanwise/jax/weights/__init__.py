"""Parameters of a model of JAX: read, written, drawn by a plan, and described by a manifest."""
