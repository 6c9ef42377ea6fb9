"""Statistics of a model's parameters as they were found, taken on the device that holds them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout
from fanwise.measure.observation import NAN, Values
from fanwise.measure.resemblance import MARKS, is_varied, kin_of, twins_of
from fanwise.measure.signal_statistics import MOST, stride_prime_to
from fanwise.measure.weight_axes import (
    MOST_ROWS,
    axes_of_a_map,
    block_extents,
    first_map,
    row_order,
    unit_layout,
    unit_order,
)
from fanwise.measure.weight_statistics import BINS, PARTS, ROWS, WIDE
from fanwise.torch.measure.taps import fetch, in_memory, sampled
from fanwise.torch.trace.storage import is_abstract, is_strided

SMALL = 1e-30
"""Second moment below which float32 loses squares."""
CHUNK = 1 << 14
"""Values whose squares are added in float32."""


@dataclass(frozen=True)
class DeviceStatistics:
    """Statistics of a parameter, still on its device, by name; `vectors` are longer than one number."""

    path: str
    count: int
    numbers: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor]


def values_of(path: str, tensor: Tensor, layout: Layout | None = None) -> Values:
    """The statistics of one parameter's numbers.

    Args:
        path: of the parameter.
        tensor: its values.
        layout: roles of its axes; without it the units of a matrix lie along the first axis.
    """
    return _fetch([measure_parameter(path, tensor, layout)], {path: tensor})[path]


def weigh(tensors: Mapping[str, Tensor], trace: Trace, gradients: Mapping[str, Tensor | None]) -> dict[str, Values]:
    """The statistics of every parameter that has values, by path.

    Args:
        tensors: the parameters, by path.
        trace: says how each is used.
        gradients: of the loss, by path; None where none came.
    """
    held = {parameter.path: tensors[parameter.path] for parameter in trace.parameters}
    held = {path: tensor for path, tensor in held.items() if not is_abstract(tensor) and is_strided(tensor)}
    layouts = {path: unit_layout(trace, path) for path in held}
    values = _fetch([measure_parameter(path, tensor, layouts[path]) for path, tensor in held.items()], held)
    moments = _gradient_moments(gradients)
    return {
        path: replace(statistics, reached=path in moments, gradient=moments.get(path, NAN))
        for path, statistics in values.items()
    }


def _fetch(measured_rows: Sequence[DeviceStatistics], tensors: Mapping[str, Tensor]) -> dict[str, Values]:
    """Statistics on the host of measured parameters: one copy a device for the numbers and one for the vectors."""
    numbers = [dict(zip(row.numbers, [NAN] * len(row.numbers), strict=True)) for row in measured_rows]
    places = [(i, name) for i, row in enumerate(measured_rows) for name in row.numbers]
    for (i, name), value in zip(places, fetch([measured_rows[i].numbers[name] for i, name in places]), strict=True):
        numbers[i][name] = value
    longer: list[dict[str, tuple[float, ...]]] = [{} for _ in measured_rows]
    places = [(i, name) for i, row in enumerate(measured_rows) for name in row.vectors]
    for (i, name), several in zip(
        places, _fetch_vectors([measured_rows[i].vectors[name] for i, name in places]), strict=True
    ):
        longer[i][name] = several
    values = [
        _exact(_values(row, *measured), tensors[row.path])
        for row, measured in zip(measured_rows, zip(numbers, longer, strict=True), strict=True)
    ]
    twins = _twins(measured_rows, values, [several.get("marks", ()) for several in longer])
    kin = kin_of({row.path: several.get("beginning", ()) for row, several in zip(measured_rows, longer, strict=True)})
    return {
        row.path: replace(value, twin=twins.get(row.path, ""), kin=kin.get(row.path, ""))
        for row, value in zip(measured_rows, values, strict=True)
    }


def measure_parameter(path: str, tensor: Tensor, layout: Layout | None) -> DeviceStatistics:
    """Measures a parameter, without waiting for the numbers."""
    with torch.no_grad(), torch._C.DisableTorchFunction():
        values = tensor.detach()
        if values.is_complex() and values.numel():
            return _measure_complex(path, values)
        if not values.numel() or not values.dtype.is_floating_point:
            return DeviceStatistics(path, values.numel(), {}, {})
        whole = values if values.dtype.itemsize > 1 else values.float()
        some = sampled(whole)
        wide = torch.float64 if whole.numel() <= MOST else torch.promote_types(whole.dtype, torch.float32)
        low, high = (bound.to(wide) for bound in torch.aminmax(whole))
        numbers = {
            "mean": whole.mean(dtype=wide),
            "second_moment": _second_moment(whole),
            "low": low,
            "high": high,
            "zeros": (some == 0).float().mean(),
            "kurtosis": _kurtosis(sampled(_of_one_size(whole, layout))),
        }
        vectors = {
            "marks": _marks(some),
            "beginning": whole.reshape(-1)[:MARKS],
            "histogram": _histogram(some, torch.maximum(high, -low)),
        }
        return DeviceStatistics(
            path,
            values.numel(),
            numbers | _unit_statistics(whole, layout),
            vectors | _block_statistics(whole, layout) | _part_statistics(whole, layout),
        )


def _measure_complex(path: str, values: Tensor) -> DeviceStatistics:
    """Moments of complex numbers: |E w|, E |w|^2."""
    largest = values.abs().amax()
    numbers = {
        "mean": values.mean().abs(),
        "second_moment": 2 * _second_moment(torch.view_as_real(values)),
        "low": -largest,
        "high": largest,
        "zeros": (sampled(values) == 0).float().mean(),
        "kurtosis": largest.new_full((), NAN),
    }
    return DeviceStatistics(path, values.numel(), numbers, {})


def _of_one_size(values: Tensor, layout: Layout | None) -> Tensor:
    """The maps of a stack, each over its rms: layers with stds of their own have one distribution."""
    own = axes_of_a_map(tuple(values.shape), layout)
    if not own:
        return values
    rms = values.float().square().mean(own, keepdim=True).sqrt()
    return values / torch.where(rms > 0, rms, 1.0)


def _kurtosis(some: Tensor) -> Tensor:
    centred = some.double()
    centred = centred - centred.mean()
    squares = centred.square()
    return squares.square().mean() / squares.mean().square()


def _marks(some: Tensor) -> Tensor:
    return some[:: max(len(some) // MARKS, 1)][:MARKS]


def _histogram(some: Tensor, largest: Tensor) -> Tensor:
    shares = torch.where(largest == 0, 0.0, some / largest)  # values that are all 0 lie where 0 lies elsewhere
    places = ((shares + 1) * (BINS / 2)).nan_to_num(0.0).clamp(0, BINS - 1)
    return torch.bincount(places.to(torch.int64), minlength=BINS).float()


def _unit_statistics(values: Tensor, layout: Layout | None) -> dict[str, Tensor]:
    units = _units(values, layout)
    if units is not None:
        return {"repeated": _repeated(units), "overlap": _least_overlap(values, layout)}
    rows = _rows(values, layout)
    return {} if rows is None else {"repeated": _repeated(rows)}


def _rows(values: Tensor, layout: Layout | None) -> Tensor | None:
    """Some rows of a table, evenly spread; None for what is no table."""
    order = row_order(tuple(values.shape), layout)
    if order is None:
        return None
    count = math.prod(values.shape[axis] for axis in order[0])
    rows = values.permute(*order[0], *order[1]).reshape(count, values.numel() // max(count, 1))
    return rows[:: max(math.ceil(count / MOST_ROWS), 1)]


def _part_statistics(values: Tensor, layout: Layout | None) -> dict[str, Tensor]:
    """E w^2 of each eighth of a map's units, as they are stored."""
    units = _units(values, layout)
    if units is None or len(units) < PARTS:
        return {}
    return {"parts": torch.stack([_second_moment(part) for part in torch.tensor_split(units, PARTS)])}


