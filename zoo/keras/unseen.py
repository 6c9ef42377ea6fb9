"""Healthy models that were written, and committed, before the rules that first judged them were looked at again.

They follow the examples that Keras publishes.
"""

import math
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops

from zoo.keras.batches import Batch, digit_images, ids, images, normal
from zoo.keras.layers import built
from zoo.keras.losses import CROSS_ENTROPY, SQUARES
from zoo.model import maker


def own(_: Any, output: Any) -> Any:
    """The model's answer is its loss."""
    return ops.mean(output)


class Variational(keras.Model):
    """A convolutional VAE: the mean and log variance of two numbers, drawn and decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = keras.Sequential(
            [
                layers.Conv2D(16, 3, 2, "same", activation="relu"),
                layers.Conv2D(32, 3, 2, "same", activation="relu"),
                layers.Flatten(),
                layers.Dense(16, "relu"),
            ]
        )
        self.mean, self.spread = layers.Dense(2), layers.Dense(2)
        self.decoder = keras.Sequential(
            [
                layers.Dense(7 * 7 * 32, "relu"),
                layers.Reshape((7, 7, 32)),
                layers.Conv2DTranspose(32, 3, 2, "same", activation="relu"),
                layers.Conv2DTranspose(16, 3, 2, "same", activation="relu"),
                layers.Conv2DTranspose(1, 3, padding="same", activation="sigmoid"),
            ]
        )

    def call(self, inputs: Any) -> Any:
        """Minus the bound, for each picture."""
        x, noise = inputs
        y = self.encoder(x)
        mean, spread = self.mean(y), self.spread(y)
        told = self.decoder(mean + ops.exp(0.5 * spread) * noise)
        error = -(x * ops.log(told + 1e-7) + (1 - x) * ops.log(1 - told + 1e-7))
        distance = -0.5 * (1 + spread - ops.square(mean) - ops.exp(spread))
        return (ops.sum(error, (1, 2, 3)) + ops.sum(distance, 1)) / 784


class Places(layers.Layer):
    """Words and where they stand, two tables."""

    def __init__(self, length: int, words: int, width: int) -> None:
        super().__init__()
        self.words, self.steps = layers.Embedding(words, width), layers.Embedding(length, width)

    def call(self, x: Any) -> Any:
        """Their sum."""
        return self.words(x) + self.steps(ops.arange(x.shape[1]))


def translator(width: int = 48, words: int = 100) -> Any:
    """A transformer of one encoder and one decoder block, norms behind the sums."""
    source, before = keras.Input((12,), dtype="int32"), keras.Input((12,), dtype="int32")
    x = Places(12, words, width)(source)
    y = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, width)(x, x))
    dense = keras.Sequential([layers.Dense(128, "relu"), layers.Dense(width)])
    seen = layers.LayerNormalization()(y + dense(y))
    x = Places(12, words, width)(before)
    a = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, width)(x, x, use_causal_mask=True))
    b = layers.LayerNormalization()(a + layers.MultiHeadAttention(4, width)(a, seen))
    dense = keras.Sequential([layers.Dense(128, "relu"), layers.Dense(width)])
    x = layers.LayerNormalization()(b + dense(b))
    return keras.Model([source, before], layers.Dense(words)(x))


class Recommender(keras.Model):
    """Users and films as vectors and biases, a sigmoid of their product (he_normal, as the example has it)."""

    def __init__(self, users: int = 50, films: int = 80, width: int = 50) -> None:
        super().__init__()
        law = "he_normal"
        self.user, self.user_bias = layers.Embedding(users, width, law), layers.Embedding(users, 1)
        self.film, self.film_bias = layers.Embedding(films, width, law), layers.Embedding(films, 1)

    def call(self, x: Any) -> Any:
        """How much each user likes each film."""
        user, film = x[:, 0], x[:, 1]
        score = ops.sum(self.user(user) * self.film(film), 1, keepdims=True)
        return ops.sigmoid(score + self.user_bias(user) + self.film_bias(film))


class Playing(keras.Model):
    """DDPG: the critic's worth of the actor's action; the actor's last map is U(0.003)."""

    def __init__(self) -> None:
        super().__init__()
        last = initializers.RandomUniform(-0.003, 0.003)
        self.actor = keras.Sequential(
            [layers.Dense(128, "relu"), layers.Dense(128, "relu"), layers.Dense(2, "tanh", kernel_initializer=last)]
        )
        self.state = keras.Sequential([layers.Dense(16, "relu"), layers.Dense(32, "relu")])
        self.action = layers.Dense(32, "relu")
        self.worth = keras.Sequential([layers.Dense(128, "relu"), layers.Dense(128, "relu"), layers.Dense(1)])

    def call(self, x: Any) -> Any:
        """Worth of the actor's action."""
        return self.worth(ops.concatenate([self.state(x), self.action(2 * self.actor(x))], -1))


