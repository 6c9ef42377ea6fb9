"""Commands on models of PyTorch."""
