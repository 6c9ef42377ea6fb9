"""Losses of the models of Keras, of target and output."""

import keras

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


BINARY = keras.losses.BinaryCrossentropy(from_logits=True)


SQUARES = keras.losses.MeanSquaredError()
