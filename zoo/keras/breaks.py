"""Models of Keras with one thing broken, on which the check is judged: does it say so, and name the break?

A row names a healthy model, the kind of the break, the change, and the parameter or the layer where it sits.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import initializers

from fanwise.keras.trace.variables import variables
from zoo.keras.batches import Array, Batch, images, sentences, vectors
from zoo.keras.cnn import autoencoder, lenet, resnet, unet
from zoo.keras.healthy import HEALTHY
from zoo.keras.laws import Law, constant, glorot, he, he_out, lecun, scaled, spread, torch_default
from zoo.keras.layers import Cut, Stack, built, chain, deep, mlp, vgg
from zoo.keras.mlp import highway, residual_mlp
from zoo.keras.transformer import Gpt, Vit
from zoo.model import Model
from zoo.planting import kept, numbered, planted

Change = Callable[[Any], Any]
Edit = Callable[[Array], Array]


def broken(base: str, kind: str, change: Change, place: str | None = None, **more: Any) -> Model:
    """A healthy model after a change; `mark` tells two of a kind apart, `batch` replaces the batch."""
    model = HEALTHY[base]
    return planted(model, kind, partial(changed, model.build, change), place, **more)


def changed(build: Callable[[], Any], change: Change) -> Any:
    model = build()
    other = change(model)
    return model if other is None else other


def raw(base: str, factor: float, shift: float = 0.0) -> Model:
    """Inputs as nobody should give them, times a factor, plus a shift."""

    def batch() -> Batch:
        x, y = HEALTHY[base].batch()
        return (np.float32(factor) * x + np.float32(shift)).astype(np.float32), y

    return broken(base, "input", kept, batch=batch, mark="pixels" if factor > 1 else "mean")


def instead(build: Callable[[], Any]) -> Change:
    """Another model altogether."""
    return lambda _: build()


# Changes of numbers


def maps(model: Any) -> list[str]:
    """Paths of the weights of two or more axes, tables too."""
    return [path for path, variable in variables(model).items() if len(variable.shape) > 1 and "bias" not in path]


def edited(edit: Edit, choose: Callable[[Any], Iterable[str]]) -> Change:
    """Parameters as a function of what they were."""

    def change(model: Any) -> None:
        held = variables(model)
        for path in choose(model):
            held[path].assign(edit(np.array(keras.ops.convert_to_numpy(held[path]))))

    return change


def drawn(law: Law, choose: Callable[[Any], Iterable[str]]) -> Change:
    """Parameters drawn anew, each from an initializer of its own."""

    def change(model: Any) -> None:
        held = variables(model)
        for path in choose(model):
            held[path].assign(law()(held[path].shape))

    return change


def hidden(model: Any) -> list[str]:
    """Every map but the head."""
    return [path for path in maps(model) if "head" not in path]


def biases(model: Any) -> list[str]:
    return [path for path in variables(model) if path.endswith("bias") and "head" not in path]


def everything(model: Any) -> list[str]:
    return list(variables(model))


def at(*paths: str) -> Callable[[Any], list[str]]:
    return lambda _: list(paths)


def under(start: str) -> Callable[[Any], list[str]]:
    """Maps whose path begins so."""
    return lambda model: [path for path in maps(model) if path.startswith(start)]


def times(factor: float) -> Edit:
    return lambda values: values * np.float32(factor)


def filled(value: float) -> Edit:
    return lambda values: np.full_like(values, value)


def half_shard(values: Array) -> Array:
    """The first half of the units with the fan of an eighth."""
    values[..., : values.shape[-1] // 2] *= math.sqrt(8)
    return values


def twins(values: Array) -> Array:
    """The second half of the units repeats the first."""
    half = values.shape[-1] // 2
    values[..., half : 2 * half] = values[..., :half]
    return values


def alike(values: Array) -> Array:
    """All units are the first."""
    values[...] = values[..., :1].copy()
    return values


def poisoned(value: float) -> Edit:
    """One unit of a value that is no number."""

    def edit(values: Array) -> Array:
        values[..., 1] = value
        return values

    return edit


def one_sided(bound: float) -> Edit:
    """Uniform from 0, as `RandomUniform(0, 1)` draws."""
    return lambda values: np.random.default_rng(list(values.tobytes()[:8])).uniform(0, bound, values.shape).astype("f4")


# Changes of wiring


def parts_of(model: Any) -> dict[str, Any]:
    """Layers of a model by name, those of its layers too."""
    return {layer.name: layer for layer in model._flatten_layers(include_self=False)}


def still(*names: str) -> Change:
    """Layers that are left out of the training."""

    def change(model: Any) -> None:
        for name in names:
            parts_of(model)[name].trainable = False

    return change


def copies(first: str, *others: str) -> Change:
    """Layers with the very numbers of another."""

    def change(model: Any) -> None:
        found = parts_of(model)
        for name in others:
            found[name].set_weights(found[first].get_weights())

    return change


def one_object(*widths: int) -> Change:
    """One initializer for all layers: Keras' own gives the same numbers at every call."""

    def build() -> Any:
        law = initializers.HeNormal(seed=0)
        return chain(widths[:1], mlp(*widths, law=lambda: law))

    return instead(build)