class GraphAttention(layers.Layer):
    """One head of attention over the edges of a graph (Velickovic 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def build(self, shape: Any) -> None:
        """Makes the map and the vector of scores."""
        self.kernel = self.add_weight((shape[0][-1], self.width), "glorot_uniform", name="kernel")
        self.scores = self.add_weight((self.width * 2, 1), "glorot_uniform", name="scores")

    def call(self, inputs: Any) -> Any:
        """The mix of the neighbours."""
        x, edges = inputs
        x = ops.matmul(x, self.kernel)
        source, sink = edges[:, 0], edges[:, 1]
        pairs = ops.concatenate([ops.take(x, source, 0), ops.take(x, sink, 0)], -1)
        scores = ops.exp(ops.clip(ops.leaky_relu(ops.matmul(pairs, self.scores)), -2, 2))
        total = ops.segment_sum(scores, source, x.shape[0])
        return ops.segment_sum(ops.take(x, sink, 0) * scores / ops.take(total, source, 0), source, x.shape[0])


class GraphNetwork(keras.Model):
    """Two residual layers of four heads each between two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.head = layers.Dense(48, "relu"), layers.Dense(7)
        self.heads = [[GraphAttention(12) for _ in range(4)] for _ in range(2)]

    def call(self, inputs: Any) -> Any:
        """Logits of each node."""
        x, edges = inputs
        x = self.enter(x)
        for heads in self.heads:
            x = ops.relu(ops.concatenate([head([x, edges]) for head in heads], -1)) + x
        return self.head(x)


def series_transformer() -> Any:
    """Attention over a series, perceptrons as convolutions of size one, dropout."""
    x = start = keras.Input((48, 2))
    for _ in range(3):
        y = layers.LayerNormalization(epsilon=1e-6)(layers.MultiHeadAttention(4, 32, dropout=0.0)(x, x))
        x = y + x
        y = layers.Conv1D(2, 1)(layers.Conv1D(4, 1, activation="relu")(x))
        x = layers.LayerNormalization(epsilon=1e-6)(y) + x
    x = layers.GlobalAveragePooling1D(data_format="channels_first")(x)
    return keras.Model(start, layers.Dense(5)(layers.Dense(128, "relu")(x)))


def turned(x: Any, width: int) -> Any:
    """A matrix of each cloud that begins as the identity, and the cloud turned by it."""
    y = x
    for size in (32, 64):
        y = layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(layers.Conv1D(size, 1)(y)))
    y = layers.GlobalMaxPooling1D()(y)
    y = layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(layers.Dense(32)(y)))
    bias = initializers.Constant(np.eye(width).flatten())
    y = layers.Dense(width * width, kernel_initializer="zeros", bias_initializer=bias)(y)
    return layers.Dot((2, 1))([x, layers.Reshape((width, width))(y)])


def points() -> Any:
    """PointNet (Qi 2017) with both of its transforms."""
    start = keras.Input((64, 3))
    x = turned(start, 3)
    for size in (32, 32):
        x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(layers.Conv1D(size, 1)(x)))
    x = turned(x, 32)
    for size in (32, 64):
        x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(layers.Conv1D(size, 1)(x)))
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(layers.Dense(32)(x)))
    return keras.Model(start, layers.Dense(10)(x))


