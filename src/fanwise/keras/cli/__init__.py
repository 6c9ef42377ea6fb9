"""Commands on models of Keras."""