def dense(parts: Callable[[], Any]) -> Change:
    return instead(lambda: chain((128,), parts()))


def cut_mlp() -> Any:
    parts = mlp(*deep(10), law=he)
    return [*parts[:5], Cut(), *parts[5:]]


def tied_mlp() -> Any:
    """The hidden layers of a list that was multiplied."""
    parts = mlp(*deep(10), law=he)
    return built(Stack([parts[0], *[parts[1]] * 8, parts[-1]]), vectors)


def tied_residual() -> Any:
    """The blocks of one."""
    up, down = (keras.layers.Dense(128, act, kernel_initializer=law()) for act, law in (("relu", he), (None, lecun)))
    block = keras.Sequential([up, down], name="block")
    return built(Stack([*[block] * 16, keras.layers.Dense(10, name="head")], 0.25), vectors)


NAN, INF = math.nan, math.inf
ONE = scaled(2.0)
"""2 / sqrt(fan_in) where sqrt(2 / fan_in) was meant."""

FLAT = (
    broken("mlp_he_10", "zeros", edited(filled(0.0), hidden)),
    broken("resnet_14", "zeros", edited(filled(0.0), hidden)),
    broken("gpt", "zeros", edited(filled(0.0), maps)),
    broken("mlp_he_30", "zeros", edited(filled(0.0), at("d15/kernel")), "d15", mark="one"),
    broken("vgg_16", "zeros", edited(filled(0.0), at("c6/kernel")), "c6", mark="one"),
    broken("mlp_he_10", "constant", drawn(constant(0.01), maps)),
    broken("mlp_tanh_glorot", "constant", drawn(constant(0.05), maps)),
    broken("resnet_14", "constant", drawn(constant(0.02), hidden)),
    broken("vgg_11", "constant", drawn(constant(0.002), maps)),
    broken("lstm_tagger", "constant", drawn(constant(0.05), under("body")), "body"),
)

SCALES = (
    broken("mlp_he_20", "tiny", drawn(spread(0.01), maps)),
    broken("mlp_tanh_orthogonal", "tiny", drawn(spread(0.01), maps)),
    broken("vgg_16", "tiny", drawn(spread(0.01), maps)),
    broken("mlp_selu_20", "tiny", drawn(spread(0.01), maps)),
    broken("unet_plain", "tiny", drawn(spread(0.0001), maps)),
    broken("mlp_he_10", "huge", drawn(spread(1.0), maps)),
    broken("vgg_11", "huge", drawn(spread(1.0), maps)),
    broken("gpt", "huge", drawn(spread(0.5), maps)),
    broken("unet_plain", "huge", drawn(spread(1.0), maps)),
    broken("mlp_he_30", "wrong_gain", edited(times(1.5), maps), mark="up"),
    broken("mlp_he_30", "wrong_gain", edited(times(0.6), maps), mark="down"),
    broken("vgg_16", "wrong_gain", edited(times(0.5), maps), mark="down"),
    broken("mlp_tanh_orthogonal", "wrong_gain", edited(times(0.3), hidden), mark="down"),
    broken("mlp_tanh_orthogonal", "wrong_gain", edited(times(10.0), hidden), mark="up"),
    broken("mlp_selu_20", "wrong_gain", edited(times(2.0), maps), mark="up"),
    broken("mlp_he_10", "slip", drawn(ONE, maps)),
    broken("mlp_he_20", "slip", drawn(ONE, maps)),
    broken("mlp_leaky_10", "slip", drawn(ONE, maps)),
    broken("vgg_16", "slip", drawn(ONE, maps)),
    broken("mlp_he_20", "wrong_gain", drawn(glorot, maps), mark="glorot"),
    broken("mlp_he_30", "wrong_gain", drawn(glorot, maps), mark="glorot"),
    broken("vgg_16", "wrong_gain", drawn(glorot, maps), mark="glorot"),
    broken("mobilenet_plain", "wrong_gain", drawn(he, maps), mark="keras_fans"),
    broken("mlp_he_20", "default", drawn(torch_default, maps), mark="torch"),
    broken("vgg_16", "default", drawn(torch_default, maps), mark="torch"),
    broken("mlp_funnel", "swapped", drawn(he_out, maps)),
    broken("mlp_dropout", "swapped", drawn(spread(math.sqrt(2 / 10)), at("head/kernel")), "head", mark="head"),
    broken("mlp_he_20", "swapped", drawn(spread(math.sqrt(2 / 10)), at("head/kernel")), "head", mark="head"),
    broken("mobilenet_plain", "default", drawn(torch_default, maps), mark="torch"),
    broken("mlp_he_20", "local_shard", drawn(scaled(4.0), maps)),
    broken("mlp_he_10", "local_shard", edited(half_shard, maps), mark="half"),
    broken("vgg_16", "local_shard", drawn(scaled(4.0), maps)),
    broken("mlp_selu_20", "local_shard", edited(half_shard, maps), mark="half"),
)

