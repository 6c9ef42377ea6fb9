"""Functional models, subclassed ones and layers with weights of their own."""

import keras
from keras import layers, ops

from zoo.keras.batches import ids, normal
from zoo.keras.families.rows import CLASSES, WIDTH, WORDS, classifier


def squeeze_mobile():
    """MBConv (Tan and Le, 2019): expansion, depthwise, squeeze and excitation, swish, linear ends."""
    x = start = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, 2, "same", use_bias=False)(x)
    for _ in range(3):
        y = layers.Activation("swish")(layers.BatchNormalization()(layers.Conv2D(64, 1, use_bias=False)(x)))
        y = layers.DepthwiseConv2D(5, padding="same", use_bias=False)(y)
        y = layers.Activation("swish")(layers.BatchNormalization()(y))
        se = layers.Reshape((1, 1, 64))(layers.GlobalAveragePooling2D()(y))
        se = layers.Conv2D(64, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="swish")(se))
        y = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(layers.multiply([y, se])))
        x = layers.add([x, y])
    return keras.Model(start, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


class Patches(layers.Layer):
    """Tokens of a picture with positions and a class token, as in the examples of Keras."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.width, self.project = width, layers.Dense(width)

    def build(self, shape):
        self.places = self.add_weight(shape=(17, self.width), initializer="random_normal", name="places")
        self.token = self.add_weight(shape=(1, 1, self.width), initializer="zeros", name="token")
        self.project.build((None, 16, 48))

    def call(self, x):
        x = ops.reshape(x, (-1, 4, 4, 4, 4, 3))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 16, 48))
        x = self.project(x)
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, self.width))
        return ops.concatenate([token, x], 1) + self.places


def vision_transformer():
    start = keras.Input((16, 16, 3))
    x = Patches(WIDTH)(start)
    for _ in range(3):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([layers.MultiHeadAttention(4, 8)(y, y), x])
        y = layers.Dense(64, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = layers.Add()([layers.Dense(WIDTH)(y), x])
    x = layers.LayerNormalization()(x)[:, 0]
    return keras.Model(start, layers.Dense(CLASSES)(x))


class GatedResidual(layers.Layer):
    """The gated residual network of a temporal fusion transformer (Lim et al., 2021)."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.elu, self.linear = layers.Dense(width, "elu"), layers.Dense(width)
        self.value, self.gate = layers.Dense(width), layers.Dense(width, "sigmoid")
        self.norm, self.project = layers.LayerNormalization(), layers.Dense(width)

    def call(self, x):
        y = self.linear(self.elu(x))
        return self.norm(self.project(x) + self.value(y) * self.gate(y))


def variable_selection():
    start = keras.Input((6,))
    parts = [GatedResidual(16)(start[:, i : i + 1]) for i in range(6)]
    weight = layers.Dense(6, "softmax")(GatedResidual(16)(start))
    x = ops.sum(ops.stack(parts, 1) * ops.expand_dims(weight, -1), 1)
    return keras.Model(start, layers.Dense(CLASSES)(x))


class Cross(layers.Layer):
    """x0 (W x + b) + x (Wang et al., 2021)."""

    def __init__(self, **options):
        super().__init__(**options)

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], shape[-1]), initializer="glorot_normal", name="w")
        self.b = self.add_weight(shape=(shape[-1],), initializer="zeros", name="b")

    def call(self, x0, x):
        return x0 * (ops.matmul(x, self.w) + self.b) + x


def deep_and_cross():
    start = keras.Input((5,), dtype="int32")
    x0 = layers.Flatten()(layers.Embedding(100, 8)(start))
    x = x0
    for _ in range(3):
        x = Cross()(x0, x)
    deep = layers.Dense(32, "relu")(layers.Dense(64, "relu")(x0))
    return keras.Model(start, layers.Dense(CLASSES)(layers.Concatenate()([x, deep])))


class Linear(layers.Layer):
    """Linear attention (Katharopoulos et al., 2020) with elu + 1 features, by einsum, weights with heads as axes."""

    def __init__(self, heads=4, size=8, **options):
        super().__init__(**options)
        self.heads, self.size = heads, size

    def build(self, shape):
        d = shape[-1]
        make = lambda name, s: self.add_weight(shape=s, initializer="glorot_uniform", name=name)
        self.q, self.k, self.v = (make(n, (d, self.heads, self.size)) for n in "qkv")
        self.o = make("o", (self.heads, self.size, d))

    def call(self, x):
        q, k = (ops.elu(ops.einsum("btd,dhk->bthk", x, w)) + 1 for w in (self.q, self.k))
        v = ops.einsum("btd,dhk->bthk", x, self.v)
        kv = ops.einsum("bshk,bshv->bhkv", k, v)
        y = ops.einsum("bthk,bhkv->bthv", q, kv) / ops.expand_dims(ops.einsum("bthk,bhk->bth", q, ops.sum(k, 1)), -1)
        return ops.einsum("bthv,hvd->btd", y, self.o)


def linear_transformer():
    x = start = keras.Input((24, 8))
    x = layers.Dense(WIDTH)(x)
    for _ in range(3):
        x = x + Linear()(layers.RMSNormalization()(x))
        y = layers.RMSNormalization()(x)
        x = x + layers.Dense(WIDTH)(layers.Dense(64, "silu")(y) * layers.Dense(64)(y))
    return keras.Model(start, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(layers.RMSNormalization()(x))))


