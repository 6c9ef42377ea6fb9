"""Networks of series and text."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from zoo.keras.batches import Batch, normal, sentences, texts
from zoo.keras.layers import Parts, chain
from zoo.keras.losses import BINARY, CROSS_ENTROPY, SQUARES
from zoo.model import Model, maker


def tagger(kind: Any = layers.LSTM) -> Parts:
    """A class for each token."""
    table = layers.Embedding(256, 64, name="table")
    return [table, kind(128, return_sequences=True, name="body"), layers.Dense(256, name="head")]


def classifier() -> Parts:
    """As in the guides of Keras: two LSTMs that read a text from both ends."""
    both = [layers.Bidirectional(layers.LSTM(64, return_sequences=more), name=f"b{more:d}") for more in (True, False)]
    return [layers.Embedding(256, 128, name="table"), *both, layers.Dense(1, name="head")]


def word_cnn() -> Parts:
    """Convolutions over words."""
    parts: Parts = [layers.Embedding(256, 128, name="table")]
    parts += [layers.Conv1D(128, 5, padding="same", activation="relu", name=f"c{i}") for i in range(2)]
    return [*parts, layers.GlobalMaxPooling1D(), layers.Dense(128, "relu", name="d0"), layers.Dense(1, name="head")]


def wavenet() -> Any:
    """Gated convolutions of the past, with ever wider gaps."""
    start = keras.Input((64, 8))
    x = layers.Conv1D(64, 1, name="stem")(start)
    for i in range(5):
        wide = {"padding": "causal", "dilation_rate": 2**i}
        value = layers.Conv1D(64, 2, activation="tanh", name=f"v{i}", **wide)(x)
        gate = layers.Conv1D(64, 2, activation="sigmoid", name=f"g{i}", **wide)(x)
        x = x + layers.Conv1D(64, 1, name=f"o{i}")(value * gate)
    return keras.Model(start, layers.Dense(1, name="head")(layers.GlobalAveragePooling1D()(layers.ReLU()(x))))


def series(count: int = 32) -> Batch:
    x = normal(count, 64, 8)
    return x, x.mean((1, 2))[:, None] * 20


tuned = maker("keras", "recurrent", "tuned", CROSS_ENTROPY)


def words(name: str, parts: Callable[[], Parts], batch: Any = sentences, loss: Any = CROSS_ENTROPY) -> Model:
    return tuned(name, lambda: chain((32,), parts(), "int32"), batch, loss)


MODELS = (
    words("lstm_tagger", tagger),
    words("gru_tagger", lambda: tagger(layers.GRU)),
    words("lstm_both_ways", classifier, texts, BINARY),
    words("word_cnn", word_cnn, texts, BINARY),
    tuned("wavenet", wavenet, series, SQUARES),
)
