"""Normalisation: y = (x - mean) / sqrt(variance + eps), over features, places or examples."""

import math
from collections.abc import Iterator

import numpy as np

from fanwise.graph.details import Normalisation
from fanwise.graph.op import OpKind
from fanwise.theory.rules.affine import replaced, scale_gradient, scaled, shifted
from fanwise.theory.rules.registry import Share, backward_rule, forward_rule
from fanwise.theory.samples import HERE, Likeness, Rows, likeness, reshaped, second
from fanwise.theory.walk import Here, Walk


@forward_rule(OpKind.NORM)
def norm(walk: Walk, here: Here) -> Rows | None:
    """Output y = scale (x - m) / sqrt(E (x - m)^2 + eps) + shift; rms norms take m = 0.

        E y^2 = E scale^2 E (x - m)^2 / (E (x - m)^2 + eps) + E shift^2

    Source: Ioffe and Szegedy, "Batch normalization", 2015, algorithm 1; Ba et al., "Layer normalization", 2016, eq. 4;
    Zhang and Sennrich, "Root mean square layer normalization", 2019, eq. 4. Over many values the mean of the squares is
    its expectation.
    """
    op = here.op
    if not here.sources:
        return None
    rows = centred(walk, here)
    epsilon = op.detail.eps if isinstance(op.detail, Normalisation) else 0.0
    size = math.sqrt(second(rows[HERE]) + epsilon)
    rows = rows / size if size > 0 else rows
    walk.sizes[op.index] = size
    if op.name == "normalize":
        rows = rows / math.sqrt(op.shape[-1] if op.shape else 1)
    return shifted(walk, replaced(here, rows), scaled(walk, replaced(here, rows)))


@backward_rule(OpKind.NORM)
def norm_gradient(walk: Walk, here: Here, gradient: Rows) -> Iterator[Share]:
    """Gradient dL/dx = (h - mean h - y mean(h y)) / sqrt(E (x - m)^2 + eps), with h = scale g, y the normalised x.

    Derived here: differentiating y by the mean takes mean h away, by the size takes the projection on y away; rms norms
    have no mean. Where each channel divides by its own size, E 1/v = (1 + scatter) / E v.
    """
    size = walk.sizes.get(here.op.index, 0.0)
    if not here.sources or size <= 0:
        return
    scaled = next(scale_gradient(walk, here, gradient)).rows
    if here.op.name == "normalize":
        scaled = scaled / math.sqrt(here.op.shape[-1] if here.op.shape else 1)
    signal = centred(walk, here) / size
    yield Share(here.op.inputs[0], _projected(walk, here, scaled, signal) / size)


def centred(walk: Walk, here: Here) -> Rows:
    """The sample less what a norm takes for its mean: over features, or over places and examples."""
    rows, name = here.first, here.op.norm
    if name == "by hand":
        kept = not isinstance(here.op.detail, Normalisation) or not here.op.detail.centred
        return rows if kept else np.asarray(rows - rows.mean())
    if "rms" in name or here.op.name == "normalize":
        return rows
    moments, places = likeness(rows), walk.places(here.op.index)
    around = rows - rows[HERE].mean()
    if "batch" in name:
        examples = max(here.op.shape[0], 1) if here.op.shape else 1
        left, least = moments.minus(moments.average(places, examples)), -moments.here / max(places * examples - 1, 1)
        return reshaped(around, Likeness(left.here, max(left.elsewhere, least), max(left.another, least)))
    if "instance" in name:
        left = moments.minus(moments.average(places))
        return reshaped(around, Likeness(left.here, left.elsewhere, 0.0))
    return np.asarray(around)


def _projected(walk: Walk, here: Here, gradient: Rows, signal: Rows) -> Rows:
    name = here.op.norm
    if not any(kind in name for kind in ("batch", "instance")):
        mean = 0.0 if "rms" in name else gradient[HERE].mean()
        return np.asarray(gradient - mean - signal * float(np.mean(gradient[HERE] * signal[HERE])))
    moments, places = likeness(gradient), walk.places(here.op.index)
    examples = max(here.op.shape[0], 1) if "batch" in name else 1
    product = likeness(gradient * signal)
    lost = moments.average(places, examples) + product.average(places, examples)
    left = reshaped(gradient, moments.minus(min(lost, moments.here)))
    return left * math.sqrt(1 + _scatter_of_channels(walk, here, signal, (places, examples)))


def _scatter_of_channels(walk: Walk, here: Here, signal: Rows, sizes: tuple[float, float]) -> float:
    """Relative variance of the variances of the channels, each of which divides by its own: E 1/v = (1 + this) / E v.

    A channel is a random combination of its inputs: its variance scatters as the mean of so many squares as there are
    independent places and features.
    """
    squares = likeness(np.square(signal) - 1)
    return max(squares.average(*sizes), 0.0) + 2 / max(walk.features(here.op), 1)
