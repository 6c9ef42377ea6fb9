"""`check_weights` beside `fanwise.torch.check`: the same network, written in PyTorch, gets the same findings."""

import math
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")

import fanwise.torch as fwt  # noqa: E402
from fanwise import check_weights, lab  # noqa: E402

nn = torch.nn
UNITS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}
NAMES = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy_with_logits", "mse": "mse_loss"}


@pytest.fixture(scope="module")
def digits():
    data = lab.load_digits()
    return np.array(data.train_x[:256], np.float32), np.array(data.train_y[:256])


HE = math.sqrt(2)


def normal(rng, shape, gain=HE):
    """A map of a gain, stored as torch does: (out, in, *kernel)."""
    return (gain / math.sqrt(math.prod(shape[1:])) * rng.normal(size=shape)).astype(np.float32)


def dense(rng, widths=(784, 64, 64, 64, 10), gain=HE):
    """Weights and biases of 0 by the names that `torch_network` gives them; a quiet head."""
    held = {}
    for i, (read, out) in enumerate(pairwise(widths)):
        is_head = i == len(widths) - 2
        held[f"{2 * i}.weight"] = normal(rng, (out, read), 0.3 if is_head else gain)
        held[f"{2 * i}.bias"] = np.zeros(out, np.float32)
    return held


def convolutional(rng, channels=8):
    shapes = {"0": (channels, 1, 3, 3), "3": (channels, channels, 3, 3)}
    held = {}
    for name, shape in shapes.items():
        held |= {f"{name}.weight": normal(rng, shape), f"{name}.bias": np.zeros(channels, np.float32)}
    return held | {"7.weight": normal(rng, (10, channels * 25), 0.3), "7.bias": np.zeros(10, np.float32)}


def torch_network(held, unit="relu"):
    """The layers one after the other; a convolution is followed by its nonlinearity and a pooling of 2."""
    weights = [name for name in held if name.endswith("weight")]
    layers = {}
    for position, name in enumerate(weights):
        weight, index = torch.tensor(held[name]), int(name.split(".")[0])
        bias = held.get(name.replace("weight", "bias"))
        kind = nn.Conv2d if weight.ndim == 4 else nn.Linear
        sizes = (weight.shape[1], weight.shape[0], *([3] if weight.ndim == 4 else []))
        layer = kind(*sizes, bias=bias is not None)
        with torch.no_grad():
            layer.weight.copy_(weight)
            if bias is not None:
                layer.bias.copy_(torch.tensor(bias))
        layers[index] = layer
        if position < len(weights) - 1:
            layers[index + 1] = UNITS[unit]()
            if weight.ndim == 4:
                layers[index + 2] = nn.MaxPool2d(2)
    network = nn.Sequential()
    for index in range(max(layers) + 1):
        network.add_module(str(index), layers.get(index) or nn.Flatten())
    return network


def changed(held, *names, by):
    return held | {name: np.asarray(by(held[name]), np.float32) for name in names}


def weights_of(held):
    return [name for name in held if name.endswith("weight")]


def with_nan(weight):
    broken = weight.copy()
    broken[2, 3] = math.nan
    return broken


def positive(rng):
    return lambda weight: rng.random(weight.shape) / math.sqrt(weight.shape[1])


STARTS = {
    "he": (lambda rng: dense(rng), "relu"),
    "glorot": (lambda rng: dense(rng, gain=1.0), "tanh"),
    "zeros": (lambda rng: changed(held := dense(rng), *weights_of(held), by=np.zeros_like), "relu"),
    "zero layer": (lambda rng: changed(dense(rng), "2.weight", by=np.zeros_like), "relu"),
    "tiny": (lambda rng: changed(held := dense(rng), *weights_of(held), by=lambda w: w * 1e-3), "relu"),
    "huge": (lambda rng: changed(held := dense(rng), *weights_of(held), by=lambda w: w * 30), "relu"),
    "saturated": (lambda rng: dense(rng, gain=20.0), "tanh"),
    "slip": (lambda rng: dense(rng, (784, *[64] * 10, 10), 2.0), "relu"),
    "fading": (lambda rng: dense(rng, (784, *[64] * 12, 10), 0.5), "relu"),
    "positive": (lambda rng: changed(held := dense(rng), *weights_of(held), by=positive(rng)), "sigmoid"),
    "dead units": (lambda rng: changed(dense(rng), "4.bias", by=lambda b: b - 20), "relu"),
    "equal units": (lambda rng: changed(dense(rng), "2.weight", by=lambda w: np.tile(w[:1], (64, 1))), "relu"),
    "loud head": (lambda rng: changed(dense(rng), "6.weight", by=lambda w: 300 * w), "relu"),
    "not a number": (lambda rng: changed(dense(rng), "2.weight", by=with_nan), "relu"),
    "a layer of 2.8 times He": (lambda rng: changed(dense(rng), "2.weight", by=lambda w: 2.8 * w), "gelu"),
    "copies": (lambda rng: (held := dense(rng)) | {"4.weight": held["2.weight"].copy()}, "relu"),
    "biases": (lambda rng: changed(dense(rng), "2.bias", by=lambda b: rng.normal(0, 5, b.shape)), "tanh"),
    "convolutions": (convolutional, "relu"),
    "convolutions, tiny": (
        lambda rng: changed(held := convolutional(rng), *weights_of(held), by=lambda w: 1e-3 * w),
        "relu",
    ),
    "convolutions, by kernel area": (
        lambda rng: changed(convolutional(rng, 32), "3.weight", by=lambda w: w * math.sqrt(32)),
        "relu",
    ),
}


