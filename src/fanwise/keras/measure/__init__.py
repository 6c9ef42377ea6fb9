"""Statistics of the weights and signals of a model of Keras, and its losses."""
