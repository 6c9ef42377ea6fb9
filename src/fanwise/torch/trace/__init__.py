"""Runs a model of PyTorch, records its ops and follows its parameters."""