def _second_moment(values: Tensor) -> Tensor:
    """E w^2, without a copy of all squares; chunk by chunk, for one sum in float32 stands still as it grows."""
    flat, wide = in_memory(values), torch.promote_types(values.dtype, torch.float32)
    rows = len(flat) // CHUNK
    lengths = torch.linalg.vector_norm(flat[: rows * CHUNK].view(rows, CHUNK), dim=1, dtype=wide).double()
    rest = torch.linalg.vector_norm(flat[rows * CHUNK :], dtype=torch.float64)
    moment: Tensor = (lengths.square().sum() + rest.square()) / max(len(flat), 1)
    return moment


def _units(values: Tensor, layout: Layout | None) -> Tensor | None:
    """The incoming weights of each unit, (units, weights); None for what is no map."""
    order = unit_order(tuple(values.shape), layout)
    if order is None:
        return None
    out, rest = order
    count = math.prod(values.shape[axis] for axis in out)
    return values.permute(*out, *rest).reshape(count, values.numel() // max(count, 1))


def _repeated(units: Tensor) -> Tensor:
    """Share of rows that are bit for bit another; found among neighbours in the order of a projection."""
    count, width = units.shape
    if count < 2 or width < 2:
        return units.new_zeros((), dtype=torch.float32)
    if width > 2 * WIDE:
        units = units[:, :: stride_prime_to(units.shape, width // WIDE)]
    weights = torch.sin(torch.arange(1, units.shape[1] + 1, device=units.device, dtype=torch.float64) * 1.7)
    rows = units[torch.argsort((units * weights).sum(1))]
    return (rows[1:] == rows[:-1]).all(1).float().sum() / count


def _least_overlap(values: Tensor, layout: Layout | None) -> Tensor:
    """The overlap of one of the maps that a weight holds, or of all as one matrix, as libraries unfold it."""
    first = _first_map(values, layout)
    views = [_units(held, layout) for held in ([values] if first.shape == values.shape else [values, first])]
    if layout is not None and layout.transposed:
        views.append(_units(values, None))
    overlaps = torch.stack([_overlap(view) for view in views if view is not None])
    return torch.where(overlaps.isnan(), math.inf, overlaps).amin().where(~overlaps.isnan().all(), NAN)


def _first_map(values: Tensor, layout: Layout | None) -> Tensor:
    """The first of the maps that a weight holds."""
    for axis, size in first_map(tuple(values.shape), layout).items():
        values = values.narrow(axis, 0, size)
    return values


def _overlap(units: Tensor) -> Tensor:
    """Rms cosine of some rows, or of columns where they are fewer, times the square root of their length."""
    rows = units[:WIDE] if len(units) <= units.shape[1] else units[:, :WIDE].T
    count, width = rows.shape
    if count < ROWS:
        return rows.new_full((), NAN, dtype=torch.float64)
    rows = rows.double()
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    cosines = (rows @ rows.T).fill_diagonal_(0.0)
    overlap: Tensor = (cosines.square().sum() * (width / (count * (count - 1)))).sqrt()
    return overlap


def _block_statistics(values: Tensor, layout: Layout | None) -> dict[str, Tensor]:
    """E w^2 of each map of a fused weight."""
    sizes = block_extents(tuple(values.shape), layout)
    if layout is None or layout.fused is None or not sizes:
        return {}
    parts = torch.split(values, sizes, layout.fused.axis)
    means = torch.stack([part.mean(dtype=torch.promote_types(part.dtype, torch.float32)) for part in parts])
    return {"blocks": torch.stack([_second_moment(part) for part in parts]), "block_means": means}


def _fetch_vectors(vectors: Sequence[Tensor]) -> list[tuple[float, ...]]:
    """The values of several vectors; one copy a device."""
    rows: list[tuple[float, ...]] = [()] * len(vectors)
    groups: dict[torch.device, list[int]] = {}
    for i, vector in enumerate(vectors):
        groups.setdefault(vector.device, []).append(i)
    for places in groups.values():
        flat = iter(torch.cat([vectors[i].double() for i in places]).tolist())
        for i in places:
            rows[i] = tuple(islice(flat, vectors[i].numel()))
    return rows


def _gradient_moments(gradients: Mapping[str, Tensor | None]) -> dict[str, float]:
    reached = {path: gradient for path, gradient in gradients.items() if gradient is not None}
    with torch.no_grad():
        moments = [_moment(gradient) for gradient in reached.values()]
    return dict(zip(reached, fetch(moments), strict=True))


def _moment(gradient: Tensor) -> Tensor:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    values = torch.view_as_real(values) if values.is_complex() else values
    return _second_moment(values) * (values.numel() / max(gradient.numel(), 1))


def _values(row: DeviceStatistics, numbers: Mapping[str, float], longer: Mapping[str, tuple[float, ...]]) -> Values:
    if not numbers:
        return Values(row.count, NAN, NAN)
    low, high, mean, second = numbers["low"], numbers["high"], numbers["mean"], numbers["second_moment"]
    if low == high:  # equal values, without the rounding of their sums
        mean, second = low, low * low
    return Values(
        row.count,
        mean,
        second,
        kurtosis=numbers["kurtosis"],
        largest=max(abs(low), abs(high)),
        zeros=numbers["zeros"],
        repeated=numbers.get("repeated", 0.0),
        overlap=numbers.get("overlap", NAN),
        blocks=longer.get("blocks", ()),
        block_means=longer.get("block_means", ()),
        parts=longer.get("parts", ()),
        histogram=tuple(int(count) for count in longer.get("histogram", ())),
    )


def _exact(values: Values, tensor: Tensor) -> Values:
    """Statistics without NaN, infinities and squares beyond float32, counted again only where there are such."""
    lost = values.second_moment < SMALL and values.largest > 0
    if not tensor.dtype.is_floating_point or not values.count or (math.isfinite(values.second_moment) and not lost):
        return values
    with torch.no_grad():
        whole = tensor.detach().double()
        finite = whole[whole.isfinite()]
        rest = finite if finite.numel() else whole.new_zeros(1)
        return replace(
            values,
            infinite=1 - finite.numel() / values.count,
            mean=float(rest.mean()),
            second_moment=float(rest.square().mean()),
            largest=float(rest.abs().max()),
            histogram=() if finite.numel() < values.count else values.histogram,
        )


def _twins(
    rows: Sequence[DeviceStatistics], values: Sequence[Values], marks: Sequence[tuple[float, ...]]
) -> dict[str, str]:
    """Parameters that hold the same numbers as an earlier one, by path; equal values do not count."""
    compared = zip(rows, values, marks, strict=True)
    return twins_of(
        {
            row.path: (value.count, value.mean, value.second_moment, mark)
            for row, value, mark in compared
            if not value.constant and len(mark) >= MARKS and is_varied(mark)
        }
    )
