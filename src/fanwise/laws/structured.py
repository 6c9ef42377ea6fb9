"""Laws for whole matrices: orthogonal, identity, sparse. A box of one is cut from the whole.

Every matrix comes from the parameter's own stream at its own elements, so groups, stacked and fused maps differ from
each other, and adding a layer moves none.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from fanwise.laws.base import Initializer, Moments, Site, known_layout
from fanwise.laws.layout import Layout, along
from fanwise.laws.matrices import F64, Canonical, haar
from fanwise.stream import fill
from fanwise.stream.arguments import checked_choice, checked_count, checked_number
from fanwise.stream.box import Box, Shape, check_memory
from fanwise.stream.formats import Array
from fanwise.stream.law import NORMAL_REACH

PRESERVE = ("second_moment", "norm")


class MatrixLaw(Initializer):
    """A law that makes the matrices of a weight whole, and then cuts the box out of it."""

    @final
    def _draw(self, site: Site, out: Array) -> None:
        check_memory(site.part.shape, 8)
        canonical = Canonical.of(site.part.shape, site.known_layout())
        weight = canonical.scatter(self._matrices(site, canonical))
        out[...] = weight[site.box.relative_to(site.part.start).slices()]

    @abstractmethod
    def _matrices(self, site: Site, canonical: Canonical) -> Array:
        """The matrices of ``site.part``, shape ``canonical.matrices``: (stack, kernel, in, out)."""


@dataclass(frozen=True)
class Orthogonal(MatrixLaw):
    """Haar-distributed orthonormal matrices times a gain.

    Computed in float64 for float64 and in float32 for every other dtype. Not elementwise, so the promise is a
    tolerance and not bits: entries agree between machines, thread counts and dtypes to 16 sqrt(n) eps of the precision
    computed in, n the longer side, times the largest singular value.

    A convolution is the matrix (kernel * in, out). With `preserve` = "second_moment" every output keeps the second
    moment of the inputs: entries have variance gain**2 / fan_in, also where the matrix is taller than wide. With
    "norm" the singular values are all `gain`, as in torch, Keras and JAX, and a layer that widens from n to m
    channels scales the second moment by n / m.

    Args:
        gain: factor on the std, >= 0.
        preserve: "second_moment" or "norm".

    References:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
        networks", 2013; Martens et al., "Rapid training of deep neural networks without skip connections or
        normalization layers using deep kernel shaping", 2021, for the scale of widening layers.
    """

    gain: float = 1.0
    preserve: str = "second_moment"

    def __post_init__(self) -> None:
        checked_number(self.gain, name="gain", low=0.0)
        checked_choice(self.preserve, PRESERVE, name="preserve")

    def _matrices(self, site: Site, canonical: Canonical) -> Array:
        stack, kernel, inputs, outputs = canonical.matrices
        gaussian = canonical.gather(fill.normal(site.known_key(), site.shape, dtype=site.form.working, box=site.part))
        matrices = haar(gaussian.reshape(stack, kernel * inputs, outputs))
        return self._singular_value(site.part.shape, site.known_layout()) * matrices

    def _singular_value(self, shape: Shape, layout: Layout) -> float:
        if self.preserve == "norm":
            return self.gain
        _, kernel, inputs, outputs = Canonical.of(shape, layout).matrices
        fan_in = layout.fans(shape).fan_in
        return self.gain * math.sqrt(max(kernel * inputs, outputs) / fan_in) if fan_in else 0.0

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        known = known_layout(layout, shape)
        _, kernel, inputs, outputs = Canonical.of(shape, known).matrices
        largest = self._singular_value(shape, known)
        return Moments(0.0, largest / math.sqrt(max(kernel * inputs, outputs, 1)), -largest, largest)


@dataclass(frozen=True)
class DeltaOrthogonal(MatrixLaw):
    """A convolution whose centre tap is a Haar orthonormal matrix and whose other taps are 0.

    Unlike a flattened orthogonal kernel it is an isometry of whole images, at any depth.

    Args:
        gain: factor on the std, >= 0.
        preserve: "second_moment" or "norm", as for `Orthogonal`; they agree where in = out.

    Raises:
        ValueError: when called: no kernel axes, an even window, or more inputs than outputs.

    References:
        Xiao et al., "Dynamical isometry and a mean field theory of CNNs: how to train 10,000-layer vanilla
        convolutional neural networks", 2018, section 3.3 and algorithm 1.
    """

    gain: float = 1.0
    preserve: str = "second_moment"

    def __post_init__(self) -> None:
        checked_number(self.gain, name="gain", low=0.0)
        checked_choice(self.preserve, PRESERVE, name="preserve")

    def _matrices(self, site: Site, canonical: Canonical) -> Array:
        layout = site.known_layout()
        centre = _centre_box(site.part, layout)
        gaussian = fill.normal(site.known_key(), site.shape, dtype=site.form.working, box=centre)
        tap = haar(Canonical.of(centre.shape, layout).gather(gaussian)[:, 0])
        return _centred(canonical, self._singular_value(canonical) * tap)

    def _singular_value(self, canonical: Canonical) -> float:
        _, _, inputs, outputs = canonical.matrices
        return self.gain * math.sqrt(outputs / inputs) if self.preserve == "second_moment" and inputs else self.gain

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        known = known_layout(layout, shape)
        canonical = Canonical.of(shape, known)
        _, kernel, inputs, outputs = canonical.matrices
        _check_window(known, shape, odd=True)
        if inputs > outputs:
            raise ValueError(f"shape = {shape}: {inputs} inputs into {outputs} outputs leave no isometry (expected <=)")
        largest = self._singular_value(canonical)
        return Moments(0.0, largest / math.sqrt(max(outputs, 1) * max(kernel, 1)), -largest, largest)


@dataclass(frozen=True)
class LooksLinear(MatrixLaw):
    """Orthonormal matrices mirrored, [[Q, -Q], [-Q, Q]], so that a ReLU between two of them changes nothing.

        x = [u, v]: W x = [Q (u - v), -Q (u - v)], and relu(z) - relu(-z) = z

    A chain of such maps and ReLUs is linear and keeps lengths at any depth, also where it is one weight over and over.
    Every other function of f(z) - f(-z) = c z does the same, leaky ReLU, GELU and SiLU among them. Entries have
    variance gain**2 / fan_in, as of every other law; gain sqrt(2) is that of a ReLU. Odd sizes are cut from the next
    even ones. Computed as `Orthogonal` is, to the same tolerance.

    Args:
        gain: factor on the std, >= 0.

    References:
        Balduzzi et al., "The shattered gradients problem: if resnets are the answer, then what is the question?", 2017,
        section 4.1.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        checked_number(self.gain, name="gain", low=0.0)

    def _matrices(self, site: Site, canonical: Canonical) -> Array:
        gaussian = canonical.gather(fill.normal(site.known_key(), site.shape, dtype=site.form.working, box=site.part))
        stack, kernel, inputs, outputs = halved(canonical)
        quarter = haar(gaussian[:, :, :inputs, :outputs].reshape(stack, kernel * inputs, outputs))
        scaled = self._singular_value(site.part.shape, site.known_layout()) * quarter.reshape(halved(canonical))
        rows = np.concatenate([scaled, -scaled], axis=2)[:, :, : canonical.matrices[2]]
        return np.concatenate([rows, -rows], axis=3)[..., : canonical.matrices[3]]

    def _singular_value(self, shape: Shape, layout: Layout) -> float:
        """Of the matrix that is mirrored."""
        _, kernel, inputs, outputs = halved(Canonical.of(shape, layout))
        fan_in = layout.fans(shape).fan_in
        return self.gain * math.sqrt(max(kernel * inputs, outputs) / fan_in) if fan_in else 0.0

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        known = known_layout(layout, shape)
        _, kernel, inputs, outputs = halved(Canonical.of(shape, known))
        largest = self._singular_value(shape, known)
        return Moments(0.0, largest / math.sqrt(max(kernel * inputs, outputs, 1)), -largest, largest)


