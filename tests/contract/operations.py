"""Settings of single operations, drawn once, and each framework's own way to write them.

A case is a word and numbers; a model multiplies by a parameter of 2 first, so that the gradient at what the operation
reads is seen, then applies the operation. Arrays have their channels last; PyTorch's models turn them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np

from .networks import Array

SEED = 20
EACH = 5
"""Settings of each kind of operation."""


@dataclass(frozen=True)
class Case:
    """One operation.

    Args:
        kind: a word that each framework knows.
        shape: of the input, channels last.
        mean: of the input, whose variance is 1.
        shared: share of its variance that all places of an example have in common.
        relu: whether a ReLU stands before the operation.
        settings: numbers of the operation.
    """

    kind: str
    shape: tuple[int, ...]
    mean: float = 0.0
    shared: float = 0.0
    relu: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self) -> Array:
        """Normal values."""
        numbers = np.random.default_rng([SEED, math.prod(self.shape)])
        places = (self.shape[0], *(1 for _ in self.shape[1:-1]), self.shape[-1])
        own, common = numbers.standard_normal(self.shape), numbers.standard_normal(places)
        return (self.mean + math.sqrt(1 - self.shared) * own + math.sqrt(self.shared) * common).astype(np.float32)


def _windows(kind: str, numbers: np.random.Generator) -> Case:
    dims = int(numbers.integers(1, 4))
    window = tuple(int(size) for size in numbers.integers(2, 5, dims))
    stride = tuple(int(numbers.integers(1, size + 1)) for size in window)
    sizes = tuple(int(size) for size in numbers.integers(max(window) + 1, {1: 40, 2: 14, 3: 8}[dims], dims))
    words = {"window": window, "stride": stride, "padding": str(numbers.choice(["valid", "same"]))}
    return _case(kind, (4, *sizes, 32), numbers, words)


def _convolution(kind: str, numbers: np.random.Generator) -> Case:
    case = _windows(kind, numbers)
    dims = len(case.shape) - 2
    groups = int(numbers.choice([1, 1, 4])) if kind == "conv" else 1
    dilated = (kind == "conv" and max(case.settings["stride"]) == 1) or numbers.random() < 0.3
    more = {"outputs": 48, "groups": groups, "bias": bool(numbers.random() < 0.5)}
    if kind == "conv" and dilated:
        more |= {"dilation": 2, "stride": (1,) * dims}
    shape = (case.shape[0], *(size + 3 for size in case.shape[1:-1]), case.shape[-1])
    return _case(kind, shape, numbers, {**case.settings, **more})


def _places(kind: str, numbers: np.random.Generator) -> Case:
    return _case(kind, (8, int(numbers.integers(2, 60)), int(numbers.integers(40, 90))), numbers, {})


def _features(kind: str, numbers: np.random.Generator) -> Case:
    return _case(kind, (64, int(numbers.integers(2, 20)), int(numbers.integers(60, 200))), numbers, {})


def _halves(kind: str, numbers: np.random.Generator) -> Case:
    return _case(kind, (64, int(numbers.integers(2, 20)), 2 * int(numbers.integers(30, 100))), numbers, {})


def _square(kind: str, numbers: np.random.Generator) -> Case:
    size = int(numbers.integers(20, 50))
    return Case(kind, (16, size, size))


def _signed(kind: str, numbers: np.random.Generator) -> Case:
    """Without a ReLU, whose square JAX's programs do not tell from a nonlinearity of its own."""
    return replace(_features(kind, numbers), relu=False)


def _apart(kind: str, numbers: np.random.Generator) -> Case:
    """Places with nothing in common: what has no rule is run on such values."""
    return replace(_places(kind, numbers), mean=0.0, shared=0.0, relu=False)


def _pairs(kind: str, numbers: np.random.Generator) -> Case:
    """Queries and keys without a mean, which all scores would share."""
    return replace(_features(kind, numbers), mean=0.0, relu=False)


def _dense(kind: str, numbers: np.random.Generator) -> Case:
    words = {"outputs": int(numbers.integers(100, 200)), "bias": bool(numbers.random() < 0.5)}
    return _case(kind, (64, int(numbers.integers(1, 6)), int(numbers.integers(100, 200))), numbers, words)


def _image(kind: str, numbers: np.random.Generator) -> Case:
    size = int(numbers.integers(5, 12))
    return _case(kind, (4, size, size + 1, 32), numbers, {"times": int(numbers.integers(2, 4))})


