"""One operation of a model: its kind, what it reads, the parameters that it uses and how.

Neutral: an adapter (`fanwise.torch`, ...) writes ops, everything else reads them. They hold paths, shapes, layouts and
numbers, never a framework's tensors.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from fanwise.graph.details import (
    Activation,
    Arithmetic,
    Attention,
    AttentionBlock,
    Detail,
    MadeWeight,
    Normalisation,
    Product,
    Recurrence,
    Softmax,
)
from fanwise.graph.transform import Transform
from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape

INPUT = -1
"""The index that stands for the model's own inputs among an op's inputs."""


class OpKind(StrEnum):
    """What an op does."""

    LINEAR = "linear"
    """A matrix product with a weight, over one axis or several."""
    CONV = "conv"
    """A convolution with a kernel."""
    CONV_TRANSPOSE = "conv_transpose"
    """A transposed convolution with a kernel."""
    EMBEDDING = "embedding"
    """Rows of a table, taken by indices."""
    BILINEAR = "bilinear"
    """A product of two operands with a weight between them."""
    RECURRENT = "recurrent"
    """A recurrent network, or one step of it: maps of an input and of a hidden state."""
    ATTENTION_BLOCK = "attention_block"
    """Attention with its projections, in one function."""
    MATMUL = "matmul"
    """A matrix product of data with data."""
    ATTENTION = "attention"
    """Attention without projections: softmax(Q K^T) V in one function."""
    SOFTMAX = "softmax"
    """A softmax."""
    NORM = "norm"
    """A normalisation, with or without its scale and shift."""
    ACTIVATION = "activation"
    """A nonlinearity with a name."""
    DROPOUT = "dropout"
    """Dropout of any kind."""
    SCALE = "scale"
    """A product with a parameter, value by value."""
    SHIFT = "shift"
    """A sum with a parameter, value by value."""
    ADD = "add"
    """A sum or difference of data."""
    MUL = "mul"
    """A product of data, value by value."""
    CONCAT = "concat"
    """Tensors joined along an axis."""
    SLICE = "slice"
    """A part of the features of a weight op."""
    POOL = "pool"
    """A pooling over windows of positions."""
    REDUCE = "reduce"
    """A reduction over axes: a mean, a sum, a maximum, a length."""
    ELEMENTWISE = "elementwise"
    """Any other function of each value alone, a product or sum with a number too."""
    PARAMETER = "parameter"
    """A parameter that is read as data."""
    OTHER = "other"
    """A function without a description."""


class UseRole(StrEnum):
    """What a parameter does in an op."""

    WEIGHT = "weight"
    """A linear map."""
    TABLE = "table"
    """A lookup."""
    RECURRENT = "recurrent"
    """A map of a hidden state."""
    QUERY = "query"
    """The query projection of an attention block."""
    KEY = "key"
    """Its key projection."""
    VALUE = "value"
    """Its value projection."""
    OUTPUT = "output"
    """Its output projection."""
    BIAS = "bias"
    """An offset that is added to a map's result."""
    STATE_BIAS = "state_bias"
    """A second bias, added to the map of a hidden state."""
    SCALE = "scale"
    """The factor of a norm, or of an elementwise product."""
    SHIFT = "shift"
    """What a norm or a sum adds, value by value."""
    SLOPE = "slope"
    """The slope of a nonlinearity."""
    OPERAND = "operand"
    """Anything else."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model.

    Args:
        path: dotted name.
        shape: its shape.
        dtype: name of its dtype, such as "float32".
        aliases: other names of the same storage.
        trained: whether the framework trains it.
    """

    path: str
    shape: Shape
    dtype: str
    aliases: tuple[str, ...] = ()
    trained: bool = True


@dataclass(frozen=True)
class Use:
    """How an op uses a parameter.

    Args:
        path: of the parameter.
        role: what it does there.
        layout: roles of the axes as the parameter stores them; None for vectors and where it cannot be told.
        steps: functions between the parameter and this op, such as ("exp", "neg"); () where it is used as it is.
        ratio: std of what the op sees over the std of the parameter, where constants multiply it on the way.
        seen: mean and std of what the op sees, where that is made of the parameter and was there to be measured.
        parts: what the op sees of the parameter, as axis, first and count for each axis that it does not see whole.
        fan_in: how many products a value sums, where the layout does not tell: a weight tied by indices.
        transform: what the op sees, for other values of the parameter, where functions of parameters make that.
        stopped: whether no gradient comes back by this use, where other parameters in what the op sees may get one.
    """

    path: str
    role: UseRole
    layout: Layout | None = None
    steps: tuple[str, ...] = ()
    ratio: float = 1.0
    seen: tuple[float, float] | None = field(default=None, compare=False)
    parts: tuple[tuple[int, int, int], ...] = ()
    fan_in: float | None = None
    transform: Transform | None = field(default=None, repr=False, compare=False)
    stopped: bool = False

    @property
    def matrix(self) -> str:
        """A name of the numbers that the op sees: uses of one name are uses of the same numbers.

        Example:
            >>> Use("blocks.w", UseRole.WEIGHT, parts=((0, 3, 1),)).matrix
            'blocks.w[0:3+1]'
        """
        cuts = ", ".join(f"{axis}:{first}+{count}" for axis, first, count in self.parts)
        return f"{self.path}[{cuts}]" if cuts else self.path

    @property
    def layer(self) -> tuple[int, int] | None:
        """The axis and the index at which a stack of layers is read; None where no layer of one is read alone."""
        if len(self.parts) != 1:
            return None
        axis, index, count = self.parts[0]
        is_stack = self.layout is None or self.layout.axes[axis] == "stack"
        return (axis, index) if count == 1 and is_stack else None


