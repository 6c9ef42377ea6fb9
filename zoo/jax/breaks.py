"""Models of JAX with one thing broken, on which the check is judged: does it say so, and name the break?

A row names a healthy model, the kind of the break, the change of its parameters or the module in its place, and the
path where the break sits.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array
from jax.tree_util import tree_map_with_path

from zoo.jax.cnn import Autoencoder, Lenet, ResNet, UNet, Vgg
from zoo.jax.healthy import HEALTHY
from zoo.jax.laws import glorot, he, lecun
from zoo.jax.libraries import built
from zoo.jax.mlp import Mlp, Residual, deep
from zoo.jax.transformer import Transformer
from zoo.model import Model
from zoo.planting import moved, numbered, planted

Change = Callable[[Any], Any]


def broken(base: str, kind: str, change: Change | linen.Module, place: str | None = None, **more: Any) -> Model:
    """A healthy model after a change; `mark` tells two of a kind apart, `batch` replaces the batch."""
    model = HEALTHY[base]
    another = isinstance(change, linen.Module)
    build = built(change, more.get("batch", model.batch)) if another else partial(altered, model, change)
    return planted(model, kind, build, place, **more)


def altered(model: Model, change: Change, key: Array) -> Any:
    """A linen module with what a change makes of its parameters."""
    module, variables = model.build(key)
    return module, variables | {"params": change(variables["params"])}


# Laws: what becomes of a parameter

Law = Callable[[Array, Array], Array]


def fan_in(weight: Array) -> int:
    """Of a kernel (*window, in, out)."""
    return math.prod(weight.shape[:-1])


def gained(gain: float) -> Law:
    """N(0, gain^2 / fan_in)."""
    return lambda weight, key: gain / math.sqrt(fan_in(weight)) * jax.random.normal(key, weight.shape)


def spread(std: float) -> Law:
    return lambda weight, key: std * jax.random.normal(key, weight.shape)


def times(factor: float) -> Law:
    return lambda weight, key: factor * weight


def constant(value: float) -> Law:
    return lambda weight, key: jnp.full_like(weight, value)


def swapped(weight: Array, key: Array) -> Array:
    """He by the fan_out."""
    fan_out = fan_in(weight) // weight.shape[-2] * weight.shape[-1]
    return math.sqrt(2 / fan_out) * jax.random.normal(key, weight.shape)


def uniform_default(weight: Array, key: Array) -> Array:
    """U(+-1/sqrt(fan_in)): Equinox's default, and PyTorch's."""
    bound = 1 / math.sqrt(fan_in(weight))
    return jax.random.uniform(key, weight.shape, minval=-bound, maxval=bound)


def half_shard(weight: Array, key: Array) -> Array:
    """The first half of the units with the fan of an eighth."""
    half = weight.shape[-1] // 2
    return weight.at[..., :half].multiply(math.sqrt(8))


def twins(weight: Array, key: Array) -> Array:
    """The second half of the units repeats the first."""
    half = weight.shape[-1] // 2
    return weight.at[..., half : 2 * half].set(weight[..., :half])


def alike(weight: Array, key: Array) -> Array:
    """All units are the first."""
    return jnp.broadcast_to(weight[..., :1], weight.shape)


def poisoned(value: float) -> Law:
    """One unit of a value that is no number."""
    return lambda weight, key: weight.at[..., 1].set(value)


def changed(params: Any, chosen: Callable[[str, Array], bool], law: Law) -> Any:
    """Parameters of which some are drawn by a law."""
    key = jax.random.key(99)

    def one(path: Any, leaf: Array) -> Array:
        name = ".".join(str(entry.key) for entry in path)
        own = jax.random.fold_in(key, sum(map(ord, name)))
        return law(leaf, own).astype(leaf.dtype) if chosen(name, leaf) else leaf

    return tree_map_with_path(one, params)


def one_sided(bound: float) -> Law:
    """Uniform from 0, as `jax.nn.initializers.uniform` draws."""
    return lambda weight, key: bound * jax.random.uniform(key, weight.shape)


def one_stream(weight: Array, key: Array) -> Array:
    """He's numbers of one key for every map."""
    return math.sqrt(2 / fan_in(weight)) * jax.random.normal(jax.random.key(7), weight.shape)


