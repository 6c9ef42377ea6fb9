"""Layers as linear maps, written out in plain NumPy, tap by tap.

Convolutions wrap around, so that no border thins the sums. Each map is a function (w, x) -> y with the batch first.
"""

import numpy as np


def dense(w, x):
    """w (in, out), x (batch, in)."""
    return x @ w


def conv(w, x, *, groups=1, stride=1, dilation=1):
    """w (out, in / groups, *kernel), x (batch, in, *space)."""
    kernel, space = w.shape[2:], x.shape[2:]
    parts = w.reshape(groups, w.shape[0] // groups, w.shape[1], *kernel)
    x = x.reshape(len(x), groups, w.shape[1], *space)
    axes = tuple(range(3, x.ndim))
    strided = (..., *(slice(None, None, stride) for _ in space))
    taps = (
        np.einsum("goi,bgi...->bgo...", parts[(..., *tap)], np.roll(x, [-t * dilation for t in tap], axes)[strided])
        for tap in np.ndindex(*kernel)
    )
    y = sum(taps)
    return y.reshape(len(x), -1, *y.shape[3:])


def conv_transpose(w, x, *, groups=1, stride=1):
    """w (in, out / groups, *kernel), x (batch, in, *space): every input value spreads over a window of the output."""
    kernel, space = w.shape[2:], x.shape[2:]
    parts = w.reshape(groups, w.shape[0] // groups, w.shape[1], *kernel)
    wide = np.zeros((*x.shape[:2], *(n * stride for n in space)))
    wide[(..., *(slice(None, None, stride) for _ in space))] = x
    wide = wide.reshape(len(x), groups, -1, *wide.shape[2:])
    axes = tuple(range(3, wide.ndim))
    taps = (
        np.einsum("gio,bgi...->bgo...", parts[(..., *tap)], np.roll(wide, tap, axes)) for tap in np.ndindex(*kernel)
    )
    y = sum(taps)
    return y.reshape(len(x), -1, *y.shape[3:])


def jacobian(layer, w, shape):
    """Matrix of x -> layer(w, x), shape (outputs, inputs)."""
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return layer(w, units).reshape(len(units), -1).T
