"""What the command line does with models of Keras."""
