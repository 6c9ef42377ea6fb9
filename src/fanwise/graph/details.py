"""What an op of a kind is told beyond its inputs and parameters: one record for each kind that needs one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

Runs: TypeAlias = tuple[tuple[int, int], ...]
"""Parts of the features of a weight op, each as its first feature and how many."""

Steps: TypeAlias = int | Sequence[int]
"""One number for every spatial axis, or one for each."""

Padding: TypeAlias = str | Steps | Sequence[tuple[int, int]]
"""A word ("same", "valid", "causal"), zeros at both ends, or pairs of zeros before and after."""


@dataclass(frozen=True)
class Halves:
    """What of a weight op's features a gated linear unit reads.

    Args:
        root: index of the weight op.
        runs: of what is gated, and of what gates it; None for features that are no runs.
    """

    root: int
    runs: tuple[Runs | None, ...]


@dataclass(frozen=True)
class Activation:
    """A nonlinearity.

    Args:
        nonlinearity: its name.
        negative_slope: of a leaky ReLU.
        approximate: "tanh" or "none", of a GELU.
        halves: of a gated linear unit, where a weight op feeds it.
    """

    nonlinearity: str
    negative_slope: float | None = None
    approximate: str | None = None
    halves: Halves | None = None


@dataclass(frozen=True)
class Arithmetic:
    """A sum, product or other function of values.

    Args:
        constant: the number that takes part in it.
        minus: which of its inputs is subtracted.
        centred: whether the mean over a tensor's own values is subtracted from it.
    """

    constant: float | None = None
    minus: int | None = None
    centred: bool = False


@dataclass(frozen=True)
class Convolution:
    """A convolution, transposed or not.

    Args:
        stride: of the window.
        padding: at the borders.
        dilation: of the window.
    """

    stride: Steps = 1
    padding: Padding = 0
    dilation: Steps = 1


@dataclass(frozen=True)
class Pooling:
    """What is taken of each window of positions.

    Args:
        takes: "mean", "max", "min" or "sum".
        window: its size along each axis of what is read; 1 along axes that are not pooled, 0 for the whole of one.
        stride: along each axis; () where windows divide the axes evenly among the outputs.
        padding: along each axis the places before and after; or a word.
        dilation: along each axis; () for none.
        counts_zeros: whether a mean counts the places of the padding, as zeros.
    """

    takes: str
    window: Sequence[int]
    stride: Sequence[int] = ()
    padding: str | Sequence[tuple[int, int]] = "valid"
    dilation: Sequence[int] = ()
    counts_zeros: bool = False


@dataclass(frozen=True)
class Lookup:
    """Rows of a table.

    Args:
        mode: "sum" or "mean" where rows are joined.
        padding: the row that stays 0.
    """

    mode: str | None = None
    padding: int | None = None


@dataclass(frozen=True)
class Recurrence:
    """A recurrent network or cell.

    Args:
        cell: "lstm", "gru", "rnn_tanh", "rnn_relu"; another word for cells that are not known.
        gates: how many maps each of its matrices holds.
        bidirectional: whether every second pair of matrices runs backwards.
        time: the axis of the steps in what it reads; None for one step, and where it is not known.
    """

    cell: str
    gates: int = 1
    bidirectional: bool = False
    time: int | None = None


@dataclass(frozen=True)
class AttentionBlock:
    """Attention with its projections.

    Args:
        heads: how many.
        causal: whether a token sees those before it alone.
    """

    heads: int = 1
    causal: bool = False


@dataclass(frozen=True)
class Attention:
    """Attention without projections.

    Args:
        width: features of a query.
        scale: by what the scores are multiplied.
        causal: whether a token sees those before it alone.
    """

    width: int
    scale: float
    causal: bool = False


@dataclass(frozen=True)
class Product:
    """A matrix product of data.

    Args:
        width: how many values are summed.
        constant: by what the product is multiplied.
        sides: which operand each axis of the output comes from, "l", "r", or "b" for both; () where it is not known.
    """

    width: int
    constant: float = 1.0
    sides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Softmax:
    """A softmax.

    Args:
        causal: whether it is over scores that hide later tokens.
        axis: over which it is taken, counted from the last.
    """

    causal: bool = False
    axis: int = -1


@dataclass(frozen=True)
class Reduction:
    """A reduction over axes.

    Args:
        axes: over which, counted from the last of what is read.
    """

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Normalisation:
    """A normalisation.

    Args:
        name: "batch_norm", "layer_norm", "rms_norm" ...; "by hand" where the model writes it out.
        eps: what is added before the root.
        centred: for one by hand, whether the mean is subtracted.
    """

    name: str
    eps: float = 0.0
    centred: bool = False


@dataclass(frozen=True)
class Slicing:
    """A part of the features of a weight op.

    Args:
        root: index of the weight op.
        runs: the features.
        peers: other weight ops whose outputs are added to it, feature by feature.
    """

    root: int
    runs: Runs
    peers: tuple[int, ...] = ()


@dataclass(frozen=True)
class MadeWeight:
    """An operand of a product that the model makes and uses as a weight.

    Args:
        operand: which of the product's inputs.
        root: index of the op whose features it holds: a map, or a lookup by constant indices.
        runs: the features.
        fan_in: how many products an output value sums.
    """

    operand: int
    root: int
    runs: Runs
    fan_in: float


Detail: TypeAlias = (
    Activation
    | Arithmetic
    | Convolution
    | Lookup
    | Recurrence
    | AttentionBlock
    | Attention
    | Product
    | Softmax
    | Pooling
    | Reduction
    | Normalisation
    | Slicing
)


def renumbered(detail: Detail | None, number: Callable[[int], int]) -> Detail | None:
    """The detail once ops have other indices.

    Args:
        detail: of an op.
        number: from an op's index to its new one.
    """
    if isinstance(detail, Slicing):
        return replace(detail, root=number(detail.root), peers=tuple(map(number, detail.peers)))
    if isinstance(detail, Activation) and detail.halves is not None:
        return replace(detail, halves=replace(detail.halves, root=number(detail.halves.root)))
    return detail