PLACES = (
    broken("mlp_he_10", "one_layer_up", edited(times(50), at("d4/kernel")), "d4"),
    broken("vgg_16", "one_layer_up", edited(times(50), at("c6/kernel")), "c6"),
    broken("mlp_he_3", "one_layer_up", edited(times(50), at("d1/kernel")), "d1"),
    broken("unet_plain", "one_layer_up", edited(times(50), at("low1/kernel")), "low1"),
    broken("mlp_residual_scaled", "one_layer_up", edited(times(50), at("down5/kernel")), "down5"),
    broken("mlp_he_30", "one_layer_down", edited(times(0.001), at("d15/kernel")), "d15"),
    broken("vgg_16", "one_layer_down", edited(times(0.001), at("c6/kernel")), "c6"),
    broken("vgg_11", "one_layer_down", edited(times(0.001), at("c0/kernel")), "c0"),
    broken("mlp_he_10", "head", edited(times(30), at("head/kernel")), "head"),
    broken("resnet_14", "head", edited(times(30), at("head/kernel")), "head"),
    broken("vit", "head", edited(times(300), at("vit/head/kernel")), "vit/head"),
    broken("gpt", "head", edited(times(30), at("gpt/head/kernel")), "gpt/head"),
    broken("gru_tagger", "head", edited(times(300), at("head/kernel")), "head"),
    broken("mlp_he_10", "nan", edited(poisoned(NAN), at("d4/kernel")), "d4"),
    broken("vgg_11", "nan", edited(poisoned(INF), at("c2/kernel")), "c2"),
    broken("gpt", "nan", edited(poisoned(NAN), at("gpt/block4/attn/qkv/kernel")), "gpt/block4/attn/qkv"),
    broken("lstm_tagger", "nan", edited(poisoned(NAN), at("body/lstm_cell/recurrent_kernel")), "body"),
    broken("mlp_he_10", "equal_units", edited(alike, at("d4/kernel")), "d4", mark="all"),
    broken("vgg_11", "equal_units", edited(twins, at("c2/kernel")), "c2", mark="half"),
    broken("mlp_tanh_orthogonal", "equal_units", edited(alike, hidden), mark="everywhere"),
    broken("resnet_14", "equal_units", edited(twins, at("s1b1c0/kernel")), "s1b1c0", mark="half"),
    broken("gpt", "equal_units", edited(alike, at("gpt/block5/up/kernel")), "gpt/block5/up", mark="all"),
)