BROKEN = {
    "zeros": "ZER001",
    "zero layer": "ZER001",
    "tiny": "WGT001",
    "huge": "WGT002",
    "saturated": "WGT002",
    "slip": "FWD002",
    "fading": "FWD001",
    "positive": "LAW003",
    "dead units": "BIA001",
    "equal units": "EQU001",
    "loud head": "LOS001",
    "not a number": "NAN001",
    "copies": "COP001",
    "biases": "SAT001",
    "convolutions, tiny": "WGT001",
}
"""What is found first; nothing in the others."""


def told(findings):
    """All that is said of findings but numbers that come of rounding."""
    return [
        (each.code, each.severity, each.place, each.op, each.kind, each.paths, each.design, told(each.follows))
        for each in findings
    ]


@pytest.mark.parametrize("name", STARTS)
def test_the_findings_are_those_of_torch(name, digits):
    make, unit = STARTS[name]
    held = make(np.random.default_rng(0))
    x, y = digits if not name.startswith("conv") else (digits[0].reshape(-1, 1, 28, 28), digits[1])
    ours = check_weights(held, x, y, activation=unit, pool=2, optimizer="adam:1e-3")
    batch = torch.tensor(x), torch.tensor(y)
    theirs = fwt.check(torch_network(held, unit), batch, "cross_entropy", optimizer="adam:1e-3")
    assert [finding.code for finding in ours.findings[:1]] == ([BROKEN[name]] if name in BROKEN else [])
    assert told(ours.findings) == told(theirs.findings)
    assert [layer.law for layer in ours.layers] == [layer.law for layer in theirs.layers]
    for layer, other in zip(ours.layers, theirs.layers, strict=True):
        for number in ("rms", "gradient", "predicted", "predicted_gradient", "dead", "saturated"):
            value = vars(other)[number]
            assert vars(layer)[number] == pytest.approx(value, rel=1e-3, nan_ok=True), (layer.name, number)


LOSSES = {
    "softmax": lambda rng: rng.integers(4, size=32),
    "sigmoid": lambda rng: rng.integers(2, size=(32, 4)).astype(np.float32),
    "mse": lambda rng: rng.normal(3, 1, (32, 4)).astype(np.float32),
    "mse, one column": lambda rng: rng.normal(3, 1, 32).astype(np.float32),
}


@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_losses_are_judged_as_by_torch(case, factor):
    rng, loss = np.random.default_rng(1), case.partition(",")[0]
    width = 1 if "column" in case else 4
    held = changed(dense(rng, (16, 32, width)), "2.weight", by=lambda w: factor * w)
    x, y = rng.normal(size=(32, 16)).astype(np.float32), LOSSES[case](rng)
    ours = check_weights(held, x, y, loss=loss)
    theirs = fwt.check(torch_network(held), (torch.tensor(x), torch.tensor(y)), NAMES[loss])
    assert told(ours.findings) == told(theirs.findings)
    one, other = ours.observations[0].loss, theirs.observations[0].loss
    numbers = ("value", "chance", "constant", "zero", "best", "span", "target_rms")
    for number in numbers:
        assert vars(one)[number] == pytest.approx(vars(other)[number], rel=1e-3, nan_ok=True), number
    assert (one.classes, one.target, one.broadcast, one.drawn) == (
        other.classes,
        other.target,
        other.broadcast,
        other.drawn,
    )


def test_without_a_target_gradients_are_those_of_the_same_projection(digits):
    held = dense(np.random.default_rng(0))
    ours, theirs = check_weights(held, digits[0]), fwt.check(torch_network(held), torch.tensor(digits[0]))
    assert ours.observations[0].loss.probe
    assert told(ours.findings) == told(theirs.findings)
    for layer, other in zip(ours.layers, theirs.layers, strict=True):
        assert layer.gradient == pytest.approx(other.gradient, rel=1e-3)
