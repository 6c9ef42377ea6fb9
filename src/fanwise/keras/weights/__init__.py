"""Parameters of a model of Keras: read, written, drawn by a plan, and described by a manifest."""