def around_zero(weight: Array, key: Array) -> Array:
    """N(0, 0.02) where N(1, 0.02) was meant."""
    return 0.02 * jax.random.normal(key, weight.shape)


# What a change is made of


def is_map(name: str, leaf: Array) -> bool:
    return leaf.ndim > 1 and name.rpartition(".")[2] in ("kernel", "embedding")


def every(law: Law) -> Change:
    """Every kernel and table."""
    return lambda params: changed(params, is_map, law)


def hidden(law: Law) -> Change:
    """Every kernel but the head's."""
    return lambda params: changed(params, lambda name, leaf: is_map(name, leaf) and not name.startswith("head"), law)


def scales(law: Law) -> Change:
    """The factors of every norm."""
    return lambda params: changed(params, lambda name, _: name.endswith("scale"), law)


def within(start: str, law: Law) -> Change:
    """The kernels whose names begin so."""
    return lambda params: changed(params, lambda name, leaf: is_map(name, leaf) and name.startswith(start), law)


def biased(value: float) -> Change:
    """Every hidden bias at one value."""
    return lambda params: changed(
        params, lambda name, _: name.endswith("bias") and not name.startswith("head"), constant(value)
    )


def emptied(value: float) -> Change:
    """Memory that nobody filled: every parameter at one value."""
    return lambda params: changed(params, lambda *_: True, constant(value))


def copied(first: str, others: Sequence[str]) -> Change:
    """Parts with the very numbers of another."""
    return lambda params: {**params, **{name: jax.tree.map(jnp.array, params[first]) for name in others}}


def tied(first: str, others: Sequence[str]) -> Change:
    """Parts that are another: one array at several places of the tree."""
    return lambda params: {**params, **dict.fromkeys(others, params[first])}


def slice_of(path: str, index: int, law: Law) -> Change:
    """One layer of a stack."""

    def one(weight: Array, key: Array) -> Array:
        return weight.at[index].set(law(weight[index], key))

    return within(path, one)


def same(params: Any) -> Any:
    return params


def raw(base: str, factor: float, shift: float = 0.0) -> Model:
    """Inputs as nobody should give them."""
    batch = moved(HEALTHY[base], factor, shift)
    return broken(base, "input", same, batch=batch, mark="pixels" if factor > 1 else "mean")


NAN, INF = math.nan, math.inf
slip, lecun_normal, shard = gained(2.0), gained(1.0), gained(4.0)
"""2 / sqrt(fan_in) for sqrt(2 / fan_in); and He with the fan of an eighth."""

