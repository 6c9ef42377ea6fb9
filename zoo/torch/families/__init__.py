"""Models of many families, each written from its paper as people write them: the share that a plan explains."""