WIRING = (
    broken("gpt", "copies", copies("block0", *numbered("block{}", range(1, 6))), "gpt/block"),
    broken("vit", "copies", copies("block0", *numbered("block{}", range(1, 6))), "vit/block"),
    broken("mlp_he_10", "copies", copies("d1", *numbered("d{}", range(2, 9))), "d2"),
    broken("mlp_he_20", "copies", one_object(*deep(20)), mark="one_object"),
    broken("gpt", "tied", instead(lambda: built(Gpt(tied=True), sentences)), "gpt/block0"),
    broken("vit", "tied", instead(lambda: built(Vit(tied=True), images)), "vit/block0"),
    broken("mlp_he_10", "tied", instead(tied_mlp), "stack/d1"),
    broken("mlp_residual_scaled", "tied", instead(tied_residual), "stack/block"),
    broken("mlp_he_10", "frozen", still("d2", "d3", "d4"), "d2"),
    broken("vgg_16", "frozen", still("c5"), "c5"),
    broken("gpt", "frozen", still(*numbered("block{}", range(2, 5))), "gpt/block2"),
    broken("unet_plain", "frozen", still("low0", "low1"), "low0"),
    broken("mlp_he_10", "detached", dense(cut_mlp), "d4"),
    broken("resnet_14", "detached", instead(partial(resnet, cut=True)), "s1b1"),
    broken("gpt", "detached", instead(lambda: built(Gpt(cut=3), sentences)), "gpt/block3"),
    broken("lenet_default", "detached", instead(lambda: chain((28, 28, 1), lenet([Cut()]))), "c1"),
    broken("unet_plain", "detached", instead(lambda: unet(cut=[Cut()])), "out0"),
)

RANGES = (
    broken("mlp_he_10", "bias", edited(filled(-3.0), biases), mark="low"),
    broken("vgg_16", "bias", edited(filled(-3.0), biases), mark="low"),
    broken("autoencoder_conv", "bias", edited(filled(-3.0), biases), mark="low"),
    broken("mlp_he_10", "bias", edited(filled(10.0), biases), mark="high"),
    broken("unet_plain", "bias", edited(filled(10.0), biases), mark="high"),
    broken("mlp_tanh_glorot", "saturated", drawn(spread(1.0), hidden)),
    broken("mlp_default_3", "saturated", dense(lambda: mlp(*deep(5), act="sigmoid", law=spread(1.0)))),
    broken("mlp_highway", "saturated", instead(partial(highway, scaled(100.0)))),
    broken("lstm_tagger", "saturated", edited(times(50), under("body")), "body"),
    broken("gru_tagger", "saturated", edited(times(100), under("body")), "body"),
    broken("mlp_rezero", "no_residual_scale", instead(partial(residual_mlp, 40, last=he))),
    broken("mlp_residual_scaled", "no_residual_scale", instead(partial(residual_mlp, 32, last=he))),
    broken("vit", "no_residual_scale", instead(lambda: built(Vit(24, normed=False, law=lecun), images))),
    raw("lenet_default", 255.0),
    raw("mlp_he_3", 255.0),
    raw("vgg_16", 60.0, 128.0),
    raw("mlp_he_10", 1.0, 100.0),
    raw("mlp_default_3", 1.0, 100.0),
    broken("mlp_he_10", "sigmoid_stack", dense(lambda: mlp(*deep(10), act="sigmoid"))),
    broken("mlp_default_3", "sigmoid_stack", dense(lambda: mlp(*deep(16), act="sigmoid", law=torch_default))),
    broken("vgg_11", "sigmoid_stack", instead(lambda: chain((32, 32, 3), vgg("vgg_11", "sigmoid")))),
    broken("autoencoder_conv", "sigmoid_stack", instead(lambda: chain((28, 28, 1), autoencoder("sigmoid")))),
)

SKIPPED = (
    broken("gpt", "skipped_init", edited(filled(0.0), everything), mark="zeros"),
    broken("vit", "skipped_init", edited(filled(0.0), everything), mark="zeros"),
    broken("vgg_11", "skipped_init", edited(filled(1e-30), everything), mark="garbage"),
    broken("mlp_he_10", "skipped_init", edited(filled(1e30), everything), mark="garbage"),
)

REPORTS = (
    broken("mlp_he_10", "mean", edited(one_sided(0.1), hidden), mark="uniform"),
    broken("mlp_tanh_glorot", "mean", edited(one_sided(0.2), hidden), mark="tanh"),
    broken("vgg_11", "mean", edited(np.abs, hidden), mark="absolute"),
)
MODELS = (*FLAT, *SCALES, *PLACES, *WIRING, *RANGES, *SKIPPED, *REPORTS)