FLAT = (
    broken("mlp_he_10", "zeros", hidden(constant(0.0))),
    broken("resnet", "zeros", hidden(constant(0.0))),
    broken("gpt", "zeros", every(constant(0.0))),
    broken("mlp_he_30", "zeros", within("layer15", constant(0.0)), "layer15.kernel", mark="one"),
    broken("vgg_11", "zeros", within("conv4", constant(0.0)), "conv4.kernel", mark="one"),
    broken("mlp_he_10", "constant", every(constant(0.01))),
    broken("mlp_tanh_xavier", "constant", every(constant(0.05))),
    broken("vgg_11", "constant", every(constant(0.002))),
    broken("lstm", "constant", within("cell", constant(0.05)), "cell"),
)
SCALES = (
    broken("mlp_he_20", "tiny", every(spread(0.01))),
    broken("mlp_tanh_orthogonal", "tiny", every(spread(0.01))),
    broken("vgg_11", "tiny", every(spread(0.003))),
    broken("mlp_selu_20", "tiny", every(spread(0.01))),
    broken("unet_plain", "tiny", every(spread(0.0001))),
    broken("mlp_he_10", "huge", every(spread(1.0))),
    broken("vgg_11", "huge", every(spread(1.0))),
    broken("gpt", "huge", every(spread(1.0))),
    broken("gpt_scanned", "huge", every(spread(1.0))),
    broken("unet_plain", "huge", every(spread(1.0))),
    broken("mlp_he_30", "wrong_gain", every(times(1.5)), mark="up"),
    broken("mlp_he_30", "wrong_gain", every(times(0.6)), mark="down"),
    broken("vgg_11", "wrong_gain", every(times(1.5)), mark="up"),
    broken("vgg_11", "wrong_gain", every(times(0.5)), mark="down"),
    broken("mlp_tanh_orthogonal", "wrong_gain", hidden(times(0.3)), mark="down"),
    broken("mlp_tanh_orthogonal", "wrong_gain", hidden(times(10.0)), mark="up"),
    broken("mlp_he_20", "wrong_gain", hidden(lecun_normal), mark="lecun"),
    broken("mlp_selu_20", "wrong_gain", every(times(2.0)), mark="up"),
    broken("mlp_he_10", "slip", every(slip)),
    broken("mlp_he_20", "slip", every(slip)),
    broken("mlp_leaky_10", "slip", every(slip)),
    broken("vgg_11", "slip", every(slip)),
    broken("mlp_he_20", "default", every(uniform_default)),
    broken("mlp_he_30", "default", every(uniform_default)),
    broken("vgg_11", "default", every(uniform_default)),
    broken("mlp_funnel", "swapped", every(swapped)),
    broken("mlp_he_20", "swapped", within("head", spread(math.sqrt(2 / 10))), "head.kernel", mark="head"),
    broken("mobilenet_plain", "swapped", every(swapped)),
    broken("mlp_he_20", "local_shard", every(shard)),
    broken("mlp_he_10", "local_shard", every(half_shard), mark="half"),
    broken("vgg_11", "local_shard", every(shard)),
)
PLACES = (
    broken("mlp_he_10", "one_layer_up", within("layer04", times(50)), "layer04.kernel"),
    broken("vgg_11", "one_layer_up", within("conv4", times(50)), "conv4.kernel"),
    broken("mlp_he_3", "one_layer_up", within("layer01", times(50)), "layer01.kernel"),
    broken("unet_plain", "one_layer_up", within("bottomb", times(50)), "bottomb.kernel"),
    broken("mlp_residual_scaled", "one_layer_up", within("out09", times(50)), "out09.kernel"),
    broken("gpt_scanned", "one_layer_up", slice_of("blocks.down", 3, times(100)), "blocks.down.kernel"),
    broken("mlp_he_30", "one_layer_down", within("layer15", times(0.001)), "layer15.kernel"),
    broken("vgg_11", "one_layer_down", within("conv4", times(0.001)), "conv4.kernel"),
    broken("mlp_he_10", "head", within("head", times(30)), "head.kernel"),
    broken("resnet", "head", within("head", times(30)), "head.kernel"),
    broken("vit", "head", within("head", times(30)), "head.kernel"),
    broken("gpt", "head", within("head", times(30)), "head.kernel"),
    broken("gru", "head", within("head", times(30)), "head.kernel"),
    broken("mlp_he_10", "nan", within("layer04", poisoned(NAN)), "layer04.kernel"),
    broken("vgg_11", "nan", within("conv2", poisoned(INF)), "conv2.kernel"),
    broken("gpt", "nan", within("block4.attn.query", poisoned(NAN)), "block4.attn.query.kernel"),
    broken("gpt_scanned", "nan", slice_of("blocks.up", 2, poisoned(NAN)), "blocks.up.kernel"),
    broken("lstm", "nan", within("cell.hf", poisoned(NAN)), "cell.hf.kernel"),
    broken("mlp_he_10", "equal_units", within("layer04", alike), "layer04.kernel", mark="all"),
    broken("vgg_11", "equal_units", within("conv2", twins), "conv2.kernel", mark="half"),
    broken("mlp_tanh_orthogonal", "equal_units", hidden(alike), mark="everywhere"),
    broken("gpt", "equal_units", within("block5.up", alike), "block5.up.kernel", mark="all"),
)
WIRING = (
    broken("gpt", "copies", copied("block0", numbered("block{}", range(1, 6))), "block"),
    broken("mlp_he_10", "copies", copied("layer01", numbered("layer{:02d}", range(2, 9))), "layer02"),
    broken("resnet_plain_gamma", "copies", copied("block0a", numbered("block{}a", range(1, 4))), "block1a"),
    broken("gpt", "tied", tied("block0", numbered("block{}", range(1, 6))), "block0"),
    broken("mlp_he_10", "tied", tied("layer01", numbered("layer{:02d}", range(2, 9))), "layer01"),
    broken("mixer", "tied", tied("block0", numbered("block{}", range(1, 4))), "block0"),
    broken("mlp_residual_scaled", "tied", tied("in00", numbered("in{:02d}", range(1, 32))), "in00"),
    broken("mlp_he_10", "detached", Mlp(deep(10), cut=4), "layer04"),
    broken("resnet", "detached", ResNet(cut=1, zero_last=False), "block1b"),
    broken("gpt", "detached", Transformer(cut=2), "block2"),
    broken("lenet_default", "detached", Lenet(cut=True), "conv1"),
    broken("unet_plain", "detached", UNet(cut=True), "merge0b"),
)
RANGES = (
    broken("mlp_he_10", "bias", biased(-3.0), mark="low"),
    broken("vgg_11", "bias", biased(-3.0), mark="low"),
    broken("autoencoder_conv", "bias", biased(-3.0), mark="low"),
    broken("mlp_he_10", "bias", biased(10.0), mark="high"),
    broken("unet_plain", "bias", biased(10.0), mark="high"),
    broken("mlp_tanh_xavier", "saturated", hidden(spread(1.0))),
    broken("mlp_highway", "saturated", within("gate", times(100))),
    broken("lstm", "saturated", within("cell", times(50)), "cell"),
    broken("gru", "saturated", within("cell", times(100)), "cell"),
    broken("mlp_rezero", "no_residual_scale", Residual(64, 1.0, last=he)),
    broken("mlp_residual_scaled", "no_residual_scale", Residual(32, 1.0, last=he)),
    broken("vit", "no_residual_scale", Transformer(
        pictures=True, classes=10, depth=12, law=linen.initializers.he_normal(),
        out=linen.initializers.he_normal(), norm=False,
    )),
    raw("lenet_default", 255.0),
    raw("mlp_he_3", 255.0),
    raw("vgg_11", 60.0, 128.0),
    raw("mlp_he_10", 1.0, 100.0),
    broken("mlp_he_10", "sigmoid_stack", Mlp(deep(10), linen.sigmoid, glorot)),
    broken("mlp_default_3", "sigmoid_stack", Mlp(deep(16), linen.sigmoid, lecun), mark="deep",
           batch=HEALTHY["mlp_he_10"].batch),
    broken("vgg_11", "sigmoid_stack", Vgg(act=linen.sigmoid)),
    broken("autoencoder_conv", "sigmoid_stack", Autoencoder(linen.sigmoid)),
    broken("mlp_funnel", "sigmoid_stack", Mlp((256, 256, 256, 128, 64, 32, 10), linen.sigmoid, lecun)),
)  # fmt: skip
SKIPPED = (
    broken("gpt", "skipped_init", emptied(0.0), mark="zeros"),
    broken("vgg_11", "skipped_init", emptied(1e-30), mark="garbage"),
    broken("mlp_he_10", "skipped_init", emptied(1e30), mark="garbage"),
)

REPORTS = (
    broken("mlp_he_10", "mean", hidden(one_sided(0.1)), mark="uniform"),
    broken("mlp_default_3", "mean", hidden(one_sided(0.03)), mark="small"),
    broken("vgg_11", "mean", hidden(lambda weight, key: jnp.abs(weight)), mark="absolute"),
    broken("mlp_funnel", "copies", hidden(one_stream), mark="one_key"),
    broken("mlp_gelu_normed", "norm_factor", scales(around_zero)),
)
MODELS = (*FLAT, *SCALES, *PLACES, *WIRING, *RANGES, *SKIPPED, *REPORTS)
