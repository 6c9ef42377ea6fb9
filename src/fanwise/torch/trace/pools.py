"""What the pools of `torch.nn.functional` take of their windows."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fanwise.graph.details import Pooling
from fanwise.torch.trace.calls import Arguments, along_axes

WHOLE = 1
"""Size of a window along an axis that is not pooled."""


def pooling(a: Arguments) -> Pooling | None:
    """The windows of a pool; None for one that takes something else than a mean or the largest value of each."""
    source = a.tensor(0, "input")
    name = a.name.removesuffix("_with_indices")
    if source is None:
        return None
    if name.startswith(("adaptive_avg_pool", "adaptive_max_pool")):
        return _adaptive(a, source, "max" if "max" in name else "mean")
    if name.startswith(("avg_pool", "max_pool")):
        return _windowed(a, source, int(name[-2]))
    return _nearest(a, source) if name in ("interpolate", "upsample") else None


def _windowed(a: Arguments, source: Tensor, dims: int) -> Pooling | None:
    window = along_axes(a.get(1, "kernel_size"), dims)
    stride, padding = a.get(2, "stride"), along_axes(a.get(3, "padding", 0), dims)
    around = ((0, 0),) * (source.dim() - dims) + tuple((zeros, zeros) for zeros in padding)
    steps = _whole_rank(along_axes(stride, dims) if stride not in (None, ()) else window, source)
    if a.name.startswith("max_pool"):
        dilation = _whole_rank(along_axes(a.get(4, "dilation", 1), dims), source)
        return Pooling("max", _whole_rank(window, source), steps, around, dilation)
    if a.get(6, "divisor_override") is not None:
        return None
    return Pooling(
        "mean", _whole_rank(window, source), steps, around, counts_zeros=bool(a.get(5, "count_include_pad", True))
    )


def _adaptive(a: Arguments, source: Tensor, takes: str) -> Pooling:
    dims = int(a.name.removesuffix("_with_indices")[-2])
    asked = a.get(1, "output_size")
    sizes = (asked,) * dims if isinstance(asked, int) else tuple(asked) * (dims if len(asked) == 1 else 1)
    window = [size if few is None else -(-size // few) for size, few in zip(source.shape[-dims:], sizes, strict=True)]
    changed = [0 if size == many else max(size, 1) for size, many in zip(window, source.shape[-dims:], strict=True)]
    kept = [1 if few == many else size for few, many, size in zip(sizes, source.shape[-dims:], changed, strict=True)]
    return Pooling(takes, _whole_rank(kept, source))


def _nearest(a: Arguments, source: Tensor) -> Pooling | None:
    """Values that are repeated, or some that are left out."""
    size, scale, dims = a.get(1, "size"), a.get(2, "scale_factor"), source.dim() - 2
    if str(a.get(3, "mode", "nearest")) not in ("nearest", "nearest-exact") or dims < 1:
        return None
    before = source.shape[2:]
    if size is not None:
        after = along_axes(size, dims)
    else:
        after = tuple(int(n * s) for n, s in zip(before, _each(scale, dims), strict=True))
    steps = _whole_rank([max(n // m, 1) for n, m in zip(before, after, strict=True)], source)
    return Pooling("mean", (1,) * source.dim(), () if after >= tuple(before) else steps)


def _each(scale: Any, dims: int) -> tuple[float, ...]:
    return (float(scale),) * dims if isinstance(scale, (int, float)) else tuple(float(one) for one in scale)


def _whole_rank(sizes: Sequence[int], source: Tensor) -> tuple[int, ...]:
    return (WHOLE,) * (source.dim() - len(sizes)) + tuple(sizes)
