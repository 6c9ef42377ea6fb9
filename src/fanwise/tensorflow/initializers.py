"""Initializers for TensorFlow's variables, in its historical spelling and for every law of fanwise.

They are called as TensorFlow calls initializers, with a shape and a dtype, in all the places where it does: by
`tf.compat.v1.get_variable` eagerly and in graphs, partitioned or not; by hand, as in ``tf.Variable(init(shape))``;
inside `tf.function`, compiled by XLA or not. Which stream they draw from:

- A variable that is made by a graph has the stream of (seed, the variable's name), whatever else the graph holds.
- In eager code TensorFlow tells its name scope alone, which is the variable's name while one is made: the first call
  in a scope has the stream of (seed, scope), later ones their own. So one object never repeats numbers, and a variable
  has the same ones eagerly and in a graph.
- Parts of a partitioned variable (``W/part_0``, ``W/part_1``, ...) are boxes of one stream, the variable's.
- Where no scope is open, the first call has the stream of the seed: the numbers of ``law(shape, key=seed)``.
"""

import math
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import tensorflow as tf

from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Constant, Normal, Ones, TruncatedNormal, Uniform, VarianceScaling, Zeros
from fanwise.laws.initializers import from_config, initializer, to_config
from fanwise.laws.layout import Fans, Layout
from fanwise.laws.resolve import resolve
from fanwise.plan.render.toml import layout_config, layout_of, plain
from fanwise.stream.arguments import checked_choice, checked_number
from fanwise.stream.box import Box, Shape, checked_shape
from fanwise.stream.calls import Streams
from fanwise.stream.key import Key, KeyLike
from fanwise.tensorflow import stream
from fanwise.tensorflow.versions import as_written

LawLike: TypeAlias = Initializer | str | Mapping[str, Any]
ShapeOf: TypeAlias = tf.TensorShape | tf.Tensor | Sequence[int] | int

_PART_NAME = re.compile(r"/part_\d+$")
"""What TensorFlow appends to the name of a partitioned variable for each of its parts."""
MODES: Mapping[str, str] = {"FAN_IN": "fan_in", "FAN_OUT": "fan_out", "FAN_AVG": "fan_avg"}


class PartitionInfo(Protocol):
    """What `get_variable` says of the part of a partitioned variable that it wants."""

    full_shape: Sequence[int]
    var_offset: Sequence[int]


