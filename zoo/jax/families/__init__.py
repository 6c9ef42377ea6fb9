"""Models of many families in JAX, each written from its paper as people write them: the share that a plan explains."""
