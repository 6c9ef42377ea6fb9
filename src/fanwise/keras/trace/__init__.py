"""Runs a model of Keras, records its ops and follows its parameters."""