class Law:
    """A law of fanwise as an initializer of TensorFlow.

    Args:
        law: an initializer, its name, or its configuration.
        layout: roles of the variable's axes; without it (in, out), or (*kernel, in, out) from three axes on, as
            TensorFlow stores weights. Both fans of a vector are then its length and those of a number 1, as there.
        seed: of the stream, a seed or a `Key`; None draws one, from TensorFlow's global seed where one was set.
        dtype: what calls without a dtype return.

    Raises:
        TypeError: an argument of the wrong kind, or a dtype that weights are not drawn in.
        ValueError: an unknown name, or a number out of range.

    Example:
        >>> import fanwise
        >>> init = Law("he_normal", seed=0)
        >>> bool((init((784, 100)).numpy() == fanwise.he_normal((784, 100), key=0)).all())
        True
    """

    def __init__(
        self,
        law: LawLike,
        layout: Layout | None = None,
        *,
        seed: KeyLike | None = None,
        dtype: "tf.DType | str" = tf.float32,
    ) -> None:
        self.law = _as_law(law)
        if not isinstance(layout, Layout | None):
            raise TypeError(f"layout = {layout!r}: expected a fanwise.Layout, such as Layout.dense('in out')")
        self.layout = layout
        self.dtype = tf.as_dtype(stream.format_of(dtype).name)
        self._streams = Streams(_drawn_seed() if seed is None else seed)

    @property
    def seed(self) -> int:
        """The seed of the stream, also where it was drawn."""
        return self._streams.root.seed

    def __call__(
        self,
        shape: ShapeOf,
        dtype: "tf.DType | str | None" = None,
        partition_info: PartitionInfo | None = None,
        *,
        partition_shape: ShapeOf | None = None,
        partition_offset: Sequence[int] | None = None,
    ) -> tf.Tensor:
        """The variable's first value.

        Args:
            shape: of the variable, or of a part of it where there is a `partition_info`.
            dtype: float64, float32, float16 or bfloat16.
            partition_info: which part, as TensorFlow 1 tells it.
            partition_shape: shape of the part of `shape` that is wanted, as TensorFlow 2 tells it.
            partition_offset: where that part begins; with `partition_shape`. Eagerly a part that begins at 0 begins a
                variable, whose other parts are asked for after it.

        Returns:
            A tensor; the same numbers eagerly, in a graph, and compiled.

        Raises:
            TypeError: a shape or dtype of the wrong kind.
            ValueError: a shape that is not fully known, that does not fit the layout, or without fans where the law
                needs them; a scale that the dtype cannot hold.
        """
        sizes = _static(shape)
        whole = sizes if partition_info is None else checked_shape(tuple(partition_info.full_shape))
        part = None if partition_info is None else Box(tuple(partition_info.var_offset), sizes)
        if partition_shape is not None or partition_offset is not None:
            part = _part(partition_shape, partition_offset)
        law = self.law
        if isinstance(law, VarianceScaling) and self.layout is None and len(whole) < 2:
            law = law.law(Fans(length := math.prod(whole), length))
        box = Box.whole(whole) if part is None else part
        return drawn(law, whole, self._key(part), layout=self.layout, box=box, dtype=dtype or self.dtype)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs; the seed as it is, also where it was drawn."""
        root = self._streams.root
        seed = root.seed if root == Key(root.seed) else {"seed": root.seed, "path": root.path, "domain": root.domain}
        layout = plain(layout_config(self.layout))
        return {"law": plain(to_config(self.law)), "layout": layout, "seed": seed, "dtype": self.dtype.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Law":
        """The initializer that `get_config` described."""
        layout = None if config["layout"] is None else layout_of(config["layout"])
        seed = Key(**config["seed"]) if isinstance(config["seed"], Mapping) else config["seed"]
        return cls(from_config(config["law"]), layout, seed=seed, dtype=config["dtype"])

    def __repr__(self) -> str:
        return f"Law({self.law!r}, seed={self.seed}, dtype={self.dtype.name!r})"

    def _key(self, part: Box | None) -> Key:
        """The stream of a variable, the same for all its parts."""
        scope = tf.get_current_name_scope()
        path, slash, last = scope.rpartition("/")
        named = not tf.executing_eagerly() and slash and last == "Initializer"
        if part is None:
            return self._streams.of(path) if named else self._streams.next(scope)
        variable = _PART_NAME.sub("", path if named else scope)
        if named:
            return self._streams.of(variable)
        return self._streams.latest(variable) if any(part.start) else self._streams.next(variable)


def xavier_initializer(uniform: bool = True, seed: KeyLike | None = None, dtype: "tf.DType | str" = tf.float32) -> Law:
    """Glorot's law under its historical name and arguments: variance 2 / (fan_in + fan_out).

    Args:
        uniform: U(-limit, limit), limit sqrt(6 / (fan_in + fan_out)); False for a normal law truncated at two sigmas,
            whose std is exact after the cut (the historical one was 0.3 % larger).
        seed: of the stream, a seed or a `Key`; None draws one.
        dtype: what calls without a dtype return.

    Returns:
        An initializer, for ``tf.compat.v1.get_variable(initializer=...)`` or to be called with a shape.

    Raises:
        TypeError: an argument of the wrong kind, or a dtype that weights are not drawn in.

    Example:
        >>> W = tf.Variable(xavier_initializer(seed=0)([784, 100]))
        >>> round(float(tf.math.reduce_max(tf.abs(W))), 3), round((6 / 884) ** 0.5, 3)
        (0.082, 0.082)

    References:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 12
        and 16.
    """
    return variance_scaling_initializer(1.0, "FAN_AVG", uniform, seed, dtype)


xavier_initializer_conv2d = xavier_initializer


def variance_scaling_initializer(
    factor: float = 2.0,
    mode: str = "FAN_IN",
    uniform: bool = False,
    seed: KeyLike | None = None,
    dtype: "tf.DType | str" = tf.float32,
) -> Law:
    """Variance factor / fan, under its historical name and arguments; its defaults are He's law.

    Fans are those of a variable stored as (in, out) or (*kernel, in, out).

    Args:
        factor: variance times fan, >= 0.
        mode: "FAN_IN", "FAN_OUT" or "FAN_AVG".
        uniform: a uniform law; False for a normal law truncated at two sigmas, its std exact after the cut.
        seed: of the stream, a seed or a `Key`; None draws one.
        dtype: what calls without a dtype return.

    Returns:
        An initializer.

    Raises:
        TypeError: an argument of the wrong kind, or a dtype that weights are not drawn in.
        ValueError: a factor out of range, or an unknown mode.

    References:
        He et al., "Delving deep into rectifiers", 2015, eq. 10 and 14.
    """
    if not isinstance(uniform, bool):
        raise TypeError(f"uniform = {uniform!r}: expected True or False")
    checked_number(factor, name="factor", low=0.0)
    fan = MODES[checked_choice(mode, tuple(MODES), name="mode")]
    return Law(VarianceScaling(factor, fan, "uniform" if uniform else "truncated_normal"), seed=seed, dtype=dtype)


@as_written
def drawn(
    law: Initializer,
    shape: Shape,
    key: Key,
    *,
    layout: Layout | None = None,
    box: Box | None = None,
    dtype: "tf.DType | str" = tf.float32,
) -> tf.Tensor:
    """The numbers of a law: as operations of the graph where the law draws element by element, else as a constant.

    Args:
        law: any.
        shape: global shape of the variable.
        key: the stream.
        layout: roles of the axes.
        box: the part wanted, all by default.
        dtype: float64, float32, float16 or bfloat16.
    """
    form = stream.format_of(dtype)
    law.moments(shape, layout=layout)  # raises what does not fit
    plain = None if tf.executing_eagerly() else _plain(law, shape, layout)
    where: dict[str, Any] = {"box": box, "dtype": form.name}
    match plain:
        case Uniform():
            return stream.uniform(key, shape, bound=plain.bound, **where)
        case Normal():
            return stream.normal(key, shape, std=plain.std, **where)
        case TruncatedNormal():
            return stream.truncated_normal(key, shape, std=plain.std, low=plain.low, high=plain.high, **where)
        case Zeros() | Ones() | Constant():
            number = law((), dtype=form.name)  # raises what the dtype cannot hold
            return tf.fill((box or Box.whole(shape)).shape, tf.constant(number, form.name))
    return tf.convert_to_tensor(law(shape, key=key, layout=layout, dtype=form.name, box=box))


def _plain(law: Initializer, shape: Shape, layout: Layout | None) -> Initializer | None:
    """The law without fans that this one is for a shape; None for a law of matrices or of parts."""
    if not isinstance(law, VarianceScaling):
        return law
    return resolve(law, shape, layout) if layout is None or layout.fused is None else None


def _static(shape: ShapeOf) -> Shape:
    """The shape as integers.

    Raises:
        TypeError: no shape.
        ValueError: a shape, or an axis of one, that is known only when the graph runs.
    """
    if tf.is_tensor(shape):
        known = tf.get_static_value(shape)
        if known is None:
            raise ValueError(f"shape = {shape}: expected one that is known when the graph is made, not a tensor of it")
        return checked_shape(tuple(known.tolist()))
    if isinstance(shape, tf.TensorShape):
        if not shape.is_fully_defined():
            raise ValueError(f"shape = {shape}: expected one that is fully known")
        return checked_shape(tuple(shape.as_list()))
    return checked_shape(shape)


def _part(shape: ShapeOf | None, offset: Sequence[int] | None) -> Box:
    """The part of a variable, as TensorFlow 2 tells it.

    Raises:
        ValueError: one of the two alone: without its offset nobody knows which numbers a part holds.
    """
    if shape is None or offset is None:
        raise ValueError(
            f"partition_shape = {shape}, partition_offset = {offset}: expected both, where a part begins and its shape"
        )
    return Box(tuple(offset), _static(shape))


def _as_law(law: LawLike) -> Initializer:
    if isinstance(law, Initializer):
        return law
    if isinstance(law, Mapping):
        return from_config(law)
    if isinstance(law, str):
        return initializer(law)
    raise TypeError(f"law = {law!r}: expected an initializer of fanwise, its name, or its configuration")


def _drawn_seed() -> int:
    """A seed from TensorFlow's global one, or from the system where none was set."""
    of_graph, of_op = tf.compat.v1.get_seed(None)
    if of_graph is None or of_op is None:
        return secrets.randbits(64)
    return (int(of_graph) % (1 << 64)) << 64 | int(of_op) % (1 << 64)