@dataclass(frozen=True)
class Op:
    """One operation.

    Args:
        index: its place in the order of execution.
        kind: what it does.
        name: the framework's function.
        module: path of the module that calls it, "" for the model itself.
        call: which call of that module this is, from 0.
        ordinal: place among the ops of that call; (module, call, ordinal) names an op stably.
        inputs: the ops that it reads, in the order of its arguments; `INPUT` for the model's inputs. Constants and
            parameters are not listed.
        uses: the parameters that it uses.
        shape: of its first output.
        axis: which axis of the output holds the features.
        detail: what its kind needs, None where that is nothing or not known.
        replay: the function on NumPy arrays of one axis, where it works on each value alone.
        probe: mean and second moment of what the function gives for normal values of these means and stds in the shapes
            that it read, where it was run on values.
        reads: shapes of what it reads, one for each of its inputs: an input may be a part of what its op gave, or
            hold it several times.
        given: which of the model's inputs it reads, one number for each `INPUT` among its inputs; () where an adapter
            does not say.
        blocks: for a weight op whose features are parts, what each is: "query", "key", "value", "gate", "up", "part".
        made: for a product, the operand that the model makes and uses as a weight; None where there is none.
        rounds: how many rounds of a loop it stands for, where an adapter does not trace each.
    """

    index: int
    kind: OpKind
    name: str
    module: str
    call: int
    ordinal: int
    inputs: tuple[int, ...]
    uses: tuple[Use, ...] = ()
    shape: Shape = ()
    axis: int = -1
    detail: Detail | None = None
    replay: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    probe: Callable[[Sequence[tuple[float, float]]], tuple[float, float]] | None = field(
        default=None, repr=False, compare=False
    )
    reads: tuple[Shape, ...] = ()
    given: tuple[int, ...] = ()
    blocks: tuple[str, ...] = ()
    made: MadeWeight | None = None
    rounds: int = 1

    @property
    def size(self) -> int:
        """How many values its first output has."""
        return math.prod(self.shape)

    @property
    def key(self) -> tuple[str, int, int]:
        """(module, call, ordinal)."""
        return self.module, self.call, self.ordinal

    @property
    def nonlinearity(self) -> str | None:
        """Name of its nonlinearity, None for other kinds."""
        return self.detail.nonlinearity if isinstance(self.detail, Activation) else None

    @property
    def norm(self) -> str:
        """Name of its normalisation, of its function where it does not say."""
        return self.detail.name if isinstance(self.detail, Normalisation) else self.name

    @property
    def constant(self) -> float | None:
        """The number that takes part in it, None where there is none."""
        return self.detail.constant if isinstance(self.detail, Arithmetic | Product) else None

    @property
    def minus(self) -> int | None:
        """Which of its inputs is subtracted, None where none is."""
        return self.detail.minus if isinstance(self.detail, Arithmetic) else None

    @property
    def width(self) -> int | None:
        """How many values a product of data sums, None where that is not known."""
        return self.detail.width if isinstance(self.detail, Attention | Product) else None

    @property
    def causal(self) -> bool:
        """Whether its attention hides later tokens."""
        return isinstance(self.detail, Attention | AttentionBlock | Softmax) and self.detail.causal

    @property
    def cell(self) -> str | None:
        """Name of its recurrent cell, None for other kinds."""
        return self.detail.cell if isinstance(self.detail, Recurrence) else None

    @property
    def gates(self) -> int:
        """How many maps its matrices hold for the gates of a cell."""
        return self.detail.gates if isinstance(self.detail, Recurrence) else 1

    @property
    def time(self) -> int | None:
        """The axis of the steps that a recurrent op reads, None where it reads one step or other kinds."""
        return self.detail.time if isinstance(self.detail, Recurrence) else None

    @property
    def fed(self) -> frozenset[int]:
        """Positions of the uses that map what a recurrent op reads: of its first cell, and of that cell's reverse."""
        roles = [use.role for use in self.uses]
        cells = [i for i, pair in enumerate(pairwise(roles)) if pair == (UseRole.WEIGHT, UseRole.RECURRENT)]
        is_double = isinstance(self.detail, Recurrence) and self.detail.bidirectional
        return frozenset(cells[: 1 + is_double])

    def used(self, role: UseRole) -> tuple[Use, ...]:
        """The uses in a role."""
        return tuple(use for use in self.uses if use.role == role)
