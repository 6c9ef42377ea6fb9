"""Runs a model of JAX, records its ops and follows its parameters."""
