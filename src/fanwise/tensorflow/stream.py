"""The stream as TensorFlow operations: the bits of `fanwise.stream`, computed where the graph runs.

Integers until the last step, in int64 without overflow, so neither grappler nor XLA can change a bit (docs/stream-v1.md
is the definition). Where code runs eagerly, the native kernel computes the same numbers faster.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from fanwise.stream import fill
from fanwise.stream.arguments import checked_number
from fanwise.stream.box import Box, Shape, ShapeLike, checked_box, checked_shape, runs
from fanwise.stream.formats import Format, as_format
from fanwise.stream.key import KeyLike, PhiloxKey, as_key
from fanwise.stream.law import (
    Law,
    Scaled,
    TruncatedFixed,
    normal_law,
    truncated_law,
    uniform_between_law,
    uniform_law,
)
from fanwise.stream.normal import TABLE, normal_fixed
from fanwise.stream.philox import MULTIPLIERS, ROUNDS, WEYL
from fanwise.stream.truncation import Truncation
from fanwise.tensorflow.versions import as_written

_LOW, _HALF = (1 << 32) - 1, (1 << 16) - 1
_COEFFICIENTS = np.array(TABLE, np.int64).T.copy()


@as_written
def words(key: KeyLike, shape: ShapeLike, *, box: Box | None = None) -> tf.Tensor:
    """The stream's 32-bit words, as `fanwise.stream.fill.words`.

    Args:
        key: the stream, a `Key` or a seed.
        shape: global shape of the variable.
        box: the part wanted, all by default.

    Returns:
        Shape `box.shape`, uint32.

    Example:
        >>> [hex(word) for word in words(0, (2,)).numpy().tolist()]
        ['0xaf6e8cd5', '0x4765ac05']
    """
    sizes = checked_shape(shape)
    part = checked_box(box, sizes)
    return tf.cast(_words(as_key(key).philox(), part, sizes), tf.uint32)


@as_written
def uniform(
    key: KeyLike, shape: ShapeLike, *, bound: float, dtype: tf.DType = tf.float32, box: Box | None = None
) -> tf.Tensor:
    """Uniform numbers in [-bound, bound], as `fanwise.stream.fill.uniform`.

    Args:
        key: the stream, a `Key` or a seed.
        shape: global shape of the variable.
        bound: half the width, >= 0.
        dtype: float64, float32, float16 or bfloat16.
        box: the part wanted, all by default.

    Returns:
        A tensor of shape `box.shape`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a number out of range, or one that the dtype cannot hold.
    """
    form = format_of(dtype)
    return drawn(key, shape, uniform_law(form, checked_number(bound, name="bound", low=0.0)), form=form, box=box)


@as_written
def uniform_between(
    key: KeyLike, shape: ShapeLike, *, low: float, high: float, dtype: tf.DType = tf.float32, box: Box | None = None
) -> tf.Tensor:
    """Uniform numbers in [low, high), low < high, as `fanwise.stream.fill.uniform_between`.

    The other arguments, the result and the errors are those of `uniform`.
    """
    form = format_of(dtype)
    first, last = checked_number(low, name="low"), checked_number(high, name="high")
    if first >= last:
        raise ValueError(f"low = {first}, high = {last}: expected low < high")
    return drawn(key, shape, uniform_between_law(form, first, last), form=form, box=box)


@as_written
def normal(
    key: KeyLike,
    shape: ShapeLike,
    *,
    std: float = 1.0,
    mean: float = 0.0,
    dtype: tf.DType = tf.float32,
    box: Box | None = None,
) -> tf.Tensor:
    """Normal numbers, as `fanwise.stream.fill.normal`; the other arguments are those of `uniform`.

    Args:
        key: the stream, a `Key` or a seed.
        shape: global shape of the variable.
        std: standard deviation, >= 0.
        mean: expectation.
        dtype: float64, float32, float16 or bfloat16.
        box: the part wanted, all by default.

    Example:
        >>> import fanwise
        >>> @tf.function(jit_compile=True)
        ... def weights():
        ...     return normal(0, (784, 100), std=0.05)
        >>> bool((weights().numpy() == fanwise.Normal(0.05)((784, 100), key=0)).all())
        True
    """
    form = format_of(dtype)
    spread, centre = checked_number(std, name="std", low=0.0), checked_number(mean, name="mean")
    return drawn(key, shape, normal_law(form, spread, centre), form=form, box=box)


@as_written
def truncated_normal(
    key: KeyLike,
    shape: ShapeLike,
    *,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    mean: float = 0.0,
    dtype: tf.DType = tf.float32,
    box: Box | None = None,
) -> tf.Tensor:
    """Normal numbers kept to [low, high] sigmas, as `fanwise.stream.fill.truncated_normal`.

    `std` is that of the numbers returned. Far tails, which 32 bits do not resolve, are computed in NumPy and enter a
    graph as a constant.

    Args:
        key: the stream, a `Key` or a seed.
        shape: global shape of the variable.
        std: standard deviation of the numbers returned, >= 0.
        low: lower bound in sigmas, may be -inf.
        high: upper bound in sigmas, may be inf.
        mean: expectation of the parent.
        dtype: float64, float32, float16 or bfloat16.
        box: the part wanted, all by default.
    """
    form = format_of(dtype)
    spread, centre = checked_number(std, name="std", low=0.0), checked_number(mean, name="mean")
    return drawn(key, shape, truncated_law(form, Truncation(low, high), spread, centre), form=form, box=box)


def format_of(dtype: tf.DType | str) -> Format:
    """The format of a TensorFlow dtype.

    Raises:
        TypeError: no floating-point format that weights are drawn in.
    """
    try:
        return as_format(tf.as_dtype(dtype).name)
    except TypeError:
        return as_format(str(dtype))


def drawn(key: KeyLike, shape: ShapeLike, law: Law, *, form: Format, box: Box | None) -> tf.Tensor:
    """Numbers of a law: by the kernel where code runs eagerly, else as operations of the graph."""
    sizes = checked_shape(shape)
    part, stream = checked_box(box, sizes), as_key(key)
    by_kernel = tf.executing_eagerly() or not (isinstance(law.centred, Scaled) and part.size)
    if by_kernel:
        target = fill.checked_target(part, form.dtype(), None)
        fill.write(target, stream, law, box=part, shape=sizes)
        return tf.convert_to_tensor(target)
    return values(_words(stream.philox(), part, sizes), law, form)


def values(drawn_words: tf.Tensor, law: Law, form: Format) -> tf.Tensor:
    """What a law makes of words, as `fanwise.stream.law.Law.values` and the rounding to the dtype.

    Args:
        drawn_words: int64, in [0, 2**32).
        law: one with an integer map.
        form: the dtype.
    """
    scaled = law.centred
    if not isinstance(scaled, Scaled):
        raise TypeError(f"law = {law!r} has no integer map")
    working = tf.as_dtype(form.working)
    values_drawn = tf.cast(_integers(scaled)(drawn_words), working) * tf.constant(scaled.unit, working)
    if law.mean:
        values_drawn = _apart(values_drawn, scaled.unit, working) + tf.constant(law.mean, working)
    if not math.isinf(law.low):
        values_drawn = tf.maximum(values_drawn, tf.constant(law.low, working))
    if not math.isinf(law.high):
        values_drawn = tf.minimum(values_drawn, tf.constant(law.high, working))
    return tf.cast(values_drawn, form.name)


def _apart(product: tf.Tensor, unit: float, working: tf.DType) -> tf.Tensor:
    """The product as it is; but a compiler cannot fuse it with the sum that follows, for it does not know the bound."""
    bound = float(working.as_numpy_dtype(2.0**31)) * unit
    return tf.minimum(tf.maximum(product, tf.constant(-bound, working)), tf.constant(bound, working))


def _integers(scaled: Scaled) -> Callable[[tf.Tensor], tf.Tensor]:
    if isinstance(scaled.integer, TruncatedFixed):
        return _truncated_integers(scaled.integer)
    return _normal_integers if scaled.integer is normal_fixed else _uniform_integers


def _uniform_integers(drawn_words: tf.Tensor) -> tf.Tensor:
    """Odd integers, symmetric around 0: the word, its top bit turned, read as signed, with its last bit set."""
    return tf.bitwise.bitwise_or(drawn_words - (1 << 31), _int(1))


def _normal_integers(drawn_words: tf.Tensor) -> tf.Tensor:
    """`fanwise.stream.normal.normal_fixed`."""
    tail = tf.bitwise.bitwise_or(tf.bitwise.bitwise_and(drawn_words * 2, _int(_LOW)), _int(1))
    row = 31 - _exponent(tail)
    y = tf.bitwise.bitwise_and(tf.bitwise.left_shift(tail, row + 1), _int(_LOW)) - (1 << 31)
    value = tf.gather(_int(_COEFFICIENTS[7]), row)
    for coefficients in _COEFFICIENTS[6::-1]:
        value = tf.bitwise.right_shift(value * y, _int(32)) + tf.gather(_int(coefficients), row)
    return tf.where(drawn_words >= (1 << 31), -value, value)


def _exponent(number: tf.Tensor) -> tf.Tensor:
    """Place of the leading one of an integer in [1, 2**32), by bisection."""
    exponent = tf.zeros_like(number)
    for step in (16, 8, 4, 2, 1):
        taken = tf.cast(number >= (1 << step), tf.int64) * step
        number = tf.bitwise.right_shift(number, taken)
        exponent += taken
    return exponent


def _truncated_integers(cells: TruncatedFixed) -> Callable[[tf.Tensor], tf.Tensor]:
    def integers(drawn_words: tf.Tensor) -> tf.Tensor:
        cell = cells.first + _high_product(drawn_words, cells.count)
        below = tf.bitwise.bitwise_xor(cell, _int(1 << 31))
        return _normal_integers(tf.where(cell < (1 << 31), below, _LOW - cell))

    return integers


def _words(philox: PhiloxKey, box: Box, shape: Shape) -> tf.Tensor:
    """Words of a box, int64."""
    starts, run = runs(box, shape) if box.size else (np.zeros(1, np.uint64), 0)
    blocks = (run + 6) // 4
    phase = (starts & np.uint64(3)).astype(np.int64)
    first = tf.constant((starts >> np.uint64(2)).astype(np.int64))[:, None] + tf.range(blocks, dtype=tf.int64)
    lanes = tf.reshape(tf.stack(_philox(first, philox), -1), (len(starts), 4 * blocks))
    if (phase == phase[0]).all():
        return tf.reshape(lanes[:, int(phase[0]) : int(phase[0]) + run], box.shape)
    places = tf.constant(phase)[:, None] + tf.range(run, dtype=tf.int64)
    return tf.reshape(tf.gather(lanes, places, batch_dims=1), box.shape)


def _philox(blocks: tf.Tensor, philox: PhiloxKey) -> tuple[tf.Tensor, ...]:
    """Philox4x32-10 of block numbers: four words each."""
    (k0, k1), (s0, s1) = philox.key, philox.stream
    c0, c1 = tf.bitwise.bitwise_and(blocks, _int(_LOW)), tf.bitwise.right_shift(blocks, _int(32))
    c2, c3 = tf.ones_like(blocks) * s0, tf.ones_like(blocks) * s1
    for _ in range(ROUNDS):
        (high0, low0), (high1, low1) = _product(c0, MULTIPLIERS[0]), _product(c2, MULTIPLIERS[1])
        c0 = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(high1, c1), _int(k0))
        c2 = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(high0, c3), _int(k1))
        c1, c3 = low1, low0
        k0, k1 = (k0 + WEYL[0]) & _LOW, (k1 + WEYL[1]) & _LOW
    return c0, c1, c2, c3


def _product(word: tf.Tensor, factor: int) -> tuple[tf.Tensor, tf.Tensor]:
    """High and low word of a product of 32-bit words, from the factor's 16-bit halves: nothing reaches 2**63."""
    small, large = word * (factor & _HALF), word * (factor >> 16)
    middle = large + tf.bitwise.right_shift(small, _int(16))
    low = tf.bitwise.left_shift(tf.bitwise.bitwise_and(middle, _int(_HALF)), _int(16))
    return tf.bitwise.right_shift(middle, _int(16)), low + tf.bitwise.bitwise_and(small, _int(_HALF))


def _high_product(word: tf.Tensor, factor: int) -> tf.Tensor:
    """floor(word * factor / 2**32) of a word and a factor up to 2**32."""
    return _product(word, factor)[0]


def _int(number: object) -> tf.Tensor:
    return tf.constant(number, tf.int64)