def _case(kind: str, shape: tuple[int, ...], numbers: np.random.Generator, settings: Mapping[str, Any]) -> Case:
    mean, shared = float(numbers.choice([0.0, 0.0, 0.8])), float(numbers.choice([0.0, 0.5]))
    return Case(kind, shape, mean, shared, bool(numbers.random() < 0.4), settings)


KINDS: Mapping[str, Callable[[str, np.random.Generator], Case]] = {
    "max_pool": _windows,
    "average_pool": _windows,
    "global_max": _places,
    "global_mean": _places,
    "sum_places": _places,
    "mean_features": _features,
    "sum_features": _features,
    "max_features": _features,
    "dense": _dense,
    "conv": _convolution,
    "conv_transpose": _convolution,
    "layer_norm": _features,
    "rms_norm": _signed,
    "batch_statistics": _places,
    "relu": _features,
    "gelu": _features,
    "tanh": _features,
    "silu": _features,
    "softplus": _features,
    "elu": _features,
    "leaky_relu": _features,
    "exp": _features,
    "abs": _features,
    "clip": _features,
    "square": _features,
    "add": _features,
    "subtract": _features,
    "product": _features,
    "quotient": _features,
    "concat": _features,
    "twice": _features,
    "halves": _halves,
    "softmax": _features,
    "softmax_over_places": _features,
    "log_softmax": _features,
    "scores": _pairs,
    "attention": _pairs,
    "up": _image,
    "down": _image,
    "pad": _image,
    "triangle": _square,
    "cumulative": _apart,
    "dropout": _features,
}
"""Each kind of operation, and what draws its settings."""


MAPS = ("dense", "conv", "conv_transpose")
"""Operations with a weight."""
PAIRS = ("scores", "attention")
"""Operations of queries and keys, which are maps of the input."""


def cases(kind: str) -> list[Case]:
    """The settings of a kind."""
    numbers = np.random.default_rng([SEED, *kind.encode()])
    return [KINDS[kind](kind, numbers) for _ in range(EACH)]


# PyTorch


