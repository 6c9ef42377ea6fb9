"""How the layers of a chain fit together: which axis of a weight is read, what is flattened, how large windows are."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fanwise.laws.layout import Layout
from fanwise.numpy.given import GivenLayer
from fanwise.numpy.windows import Pairs, padding_of
from fanwise.stream.arguments import checked_choice, checked_count
from fanwise.stream.box import Shape

ORDERS = ("in out", "out in")
PADDINGS = ("valid", "same")
POOLINGS = ("max", "average")


@dataclass(frozen=True)
class Windows:
    """What the weights of convolutions do not tell: one value for all, or a list of one for each.

    Args:
        layout: roles of the axes of a kernel, "kernel" once or as often as it has axes.
        stride: of the windows.
        padding: zeros at both ends, "valid" or "same".
        pool: size of the windows that are pooled behind the nonlinearity; 1 for none.
        pooling: what is taken of each: "max" or "average".
    """

    layout: str = "out in kernel kernel"
    stride: int | Sequence[int] = 1
    padding: int | str | Sequence[int | str] = 0
    pool: int | Sequence[int] = 1
    pooling: str | Sequence[str] = "max"


@dataclass(frozen=True)
class Window:
    """The same of one convolution, checked."""

    layout: str
    stride: int
    padding: int | str
    pool: int
    pooling: str


@dataclass(frozen=True)
class Fitted:
    """A layer as it stands in its chain.

    Args:
        layout: of its weight; a square one that may be read either way has "in out" until all are known.
        shape: of what it gives for one example, pooled.
        flatten: whether a dense layer reads an example as one row.
        is_square: whether the chain fits either way.
        stride: of a convolution.
        padding: of a convolution; () for a dense layer.
        pool: size of the pooling behind it.
        pooling: what is taken: "max" or "average".
        channels: the axis of the channels, in a batch.
    """

    layout: Layout
    shape: Shape
    flatten: bool = False
    is_square: bool = False
    stride: int = 1
    padding: Pairs = ()
    pool: int = 1
    pooling: str = "max"
    channels: int = -1

    @property
    def is_convolution(self) -> bool:
        """Whether it has windows."""
        return "kernel" in self.layout.axes


def fitted(
    layers: Sequence[GivenLayer], example: Shape, windows: Windows, dense: str | None = None
) -> tuple[Fitted, ...]:
    """The layers, each on what the one before it gives.

    Args:
        layers: of the network.
        example: shape of one example.
        windows: of convolutions.
        dense: "in out" or "out in"; None where the shapes tell.

    Raises:
        TypeError, ValueError: options of a wrong kind; a layer that does not fit, with what comes and what it takes.
    """
    if dense is not None:
        checked_choice(dense, ORDERS, name="dense")
    convolutions = [layer for layer in layers if layer.weight.values.ndim > 2]
    options = iter(_options(windows, len(convolutions)))
    done: list[Fitted] = []
    before = f"x gives {_times(example)}"
    for layer in layers:
        here = done[-1] if done else None
        shape = example if here is None else here.shape
        if layer.weight.values.ndim > 2:
            done.append(_convolution(layer, shape, next(options), before))
        else:
            done.append(_dense(layer, shape, dense, (before, here)))
        _check_bias(layer, done[-1])
        before = f"{layer.weight.path} gives {_times(done[-1].shape)}"
    return tuple(_turned(done, layers, dense))


def _options(windows: Windows, count: int) -> Iterator[Window]:
    """The options of each convolution."""
    names = ("stride", "padding", "pool", "pooling")
    each = zip(*(_spread(name, getattr(windows, name), count) for name in names), strict=True)
    for stride, padding, pool, pooling in each:
        yield Window(
            windows.layout,
            checked_count(stride, name="stride"),
            _checked_padding(padding),
            checked_count(pool, name="pool"),
            checked_choice(pooling, POOLINGS, name="pooling"),
        )


def _checked_padding(padding: object) -> int | str:
    if isinstance(padding, str):
        return checked_choice(padding, PADDINGS, name="padding")
    return checked_count(padding, name="padding", low=0)


def _spread(name: str, value: object, count: int) -> list[object]:
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} lists {len(value)}: expected one value, or one for each of {count} convolutions")
    return list(value)


def _dense(layer: GivenLayer, shape: Shape, dense: str | None, context: tuple[str, Fitted | None]) -> Fitted:
    before, previous = context
    sizes = layer.weight.values.shape
    behind_windows = previous is not None and previous.is_convolution
    ways = [(math.prod(shape), True)] if behind_windows else [(shape[-1], False), (math.prod(shape), True)]
    for width, flatten in ways:
        fits = [order for order in ORDERS if sizes[order.split().index("in")] == width and dense in (None, order)]
        if fits:
            out = sizes[fits[0].split().index("out")]
            given = (out,) if flatten else (*shape[:-1], out)
            is_square = len(fits) > 1
            return Fitted(Layout.dense(fits[0]), given, flatten and len(shape) > 1, is_square)
    raise ValueError(_misfit(layer, before, shape, dense))


def _misfit(layer: GivenLayer, before: str, shape: Shape, dense: str | None) -> str:
    sizes = layer.weight.values.shape
    read = f"as {dense!r} " if dense else ""
    taken = sizes[dense.split().index("in")] if dense else f"{sizes[0]} or {sizes[1]}"
    hint = "; stride=, padding= and pool= decide how many a convolution gives" if len(shape) > 1 else ""
    return f"{layer.weight.path} of shape {sizes} {read}takes {taken} values, and {before}{hint}"


def _convolution(layer: GivenLayer, shape: Shape, options: Window, before: str) -> Fitted:
    path, sizes = layer.weight.path, layer.weight.values.shape
    layout = kernel_layout(options.layout, len(sizes))
    is_first = layout.axes[-1] == "kernel"
    if len(shape) != len(sizes) - 1:
        raise ValueError(
            f"{path} of shape {sizes} is a convolution over {len(sizes) - 2} axes beside the channels, and {before}"
        )
    channels, space = (shape[0], shape[1:]) if is_first else (shape[-1], shape[:-1])
    taken = sizes[layout.axes.index("in")]
    if taken != channels:
        raise ValueError(_other_channels(path, sizes, layout, shape, before))
    kernel = tuple(size for size, role in zip(sizes, layout.axes, strict=True) if role == "kernel")
    stride, pool = options.stride, options.pool
    padding = padding_of(options.padding, space, kernel, stride)
    places = [
        (size + sum(pair) - width) // stride + 1 for size, pair, width in zip(space, padding, kernel, strict=True)
    ]
    places = [count // pool for count in places]
    if min(places) < 1:
        raise ValueError(f"{path} has windows of {_times(kernel)}, pooled by {pool}, and {before}: no place is left")
    out = sizes[layout.axes.index("out")]
    given = (out, *places) if is_first else (*places, out)
    axis = 1 if is_first else -1
    here = Fitted(_strided(layout, stride), given, stride=stride, padding=padding, pool=pool, channels=axis)
    return replace(here, pooling=options.pooling)


def _strided(layout: Layout, stride: int) -> Layout:
    return layout if stride == 1 else replace(layout, stride=(stride,) * layout.axes.count("kernel"))


def kernel_layout(text: str, axes: int) -> Layout:
    """The layout of a kernel of so many axes.

    Args:
        text: "out in kernel kernel", "kernel kernel in out" or another order; "kernel" may stand once for all.
        axes: of the weight.

    Raises:
        TypeError: no text.
        ValueError: roles of another kind.
    """
    if not isinstance(text, str):
        raise TypeError(f"conv = {text!r}: expected a text such as 'out in kernel kernel'")
    roles = text.replace(",", " ").lower().split()
    kernels = [i for i, role in enumerate(roles) if role == "kernel"]
    ends = kernels and (kernels[0] == 0 or kernels[-1] == len(roles) - 1)
    rest = [role for role in roles if role != "kernel"]
    if sorted(rest) != ["in", "out"] or not ends or kernels != list(range(kernels[0], kernels[-1] + 1)):
        raise ValueError(f"conv = {text!r}: expected 'out in kernel kernel', 'kernel kernel in out' or another order")
    spread = ["kernel"] * (axes - 2)
    return Layout.conv([*spread, *rest] if kernels[0] == 0 else [*rest, *spread])


def _other_channels(path: str, sizes: Shape, layout: Layout, shape: Shape, before: str) -> str:
    order = " ".join(layout.axes)
    other = "kernel kernel in out" if layout.axes[-1] == "kernel" else "out in kernel kernel"
    taken = kernel_layout(other, len(sizes)).axes.index("in")
    fits = sizes[taken] == (shape[-1] if layout.axes[-1] == "kernel" else shape[0])
    hint = f"; conv={other!r} would fit" if fits else ""
    return f"{path} of shape {sizes} as {order!r} takes {sizes[layout.axes.index('in')]} channels, and {before}{hint}"


def _check_bias(layer: GivenLayer, here: Fitted) -> None:
    out = layer.weight.values.shape[here.layout.axes.index("out")]
    if layer.bias is not None and layer.bias.values.size != out:
        raise ValueError(
            f"{layer.bias.path} has {layer.bias.values.size} values, and {layer.weight.path} of shape "
            f"{layer.weight.values.shape} gives {out}"
        )


def _turned(done: Sequence[Fitted], layers: Sequence[GivenLayer], dense: str | None) -> Iterator[Fitted]:
    """The layers, square weights read as the others are."""
    known = {here.layout.axes for here in done if not (here.is_square or here.is_convolution)}
    squares = [layer.weight for layer, here in zip(layers, done, strict=True) if here.is_square]
    if squares and len(known) > 1 and dense is None:
        raise ValueError(
            f"{squares[0].path} of shape {squares[0].values.shape} is square, and the other weights are read both "
            "ways: give dense='in out' or dense='out in'"
        )
    order = next(iter(known), ("in", "out"))
    for here in done:
        yield replace(here, layout=Layout(order)) if here.is_square else here


def guessed_squares(layers: Sequence[GivenLayer], done: Sequence[Fitted], dense: str | None) -> tuple[str, ...]:
    """Square weights whose order nothing tells."""
    known = any(not (here.is_square or here.is_convolution) for here in done)
    if known or dense is not None:
        return ()
    return tuple(layer.weight.path for layer, here in zip(layers, done, strict=True) if here.is_square)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
