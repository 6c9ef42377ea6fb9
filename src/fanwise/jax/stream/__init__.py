"""The random number stream in JAX: the same bits, under jit and in shards."""