def torch_model(case: Case) -> Any:
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    functional, s = nn.functional, case.settings
    dims, channels = len(case.shape) - 2, case.shape[-1]

    def same(x: Any, value: float) -> Any:
        pads: list[int] = []
        for size, window, step in zip(x.shape[:1:-1], s["window"][::-1], s["stride"][::-1], strict=True):
            total = max((-(-size // step) - 1) * step + window - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.pad(x, pads, value=value)

    def max_pool(x: Any) -> Any:
        x = same(x, -math.inf) if s["padding"] == "same" else x
        return getattr(functional, f"max_pool{dims}d")(x, s["window"], s["stride"])

    def average_pool(x: Any) -> Any:
        pad = tuple(size // 2 if s["padding"] == "same" else 0 for size in s["window"])
        return getattr(functional, f"avg_pool{dims}d")(x, s["window"], s["stride"], pad)

    def convolution() -> nn.Module:
        kind = getattr(nn, f"Conv{'Transpose' if case.kind == 'conv_transpose' else ''}{dims}d")
        words = {"stride": s["stride"], "groups": s["groups"], "bias": s["bias"], "dilation": s.get("dilation", 1)}
        pad = tuple(size // 2 for size in s["window"]) if s["padding"] == "same" else 0
        return kind(channels, s["outputs"], s["window"], padding=pad, **words)

    ways: dict[str, Any] = {
        "max_pool": max_pool,
        "average_pool": average_pool,
        "global_max": lambda x: x.amax(1),
        "global_mean": lambda x: x.mean(1),
        "sum_places": lambda x: x.sum(1),
        "mean_features": lambda x: x.mean(-1, keepdim=True),
        "sum_features": lambda x: x.sum(-1),
        "max_features": lambda x: x.amax(-1, keepdim=True),
        "layer_norm": lambda x: functional.layer_norm(x, x.shape[-1:]),
        "rms_norm": lambda x: functional.rms_norm(x, x.shape[-1:]),
        "batch_statistics": lambda x: functional.batch_norm(x.transpose(1, 2), None, None, training=True),
        "gelu": functional.gelu,
        "silu": functional.silu,
        "softplus": functional.softplus,
        "elu": functional.elu,
        "exp": lambda x: (0.25 * x).exp(),
        "leaky_relu": functional.leaky_relu,
        "clip": lambda x: x.clamp(-0.5, 1.0),
        "add": lambda x: x + x.tanh(),
        "subtract": lambda x: x - x.tanh(),
        "product": lambda x: x * x.tanh(),
        "quotient": lambda x: x / (1 + x.square()),
        "concat": lambda x: torch.cat([x, x.tanh()], -1),
        "twice": lambda x: torch.cat([x, x], -1),
        "halves": lambda x: x[..., : channels // 2] * x[..., channels // 2 :],
        "softmax": lambda x: (0.25 * x).softmax(-1),
        "softmax_over_places": lambda x: (0.25 * x).softmax(1),
        "log_softmax": lambda x: x.log_softmax(-1),
        "scores": lambda x, q, k: q @ k.transpose(1, 2) / 8,
        "attention": lambda x, q, k: (q @ k.transpose(1, 2) / 8).softmax(-1) @ x,
        "up": lambda x: functional.interpolate(x, scale_factor=s["times"], mode="bilinear"),
        "down": lambda x: functional.interpolate(x, size=[n // s["times"] for n in x.shape[2:]], mode="nearest"),
        "pad": lambda x: functional.pad(x, [s["times"]] * 4),
        "triangle": lambda x: x.tril(),
        "cumulative": lambda x: x.cumsum(1),
        "dropout": lambda x: functional.dropout(x, 0.5, training=False),
    }

    class Applied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice = nn.Parameter(torch.full((), 2.0))
            self.query, self.key = (nn.Parameter(torch.randn(channels, 64) / (2 * channels**0.5)) for _ in range(2))
            if case.kind == "dense":
                self.layer = nn.Linear(channels, s["outputs"], s["bias"])
            elif case.kind.startswith("conv"):
                self.layer = convolution()

        def forward(self, x: Any) -> Any:
            x = (x.movedim(-1, 1) if self.turned else x) * self.twice
            x = x.relu() if case.relu else x
            if case.kind in PAIRS:
                return ways[case.kind](x, x @ self.query, x @ self.key)
            return self.layer(x) if hasattr(self, "layer") else ways.get(case.kind, getattr(torch, case.kind, None))(x)

        turned = case.kind in ("max_pool", "average_pool", "conv", "conv_transpose", "up", "down", "pad")

    torch.manual_seed(0)
    return Applied()


# JAX


def jax_model(case: Case) -> Any:
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415
    from jax import lax, nn  # noqa: PLC0415

    s, channels = case.settings, case.shape[-1]
    dims = len(case.shape) - 2

    def windowed(x: Any, initial: float, function: Any) -> Any:
        sizes = (1, *s["window"], 1), (1, *s["stride"], 1)
        return lax.reduce_window(x, initial, function, *sizes, s["padding"].upper())

    letters = "XYZ"[:dims] if len(case.shape) > 2 else ""
    order = (f"N{letters}C", f"{letters}IO", f"N{letters}C")

    def conv(x: Any, params: Any) -> Any:
        dilation = (s.get("dilation", 1),) * dims
        y = lax.conv_general_dilated(
            x,
            params["w"],
            s["stride"],
            s["padding"].upper(),
            rhs_dilation=dilation,
            dimension_numbers=order,
            feature_group_count=s["groups"],
        )
        return y + params["b"] if "b" in params else y

    def conv_transpose(x: Any, params: Any) -> Any:
        y = lax.conv_transpose(x, params["w"], s["stride"], s["padding"].upper(), dimension_numbers=order)
        return y + params["b"] if "b" in params else y

    def dense(x: Any, params: Any) -> Any:
        return x @ params["w"] + params["b"] if "b" in params else x @ params["w"]

    def resized(x: Any, factor: Callable[[int], int], how: str) -> Any:
        return jax.image.resize(x, (x.shape[0], *(factor(n) for n in x.shape[1:-1]), x.shape[-1]), how)

    def scores(q: Any, k: Any) -> Any:
        return jnp.einsum("bqd,bkd->bqk", q, k) / 8

    ways: dict[str, Any] = {
        "max_pool": lambda x: windowed(x, -jnp.inf, lax.max),
        "average_pool": lambda x: windowed(x, 0.0, lax.add) / math.prod(s["window"]),
        "global_max": lambda x: x.max(1),
        "global_mean": lambda x: x.mean(1),
        "sum_places": lambda x: x.sum(1),
        "mean_features": lambda x: x.mean(-1, keepdims=True),
        "sum_features": lambda x: x.sum(-1),
        "max_features": lambda x: x.max(-1, keepdims=True),
        "layer_norm": lambda x: nn.standardize(x, axis=-1),
        "rms_norm": lambda x: x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6),
        "batch_statistics": lambda x: nn.standardize(x, axis=(0, 1)),
        "exp": lambda x: jnp.exp(0.25 * x),
        "abs": jnp.abs,
        "clip": lambda x: jnp.clip(x, -0.5, 1.0),
        "square": jnp.square,
        "add": lambda x: x + jnp.tanh(x),
        "subtract": lambda x: x - jnp.tanh(x),
        "product": lambda x: x * jnp.tanh(x),
        "quotient": lambda x: x / (1 + jnp.square(x)),
        "concat": lambda x: jnp.concatenate([x, jnp.tanh(x)], -1),
        "twice": lambda x: jnp.concatenate([x, x], -1),
        "halves": lambda x: x[..., : channels // 2] * x[..., channels // 2 :],
        "softmax": lambda x: nn.softmax(0.25 * x, axis=-1),
        "softmax_over_places": lambda x: nn.softmax(0.25 * x, axis=1),
        "log_softmax": lambda x: nn.log_softmax(x, axis=-1),
        "scores": lambda x, q, k: scores(q, k),
        "attention": lambda x, q, k: nn.softmax(scores(q, k), axis=-1) @ x,
        "up": lambda x: resized(x, lambda n: n * s["times"], "bilinear"),
        "down": lambda x: resized(x, lambda n: n // s["times"], "nearest"),
        "pad": lambda x: jnp.pad(x, ((0, 0), (s["times"],) * 2, (s["times"],) * 2, (0, 0))),
        "triangle": lambda x: jnp.tril(x),
        "cumulative": lambda x: jnp.cumsum(x, 1),
        "dropout": lambda x: x,
    }
    maps = {"dense": dense, "conv": conv, "conv_transpose": conv_transpose}
    numbers, params = np.random.default_rng(1), {"twice": jnp.full((), 2.0)}
    if case.kind in PAIRS:
        params |= {
            name: jnp.asarray(numbers.standard_normal((channels, 64)) / (2 * channels**0.5), jnp.float32)
            for name in "qk"
        }
    if case.kind in maps:
        shape = (*s.get("window", ()), channels // s.get("groups", 1), s["outputs"])
        params["w"] = jnp.asarray(0.1 * numbers.standard_normal(shape), jnp.float32)
        if s["bias"]:
            params["b"] = jnp.asarray(numbers.standard_normal(s["outputs"]), jnp.float32)

    def applied(params: Any, x: Any) -> Any:
        x = params["twice"] * x
        x = nn.relu(x) if case.relu else x
        if case.kind in PAIRS:
            return ways[case.kind](x, x @ params["q"], x @ params["k"])
        if case.kind in maps:
            return maps[case.kind](x, params)
        return ways.get(case.kind, getattr(nn, case.kind, None))(x)

    return applied, params


# Keras


def keras_model(case: Case) -> Any:
    import keras  # noqa: PLC0415
    from keras import layers, ops  # noqa: PLC0415

    s, dims = case.settings, len(case.shape) - 2

    def windowed(kind: str) -> Any:
        padding = "valid" if kind == "Average" else s["padding"]  # torch's backend repeats the border in uneven means
        return getattr(layers, f"{kind}Pooling{dims}D")(s["window"], s["stride"], padding)

    def convolution(kind: str) -> Any:
        words = {"strides": s["stride"], "padding": s["padding"], "use_bias": s["bias"]}
        if case.kind == "conv":
            words |= {"dilation_rate": s.get("dilation", 1), "groups": s["groups"]}
        return getattr(layers, f"{kind}{dims}D{'Transpose' if case.kind == 'conv_transpose' else ''}")(
            s["outputs"], s["window"], bias_initializer="random_normal", **words
        )

    def scores(q: Any, k: Any) -> Any:
        return ops.einsum("bqd,bkd->bqk", q, k) / 8

    def smaller(x: Any) -> Any:
        return ops.image.resize(x, [n // s["times"] for n in case.shape[1:-1]], interpolation="nearest")

    made: dict[str, Any] = {
        "max_pool": lambda: windowed("Max"),
        "average_pool": lambda: windowed("Average"),
        "global_max": lambda: layers.GlobalMaxPooling1D(),
        "global_mean": lambda: layers.GlobalAveragePooling1D(),
        "dense": lambda: layers.Dense(s["outputs"], use_bias=s["bias"]),
        "conv": lambda: convolution("Conv"),
        "conv_transpose": lambda: convolution("Conv"),
        "layer_norm": lambda: layers.LayerNormalization(center=False, scale=False),
        "rms_norm": lambda: layers.RMSNormalization(),
        "up": lambda: layers.UpSampling2D(s["times"], interpolation="bilinear"),
        "pad": lambda: layers.ZeroPadding2D(s["times"]),
        "dropout": lambda: layers.Dropout(0.5),
    }
    ways: dict[str, Any] = {
        "sum_places": lambda x: ops.sum(x, 1),
        "mean_features": lambda x: ops.mean(x, -1, keepdims=True),
        "sum_features": lambda x: ops.sum(x, -1),
        "max_features": lambda x: ops.max(x, -1, keepdims=True),
        "batch_statistics": lambda x: (x - ops.mean(x, (0, 1))) / (ops.std(x, (0, 1)) + 1e-6),
        "clip": lambda x: ops.clip(x, -0.5, 1.0),
        "softmax": lambda x: ops.softmax(0.25 * x, axis=-1),
        "softmax_over_places": lambda x: ops.softmax(0.25 * x, axis=-2),
        "exp": lambda x: ops.exp(0.25 * x),
        "add": lambda x: x + ops.tanh(x),
        "subtract": lambda x: x - ops.tanh(x),
        "product": lambda x: x * ops.tanh(x),
        "quotient": lambda x: x / (1 + ops.square(x)),
        "concat": lambda x: ops.concatenate([x, ops.tanh(x)], -1),
        "twice": lambda x: ops.concatenate([x, x], -1),
        "halves": lambda x: x[..., : case.shape[-1] // 2] * x[..., case.shape[-1] // 2 :],
        "scores": lambda x, q, k: scores(q, k),
        "attention": lambda x, q, k: ops.matmul(ops.softmax(scores(q, k), axis=-1), x),
        "down": smaller,
        "triangle": lambda x: ops.tril(x),
        "cumulative": lambda x: ops.cumsum(x, 1),
    }

    class Applied(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.layer = made[case.kind]() if case.kind in made else None
            self.twice = self.add_weight((), initializer=keras.initializers.Constant(2.0), name="twice")
            drawn = [keras.initializers.RandomNormal(stddev=0.5 / case.shape[-1] ** 0.5) for _ in "qk"]
            self.pair = [self.add_weight((case.shape[-1], 64), initializer=law, name="pair") for law in drawn]

        def call(self, x: Any) -> Any:
            x = x * self.twice
            x = ops.relu(x) if case.relu else x
            if case.kind in PAIRS:
                return ways[case.kind](x, *(ops.matmul(x, weight) for weight in self.pair))
            return ways.get(case.kind, getattr(ops, case.kind, None))(x) if self.layer is None else self.layer(x)

    keras.utils.set_random_seed(0)
    model = Applied()
    model(np.zeros(case.shape, np.float32))
    return model


MODELS: Mapping[str, Callable[[Case], Any]] = {"torch": torch_model, "jax": jax_model, "keras": keras_model}
"""A model of a case in each framework."""


def observed(framework: str, case: Case, inputs: Any = None) -> Any:
    """A run of a case, forward and backward."""
    model, values = MODELS[framework](case), case.inputs() if inputs is None else inputs
    observe = import_module(f"fanwise.{framework}.measure.observe").observe
    as_inputs = import_module(f"fanwise.{framework}.trace.inputs").as_inputs
    if framework == "torch":
        values = import_module("torch").from_numpy(values)
    given = as_inputs(values) if framework == "jax" else as_inputs(model, values)
    return observe(model, given, None, None)


def independent_values(case: Case, shapes: Sequence[tuple[int, ...]]) -> float:
    """How many independent values a moment is a mean over, at least.

    What places share counts once an example; what a map makes of a mean counts once an output.
    """
    fewest = min(math.prod(shape) for shape in shapes)
    if case.kind == "cumulative":
        return case.shape[0] * case.shape[-1]
    if case.kind in MAPS and (case.mean or case.relu):
        return case.settings["outputs"]
    return min(fewest, case.shape[0] * case.shape[-1]) if case.shared else fewest
