"""Networks of rows: numbers, categories and short texts."""

from typing import Any

import keras
from keras import layers

from zoo.keras.batches import Batch, ids, labels, normal
from zoo.keras.layers import mlp, run_all
from zoo.keras.losses import CROSS_ENTROPY
from zoo.model import maker


def tables() -> Any:
    """Several inputs: numbers, a category, a short text."""
    numbers, kind = keras.Input((16,), name="numbers"), keras.Input((1,), dtype="int32", name="kind")
    words = keras.Input((12,), dtype="int32", name="words")
    left = layers.Flatten()(layers.Embedding(20, 16, name="kinds")(kind))
    text = layers.GRU(32, name="read")(layers.Embedding(100, 32, name="terms")(words))
    joined = layers.Concatenate()([layers.BatchNormalization()(numbers), left, text])
    return keras.Model([numbers, kind, words], run_all(joined, mlp(80, 128, 64, 10)))


def columns() -> Batch:
    x = normal(64, 16)
    return [x, ids(64, 1, high=20), ids(64, 12, high=100)], labels(x)


tuned = maker("keras", "tabular", "tuned", CROSS_ENTROPY)


MODELS = (tuned("tables", tables, columns),)