def radiance() -> Any:
    """The small NeRF: eight maps of 64, the input joined to every fourth, no functions at the end."""
    x = start = keras.Input((39,))
    for i in range(8):
        x = layers.Dense(64, "relu")(x)
        x = layers.concatenate([x, start]) if i % 4 == 0 and i > 0 else x
    return keras.Model(start, layers.Dense(4)(x))


class Token(layers.Layer):
    """The mean of the tokens by learned weights."""

    def __init__(self) -> None:
        super().__init__()
        self.score = layers.Dense(1)

    def call(self, x: Any) -> Any:
        """The weighted mean."""
        weights = ops.softmax(self.score(x), 1)
        return ops.squeeze(ops.matmul(ops.transpose(weights, (0, 2, 1)), x), 1)


class Added(layers.Layer):
    """Places that are added, of the uniform law of Keras's tables."""

    def build(self, shape: Any) -> None:
        """Makes the table."""
        self.table = self.add_weight(shape[1:], "uniform", name="table")

    def call(self, x: Any) -> Any:
        """The sum."""
        return x + self.table


def compact() -> Any:
    """The compact convolutional transformer (Hassani 2021)."""
    x = start = keras.Input((32, 32, 3))
    for width in (32, 64):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, activation="relu", kernel_initializer="he_normal")(
            x
        )
        x = layers.MaxPooling2D(3, 2, "same")(x)
    x = Added()(layers.Reshape((64, 64))(x))
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        x = layers.Add()([layers.MultiHeadAttention(2, 64, dropout=0.0)(y, y), x])
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        y = layers.Dense(64, "gelu")(layers.Dense(64, "gelu")(y))
        x = layers.Add()([y, x])
    x = Token()(layers.LayerNormalization(epsilon=1e-5)(x))
    return keras.Model(start, layers.Dense(10)(x))


