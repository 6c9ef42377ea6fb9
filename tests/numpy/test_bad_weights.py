"""What cannot be a network, a batch or a choice: one sentence that names the argument and what would fit."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from fanwise import check_weights, fix_weights

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 20))
Y = RNG.integers(4, size=32)
PICTURES = RNG.normal(size=(8, 1, 9, 9))


def w(*shape):
    return RNG.normal(size=shape) / math.sqrt(shape[0])


W1, W2, W3 = w(20, 12), w(12, 8), w(8, 4)
B1, B2, B3 = np.zeros(12), np.zeros(8), np.zeros(4)
K, NET, RAGGED = w(4, 1, 3, 3), [W1, W2, W3], [[1.0, 2.0], [3.0]]


@dataclass
class Bad:
    weights: Any
    match: str
    x: Any = field(default_factory=lambda: X)
    y: Any = None
    error: type = ValueError
    options: dict = field(default_factory=dict)


def typed(weights, match, **others):
    return Bad(weights, match, error=TypeError, **others)


def option(match, weights=NET, x=X, y=None, error=ValueError, **options):
    return Bad(weights, match, x, y, error, options)


WEIGHTS = {
    "an array": typed(W1, r"weights = an array of shape \(20, 12\): expected a list of arrays"),
    "a number": typed(3, "weights = int: expected a list of arrays"),
    "text": typed("W1", "weights = str: expected a list of arrays"),
    "nothing": Bad([], "weights is empty: expected a list"),
    "no names": Bad({}, "weights is empty: expected a list"),
    "None within": typed([W1, None], r"weights\[1\] is NoneType: expected a NumPy array"),
    "text within": typed([W1, "b1"], r"weights\[1\] is str: expected a NumPy array"),
    "objects": typed([np.array([[1, None]])], r"weights\[0\] holds object: expected numbers of floating point$"),
    "integers": typed({"W": np.ones((20, 3), int)}, r"weights\['W'\] holds int64: .*, as in weights\['W'\].astype"),
    "complex": typed([W1 + 1j], "holds complex128: expected numbers of floating point$"),
    "ragged": Bad([RAGGED], r"weights\[0\] is no array, its rows differ"),
    "without values": Bad([np.ones((20, 0))], r"weights\[0\] has shape \(20, 0\) and no values"),
    "a vector first": Bad([B1, W1], r"weights\[0\] has shape \(12,\): expected a weight of two axes"),
    "two vectors": Bad([W1, B1, B1], r"weights\[2\] has shape \(12,\): expected a weight of two axes"),
    "a scalar": Bad([np.array(1.0)], r"weights\[0\] has shape \(\): expected a weight of two axes"),
    "three in a pair": Bad([(W1, B1, B1)], r"weights\[0\] holds 3 values: expected a pair"),
    "a pair without weight": Bad([(None, B1)], r"weights\[0\] has no weight: expected a pair"),
    "a matrix for a bias": Bad([(W1, W2)], r"weights\[0\]\[1\] has shape \(12, 8\): expected a bias of one axis"),
    "a bias too long": Bad([W1, B2], r"b1 has 8 values, and W1 of shape \(20, 12\) gives 12"),
    "bias or weight": Bad([w(20, 20), w(20, 1)], "it may be a bias or the next weight; give pairs"),
    "a gap": Bad([W1, B1, W3, B3], r"W2 of shape \(8, 4\) takes 8 or 4 values, and W1 gives 12$"),
    "a gap by name": Bad({"one": W1, "two": W3}, r"two of shape \(8, 4\) takes 8 or 4 values, and one gives 12$"),
}
BATCHES = {
    "too wide": Bad([W2], r"W1 of shape \(12, 8\) takes 12 or 8 values, and x gives 20$"),
    "none": typed(NET, "x = None: expected a batch of inputs", x=None),
    "one axis": Bad(NET, r"x has shape \(20,\): expected \(examples, features\), as x\[:, None\]", x=X[0]),
    "objects": typed(NET, "x holds object: expected a batch of numbers", x=np.array([[None] * 20])),
    "text": typed(NET, "x holds <U1: expected a batch of numbers", x=[["a"] * 20]),
    "ragged": Bad(NET, "x is no array, its rows differ in length", x=RAGGED),
    "empty": Bad(NET, r"x has shape \(0, 20\) and no values", x=X[:0]),
    "NaN": Bad(
        NET,
        r"x holds 32 numbers that are not finite, the first at \(0, 3\): nan",
        x=np.where(np.arange(20) == 3, math.nan, X),
    ),
    "fewer targets": Bad(NET, r"y has shape \(9,\), and x holds 32 examples", y=Y[:9]),
    "one target": Bad(NET, "y = 3 is one number: expected one target for each example", y=3),
    "targets of text": typed(NET, "y holds <U1: expected numbers", y=["a"] * 32),
    "ragged targets": Bad(NET, "y is no array, its rows differ in length", y=RAGGED),
    "NaN in targets": Bad(
        NET,
        r"y holds numbers that are not finite, the first at \(1,\): nan",
        y=[0, math.nan] * 16,
    ),
    "classes from 1": option(
        "y reaches from 1 to 4, and the last layer gives 4 values; classes count from 0", y=Y + 1, loss="softmax"
    ),
    "too many classes": option("y reaches from 3 to 6, and the last layer gives 4", y=Y + 3, loss="softmax"),
    "values as classes": option("and softmax takes classes: loss='mse'", y=X[:, 0], loss="softmax"),
    "rows that are no shares": option("its rows do not add up to 1", y=np.ones((32, 4)), loss="softmax"),
    "columns of values": option(r"y has shape \(32, 3\), and the network gives \(32, 4\)$", y=X[:, :3], loss="mse"),
    "classes as values": option("classes are for loss='softmax'", y=Y, loss="mse"),
}
CHOICES = {
    "the other way": option(r"W1 of shape \(20, 12\) as 'out in' takes 12 values, and x gives 20", dense="out in"),
    "dense": option("dense = 'rows': expected one of in out, out in", dense="rows"),
    "softmax and mse": option(
        "ends in softmax, whose loss is loss='softmax'", y=Y, activation=["relu", "relu", "softmax"], loss="mse"
    ),
    "softmax within": option("it belongs to the loss", activation=["softmax", "relu", None]),
    "a loss of another kind": option("loss = 'hinge': expected one of 'softmax', 'sigmoid', 'mse'", loss="hinge"),
    "a loss nearly right": option("loss = 'sofmax': did you mean 'softmax'", loss="sofmax"),
    "another": option("loss = 'mean_square': did you mean 'mse'", loss="mean_square"),
    "no loss at all": option("loss = 3: expected one of 'softmax'.*, a function of", error=TypeError, loss=3),
    "a class": option("loss = <class.*>: expected one of 'softmax'", error=TypeError, loss=Bad),
    "pooling": option("pooling = 'mean': expected one of max, average", [K], PICTURES, pool=2, pooling="mean"),
    "a nonlinearity nearly right": option("activation = 'rellu': did you mean 'relu'", activation="rellu"),
    "an unknown one": option("activation = 'xyz': expected one of linear", activation="xyz"),
    "a number": option("activation = 3: expected a name", error=TypeError, activation=3),
    "too many": option("activation lists 4: expected one for each of the 3 layers", activation=["relu"] * 4),
    "a function that fails": option(
        "activation function could not be computed of an array of shape .*IndexError",
        error=TypeError,
        activation=lambda z: z[:, 400],
    ),
    "a function of more": option(
        "activation function gave tuple for an array of shape", error=TypeError, activation=lambda z: (z, z)
    ),
    "a slope left out": option(r"leaky_relu\(0.2\)", error=TypeError, activation="leaky_relu"),
    "optimizer": option("optimizer = 'adan': expected one of", optimizer="adan"),
    "conv": option("conv = 'in out': expected 'out in kernel kernel'", [K], PICTURES, conv="in out"),
    "conv of another type": option("conv = 3: expected a text", [K], PICTURES, error=TypeError, conv=3),
    "stride": option("stride = 0: expected an integer >= 1", [K], PICTURES, stride=0),
    "strides": option("stride lists 2: expected one value, or one for each of 1", [K], PICTURES, stride=[1, 1]),
    "padding": option("padding = 'full': expected one of valid, same", [K], PICTURES, padding="full"),
}
WINDOWS = {
    "channels": Bad([w(4, 3, 3, 3)], "takes 3 channels, and x gives 1 x 9 x 9", PICTURES),
    "channels last": Bad([K], "takes 1 channels, and x gives 9 x 9 x 1", np.moveaxis(PICTURES, 1, -1)),
    "kernels first": Bad([w(3, 3, 2, 4)], "conv='kernel kernel in out' would fit", RNG.normal(size=(8, 9, 9, 2))),
    "rows": Bad([K], "is a convolution over 2 axes beside the channels, and x gives 20"),
    "small pictures": Bad([K], "has windows of 3 x 3, pooled by 1, and x gives 1 x 9 x 2: no place", PICTURES[..., :2]),
    "a head": Bad(
        [K, w(100, 4)],
        r"W2 of shape \(100, 4\) takes 100 or 4 values, and W1 gives 4 x 7 x 7; stride=, padding= and pool=",
        PICTURES,
    ),
    "a window after rows": Bad([W1, K], "W2 of shape .* is a convolution over 2 axes .*, and W1 gives 12"),
}
EVERY = {
    f"{kind}: {name}": case
    for kind, cases in (("weights", WEIGHTS), ("batch", BATCHES), ("choice", CHOICES), ("windows", WINDOWS))
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", EVERY)
def test_one_clear_sentence(name):
    bad = EVERY[name]
    with pytest.raises(bad.error, match=bad.match) as caught:
        check_weights(bad.weights, bad.x, bad.y, **bad.options)
    assert len(str(caught.value)) < 450
    assert "\n" not in str(caught.value)


def test_a_fix_says_the_same():
    with pytest.raises(ValueError, match="W2 of shape"):
        fix_weights([W1, W3], X)


def test_a_tensor_is_told_where_to_go():
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")
    with pytest.raises(TypeError, match=r"weights\[0\] is Tensor: .*fanwise.torch.check"):
        check_weights([torch.ones(3, 4)], X)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_a_finding(value):
    broken = W2.copy()
    broken[3, 4] = value
    report = check_weights([W1, B1, broken, B2, W3, B3], X, Y)
    assert (report.findings[0].code, report.findings[0].place) == ("NAN001", "W2")