@dataclass(frozen=True)
class Identity(MatrixLaw):
    """The identity matrix times a gain; ones on the diagonal of a rectangular one.

    Args:
        gain: the diagonal's value.

    Raises:
        ValueError: when called: a convolution, for which `Dirac` is the identity.

    References:
        Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified linear units", 2015.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        checked_number(self.gain, name="gain")

    def _matrices(self, site: Site, canonical: Canonical) -> Array:
        return _centred(canonical, _eyes(canonical, self.gain))

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        known = known_layout(layout, shape)
        if "kernel" in known.axes:
            raise ValueError(f"shape = {shape} has kernel axes: expected a matrix (Dirac is the identity convolution)")
        return _diagonal_moments(Canonical.of(shape, known), self.gain)


@dataclass(frozen=True)
class Dirac(MatrixLaw):
    """The identity convolution: ones at the centre tap's diagonal, one identity for each group of the layout.

    Args:
        gain: the diagonal's value.

    Raises:
        ValueError: when called: a shape without kernel axes.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        checked_number(self.gain, name="gain")

    def _matrices(self, site: Site, canonical: Canonical) -> Array:
        return _centred(canonical, _eyes(canonical, self.gain))

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        known = known_layout(layout, shape)
        _check_window(known, shape, odd=False)
        return _diagonal_moments(Canonical.of(shape, known), self.gain)