def detector(classes: int = 5, anchors: int = 3) -> Any:
    """RetinaNet: a pyramid of two levels and heads of N(0, 0.01) that begin at a prior of 0.01."""
    law = partial(initializers.RandomNormal, 0.0, 0.01)
    x = start = keras.Input((32, 32, 3))
    levels = []
    for width in (32, 64, 64):
        x = layers.Conv2D(width, 3, 2, "same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        levels.append(x)
    far = layers.Conv2D(48, 1)(levels[2])
    near = layers.Conv2D(48, 1)(levels[1]) + layers.UpSampling2D(2)(far)

    def head(outputs: int, bias: Any) -> Any:
        parts = []
        for _ in range(4):
            parts += [layers.Conv2D(48, 3, padding="same", kernel_initializer=law()), layers.ReLU()]
        last = layers.Conv2D(outputs, 3, padding="same", kernel_initializer=law(), bias_initializer=bias)
        return keras.Sequential([keras.Input((None, None, 48)), *parts, last])

    prior = initializers.Constant(-math.log(99))
    say, place = head(anchors * classes, prior), head(anchors * 4, "zeros")
    out = []
    for level in [layers.Conv2D(48, 3, 1, "same")(level) for level in (near, far)]:
        parts = [layers.Reshape((-1, n))(part(level)) for part, n in ((place, 4), (say, classes))]
        out.append(layers.Concatenate(-1)(parts))
    return keras.Model(start, layers.Concatenate(1)(out))


def focal(truth: Any, output: Any) -> Any:
    """The focal loss of classes, and the error of boxes that hold an object."""
    there = ops.cast(truth[..., 4] >= 0, "float32")
    classes = ops.one_hot(ops.cast(truth[..., 4], "int32"), 5)
    logits = output[..., 4:]
    chance = ops.sigmoid(logits)
    right = classes * chance + (1 - classes) * (1 - chance)
    share = classes * 0.25 + (1 - classes) * 0.75
    cross = ops.maximum(logits, 0) - logits * classes + ops.log1p(ops.exp(-ops.abs(logits)))
    boxes = ops.sum(ops.abs(output[..., :4] - truth[..., :4]), -1)
    count = ops.sum(there) + 1.0
    return (ops.sum(share * (1 - right) ** 2 * cross) + ops.sum(boxes * there)) / count


def pictures_and_noise() -> Batch:
    x, _ = digit_images(32)
    return [x, normal(32, 2, seed=6)], np.zeros(32, np.float32)


def sentences() -> Batch:
    x = ids(24, 12, high=99) + 1
    return [x, np.pad(x[:, :0:-1], ((0, 0), (1, 0)))], x[:, ::-1].copy()


def liked() -> Batch:
    x = np.stack([ids(64, high=50), ids(64, high=80, seed=3)], 1)
    return x, (((x[:, :1] * 3 + x[:, 1:]) % 5) / 4).astype(np.float32)


def states() -> Batch:
    x = normal(64, 3)
    return x, -(x[:, :1] ** 2) - 0.1 * x[:, 1:2]


def papers() -> Batch:
    place = np.arange(100)
    edges = np.concatenate([np.stack([place, place], 1), np.stack([place, (place * 7 + 1) % 100], 1)])
    x = normal(100, 40)
    return [x, edges.astype(np.int32)], (x @ normal(40, 7, seed=3)).argmax(1)


def waves() -> Batch:
    speed = np.random.default_rng(7).integers(0, 5, 32)
    time = np.arange(48)[None, :, None]
    x = np.sin(0.1 * (1 + speed[:, None, None]) * time + np.array([0.0, 1.0])) + 0.1 * normal(32, 48, 2)
    return x.astype(np.float32), speed


def clouds() -> Batch:
    label = np.arange(32) % 10
    x = normal(32, 64, 3) * (1 + 0.2 * label[:, None, None] * np.array([1.0, -0.4, 0.1]))
    return x.astype(np.float32), label


def scene() -> Batch:
    x = (2 * np.random.default_rng(4).random((256, 3)) - 1).astype(np.float32)
    angle = (x[..., None] * 2.0 ** np.arange(6)).reshape(256, -1)
    seen = np.concatenate([x, np.sin(angle), np.cos(angle)], 1).astype(np.float32)
    return seen, np.concatenate([0.5 + 0.5 * np.sin(3 * x), (x**2).sum(1, keepdims=True) - 1], 1).astype(np.float32)


def objects() -> Batch:
    x, label = images(8, 32)
    there = np.random.default_rng(5).random((8, 240)) < 0.05
    classes = np.where(there, label[:, None] % 5, -1)
    return x, np.concatenate([normal(8, 240, 4, seed=6), classes[..., None]], -1).astype(np.float32)


generated, listed = maker("keras", "generative", "unseen", own), maker("keras", "tabular", "unseen", SQUARES)
read, linked = maker("keras", "transformer", "unseen", CROSS_ENTROPY), maker("keras", "graph", "unseen", CROSS_ENTROPY)
placed, seen = maker("keras", "fields", "unseen", SQUARES), maker("keras", "cnn", "unseen", CROSS_ENTROPY)
acted = maker("keras", "agents", "unseen", SQUARES)
MODELS = (
    generated("keras_vae", lambda: built(Variational(), pictures_and_noise), pictures_and_noise),
    read("keras_translator", translator, sentences),
    listed("keras_recommender", lambda: built(Recommender(), liked), liked),
    acted("keras_ddpg", lambda: built(Playing(), states), states),
    linked("keras_graph_attention", lambda: built(GraphNetwork(), papers), papers),
    read("keras_series_transformer", series_transformer, waves),
    linked("keras_point_net", points, clouds),
    placed("keras_tiny_nerf", radiance, scene),
    seen("keras_compact_transformer", compact, images),
    seen("keras_retinanet", detector, objects, focal),
)