class MemoryNetwork(keras.Model):
    """Sukhbaatar et al. (2015): three hops over two tables."""

    def __init__(self):
        super().__init__()
        self.a, self.c, self.b = (layers.Embedding(WORDS, WIDTH) for _ in range(3))
        self.h, self.head = layers.Dense(WIDTH, use_bias=False), layers.Dense(CLASSES)

    def call(self, x):
        story, question = x[:, :12], x[:, 12:]
        u = ops.sum(self.b(question), 1)
        memory, answer = self.a(story), self.c(story)
        for _ in range(3):
            p = ops.softmax(ops.einsum("bd,bnd->bn", u, memory))
            u = self.h(u) + ops.einsum("bn,bnd->bd", p, answer)
        return self.head(u)


def inception_time():
    """Fawaz et al. (2020): three kernel lengths behind a bottleneck, shortcuts every three blocks."""
    x = start = keras.Input((32, 4))
    shortcut = x
    for depth in range(6):
        y = layers.Conv1D(8, 1, padding="same", use_bias=False)(x)
        branches = [layers.Conv1D(8, k, padding="same", use_bias=False)(y) for k in (3, 7, 15)]
        pooled = layers.Conv1D(8, 1, padding="same", use_bias=False)(layers.MaxPooling1D(3, 1, "same")(x))
        x = layers.ReLU()(layers.BatchNormalization()(layers.Concatenate()([*branches, pooled])))
        if depth % 3 == 2:
            side = layers.BatchNormalization()(layers.Conv1D(32, 1, padding="same", use_bias=False)(shortcut))
            x = shortcut = layers.ReLU()(layers.Add()([x, side]))
    return keras.Model(start, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))


class Capsules(layers.Layer):
    """Sabour et al. (2017): predictions of every pair of capsules, routed three times by agreement."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[1], CLASSES, 8, shape[2]), initializer="glorot_uniform", name="w")

    def squash(self, s):
        n = ops.sum(ops.square(s), -1, keepdims=True)
        return n / (1 + n) * s / ops.sqrt(n + 1e-7)

    def call(self, x):
        u = ops.einsum("nkoi,bni->bnko", self.w, x)
        b = ops.zeros_like(u[..., :1])
        for _ in range(3):
            v = self.squash(ops.sum(ops.softmax(b, 2) * u, 1, keepdims=True))
            b = b + ops.sum(u * v, -1, keepdims=True)
        return ops.sqrt(ops.sum(ops.square(v[:, 0]), -1) + 1e-7)


def capsules():
    start = keras.Input((12, 12, 1))
    x = layers.Conv2D(32, 5, activation="relu")(start)
    x = layers.Reshape((-1, 8))(layers.Conv2D(16, 5, 2)(x))
    return keras.Model(start, Capsules()(x))


def attention_unet():
    """Oktay et al. (2018): additive gates of the skips by the coarser level."""
    start = keras.Input((16, 16, 2))
    conv = lambda x, n: layers.Conv2D(n, 3, padding="same", activation="relu")(x)
    a = conv(start, 16)
    b = conv(layers.MaxPooling2D()(a), 32)
    g = layers.UpSampling2D()(b)
    gate = layers.Activation("relu")(layers.Conv2D(8, 1)(g) + layers.Conv2D(8, 1, use_bias=False)(a))
    gate = layers.Conv2D(1, 1, activation="sigmoid")(gate)
    x = conv(layers.Concatenate()([layers.Multiply()([a, gate]), g]), 16)
    return keras.Model(start, layers.Conv2D(CLASSES, 1)(x))


class Experts(keras.Model):
    """Ma et al. (2018), multi-gate experts; the first task's answer comes first."""

    def __init__(self):
        super().__init__()
        self.experts = [keras.Sequential([layers.Dense(32, "relu"), layers.Dense(16, "relu")]) for _ in range(4)]
        self.gates = [layers.Dense(4, "softmax", use_bias=False) for _ in range(2)]
        self.heads = [layers.Dense(CLASSES), layers.Dense(1)]

    def call(self, x):
        seen = ops.stack([expert(x) for expert in self.experts], 1)
        return [h(ops.sum(ops.expand_dims(g(x), -1) * seen, 1)) for g, h in zip(self.gates, self.heads, strict=True)]


MODELS = (
    classifier("squeezed_bottlenecks", "cnn", squeeze_mobile, lambda: normal(8, 16, 16, 3)),
    classifier("patches", "transformer", vision_transformer, lambda: normal(8, 16, 16, 3)),
    classifier("variable_selection", "tabular", variable_selection, lambda: normal(32, 6)),
    classifier("deep_and_cross", "tabular", deep_and_cross, lambda: ids(32, 5, high=100)),
    classifier("linear_attention", "transformer", linear_transformer, lambda: normal(8, 24, 8)),
    classifier("memory_network", "recurrent", MemoryNetwork, lambda: ids(16, 16, high=WORDS)),
    classifier("inception_time", "cnn", inception_time, lambda: normal(8, 32, 4)),
    classifier("capsules", "cnn", capsules, lambda: normal(8, 12, 12, 1), logits=None, classes=None),
    classifier("attention_u_net", "cnn", attention_unet, lambda: normal(8, 16, 16, 2)),
    classifier("multi_gate_experts", "tabular", Experts, lambda: normal(32, 12), logits=lambda output: output[0]),
)
