"""Commands on models of JAX."""
