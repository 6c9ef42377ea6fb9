"""Models of many families in Keras, each written from its paper as people write them: what a plan explains."""