@dataclass(frozen=True)
class Sparse(MatrixLaw):
    """Every output reads a few random inputs, with normal weights; the rest are 0.

    std of the weights that are not 0: gain / sqrt(nonzero), so every output keeps the second moment of its inputs.
    An output with fewer inputs than `nonzero` reads them all.

    Args:
        nonzero: inputs of one output.
        gain: factor on the std, >= 0.

    References:
        Martens, "Deep learning via Hessian-free optimization", 2010, section 5.1 (nonzero = 15).
    """

    nonzero: int = 15
    gain: float = 1.0

    def __post_init__(self) -> None:
        checked_count(self.nonzero, name="nonzero")
        checked_number(self.gain, name="gain", low=0.0)

    def _matrices(self, site: Site, canonical: Canonical) -> Array:
        stack, kernel, inputs, outputs = canonical.matrices
        key, columns = site.known_key(), (stack, kernel * inputs, outputs)
        std = self.gain / math.sqrt(min(self.nonzero, kernel * inputs))
        values = fill.normal(key, site.shape, std=std, dtype="float64", box=site.part)
        lots = fill.words(key.derive("sparse positions"), site.shape, box=site.part).astype(np.float64)
        order = np.argsort(canonical.gather(lots).reshape(columns), axis=1, kind="stable")
        kept = np.zeros(columns)
        np.put_along_axis(kept, order[:, : self.nonzero], 1.0, axis=1)
        return canonical.gather(values) * kept.reshape(canonical.matrices)

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        _, kernel, inputs, _ = Canonical.of(shape, known_layout(layout, shape)).matrices
        fan = max(kernel * inputs, 1)
        largest = NORMAL_REACH * self.gain / math.sqrt(min(self.nonzero, fan))
        return Moments(0.0, self.gain / math.sqrt(fan), -largest, largest)


def halved(canonical: Canonical) -> tuple[int, int, int, int]:
    """The shape of the matrices that are mirrored: half the inputs and half the outputs, rounded up."""
    stack, kernel, inputs, outputs = canonical.matrices
    return stack, kernel, (inputs + 1) // 2, (outputs + 1) // 2


def _centre_box(part: Box, layout: Layout) -> Box:
    """The centre tap of a weight's window."""
    box = part
    for axis, role in enumerate(layout.axes):
        if role == "kernel":
            box = along(box, axis, box.shape[axis] // 2, 1)
    return box


def _centred(canonical: Canonical, tap: Array) -> F64:
    """Matrices that are 0 but at the window's centre; `tap` has shape (stack, in, out)."""
    matrices = np.zeros(canonical.matrices)
    matrices[:, canonical.centre()] = tap
    return matrices


def _eyes(canonical: Canonical, gain: float) -> F64:
    stack, _, inputs, outputs = canonical.matrices
    return np.broadcast_to(gain * np.eye(inputs, outputs), (stack, inputs, outputs))


def _check_window(layout: Layout, shape: Shape, *, odd: bool) -> None:
    window = [size for size, role in zip(shape, layout.axes, strict=True) if role == "kernel"]
    if not window:
        raise ValueError(f"shape = {shape} has no kernel axes: expected a convolution, (*kernel, in, out)")
    if odd and any(size % 2 == 0 and size for size in window):
        raise ValueError(f"shape = {shape}: window {tuple(window)} has no centre, expected odd sizes")


def _diagonal_moments(canonical: Canonical, gain: float) -> Moments:
    _, kernel, inputs, outputs = canonical.matrices
    if kernel * inputs * outputs == 0:
        return Moments(0.0, 0.0, 0.0, 0.0)
    share = min(inputs, outputs) / (kernel * inputs * outputs)
    low, high = (min(gain, 0.0), max(gain, 0.0)) if share < 1 else (gain, gain)
    return Moments(gain * share, abs(gain) * math.sqrt(share * (1 - share)), low, high)
