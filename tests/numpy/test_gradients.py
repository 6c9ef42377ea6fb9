"""Forward and backward passes of chains beside those of PyTorch, and of functions without a known derivative."""

import math

import numpy as np
import pytest

from fanwise.laws.nonlinearities import NONLINEARITIES, nonlinearity
from fanwise.numpy.activations import read_activation
from fanwise.numpy.chain import slope_of
from fanwise.numpy.geometry import Windows
from fanwise.numpy.losses import FUNCTIONS
from fanwise.numpy.observing import forward, gradients
from fanwise.numpy.reading import Choices, read
from fanwise.numpy.windows import max_pool

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")
functional = torch.nn.functional


def drawn(*shapes):
    rng = np.random.default_rng(3)
    return [rng.normal(size=shape) / math.sqrt(max(math.prod(shape[1:]), 1)) for shape in shapes]


def flat(x):
    return x.flatten(1)


def last(x):
    """Channels in the last axis."""
    return x.movedim(1, -1)


def bump(z):
    """A function that has no name here."""
    return z / (1 + z * z)


CHAINS = {
    "dense": (
        drawn((8, 5), (5,), (5, 3), (3,)),
        (6, 8),
        {"activation": "tanh"},
        lambda p, x: torch.tanh(x @ p[0] + p[1]) @ p[2] + p[3],
    ),
    "dense, out first": (
        drawn((5, 8), (5,), (3, 5)),
        (6, 8),
        {"activation": "gelu"},
        lambda p, x: functional.gelu(functional.linear(x, p[0], p[1])) @ p[2].T,
    ),
    "dense on tokens": (
        drawn((8, 5), (5,), (5, 3)),
        (6, 4, 8),
        {"activation": "leaky_relu(0.2)"},
        lambda p, x: functional.leaky_relu(x @ p[0] + p[1], 0.2) @ p[2],
    ),
    "dense on pictures": (drawn((16, 5), (5,)), (6, 4, 4), {}, lambda p, x: flat(x) @ p[0] + p[1]),
    "windows": (
        drawn((4, 2, 3, 3), (4,), (5, 4, 3, 2), (5,), (5 * 9, 3)),
        (6, 2, 9, 8),
        {"activation": "relu", "padding": [1, 0], "stride": [2, 1], "pool": [1, 1]},
        lambda p, x: (
            flat(torch.relu(functional.conv2d(torch.relu(functional.conv2d(x, p[0], p[1], 2, 1)), p[2], p[3]))) @ p[4]
        ),
    ),
    "pooled": (
        drawn((4, 1, 3, 3), (4,), (4 * 4 * 4, 3)),
        (6, 1, 9, 9),
        {"activation": "elu", "padding": "same", "pool": 2},
        lambda p, x: flat(functional.max_pool2d(functional.elu(functional.conv2d(x, p[0], p[1], 1, 1)), 2)) @ p[2],
    ),
    "averaged": (
        drawn((4, 1, 3, 3), (4,), (4 * 4 * 4, 3)),
        (6, 1, 9, 9),
        {"activation": "elu", "padding": "same", "pool": 2, "pooling": "average"},
        lambda p, x: flat(functional.avg_pool2d(functional.elu(functional.conv2d(x, p[0], p[1], 1, 1)), 2)) @ p[2],
    ),
    "averaged, channels last": (
        drawn((3, 2, 4), (4,), (4 * 2, 3)),
        (6, 9, 2),
        {"activation": "tanh", "conv": "kernel in out", "pool": 3, "pooling": ["average"]},
        lambda p, x: (
            flat(
                functional.avg_pool1d(
                    torch.tanh(functional.conv1d(x.movedim(-1, 1), p[0].permute(2, 1, 0), p[1])), 3
                ).movedim(1, -1)
            )
            @ p[2]
        ),
    ),
    "one axis": (
        drawn((4, 2, 3), (4,), (4 * 3, 3)),
        (6, 2, 8),
        {"activation": "softplus", "stride": 2},
        lambda p, x: flat(functional.softplus(functional.conv1d(x, p[0], p[1], 2))) @ p[2],
    ),
    "three axes": (
        drawn((3, 1, 2, 2, 2), (3,), (3 * 27, 2)),
        (4, 1, 4, 4, 4),
        {"activation": "silu"},
        lambda p, x: flat(functional.silu(functional.conv3d(x, p[0], p[1]))) @ p[2],
    ),
    "channels last": (
        drawn((3, 3, 2, 4), (4,), (4 * 9, 3)),
        (6, 5, 5, 2),
        {"activation": "mish", "conv": "kernel kernel in out"},
        lambda p, x: (
            flat(last(functional.mish(functional.conv2d(x.movedim(-1, 1), p[0].permute(3, 2, 0, 1), p[1])))) @ p[2]
        ),
    ),
    "a function of one's own": (
        drawn((8, 5), (5,), (5, 3)),
        (6, 8),
        {"activation": bump},
        lambda p, x: bump(x @ p[0] + p[1]) @ p[2],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_values_and_gradients_are_those_of_autograd(name):
    weights, shape, options, network = CHAINS[name]
    x = np.random.default_rng(4).normal(size=shape)
    windows = Windows(options.get("conv", "out in kernel kernel"), *(options.get(n, d) for n, d in OPTIONS))
    chain = read(weights, x, None, Choices(options.get("activation", "relu"), windows=windows)).chain
    outputs, backs = forward(chain, x)
    signs = np.random.default_rng(5).normal(size=outputs[-1].shape)
    _, ours = gradients(chain, backs, signs)

    held = [torch.tensor(array, requires_grad=True) for array in weights]
    output = network(held, torch.tensor(x))
    theirs = torch.autograd.grad((output * torch.tensor(signs)).sum(), held)
    np.testing.assert_allclose(outputs[-1], output.detach().numpy(), rtol=1e-9, atol=1e-12)
    exact = 1e-10 if "own" not in name else 1e-8  # a central difference
    for path, gradient in zip(chain.arrays, theirs, strict=True):
        np.testing.assert_allclose(ours[path], gradient.numpy(), rtol=exact, atol=exact)


OPTIONS = (("stride", 1), ("padding", 0), ("pool", 1), ("pooling", "max"))


@pytest.mark.parametrize(
    ("size", "pairs"), [((7, 7), ((0, 1), (0, 1))), ((8, 9), ((0, 1), (0, 1))), ((6, 6), ((0, 1), (0, 1)))]
)
def test_same_gives_one_place_a_stride(size, pairs):
    """Places ceil(n / 2) and the odd zero behind, for a window of 2 by 2 and steps of 2: TensorFlow's definition."""
    weights, x = drawn((3, 1, 2, 2)), np.ones((2, 1, *size))
    chain = read(weights, x, None, Choices(windows=Windows(stride=2, padding="same"))).chain
    outputs, _ = forward(chain, x)
    assert outputs[-1].shape == (2, 3, math.ceil(size[0] / 2), math.ceil(size[1] / 2))


def test_equal_values_of_a_window_send_one_gradient():
    values, where = max_pool(np.zeros((1, 1, 4, 4)), 2)
    assert values.shape == (1, 1, 2, 2)
    assert (where == 0).all()


TARGETS = {
    "cross_entropy": (np.array([1, 0, 2, 3]), (4, 5)),
    "cross_entropy of shares": (np.random.default_rng(0).dirichlet(np.ones(5), 4), (4, 5)),
    "binary_cross_entropy_with_logits": (np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), (3, 2)),
    "mse_loss": (np.arange(6.0).reshape(3, 2), (3, 2)),
    "mse_loss that broadcasts": (np.arange(4.0), (4, 1)),
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("name", TARGETS)
def test_losses_are_those_of_torch(name):
    target, shape = TARGETS[name]
    output = 3 * np.random.default_rng(6).normal(size=shape)
    value, gradient = FUNCTIONS[name.partition(" ")[0]](output, target)
    held = torch.tensor(output, requires_grad=True)
    loss = vars(functional)[name.partition(" ")[0]](held, torch.tensor(target))
    loss.backward()
    assert value == pytest.approx(float(loss.detach()), rel=1e-12)
    np.testing.assert_allclose(gradient, held.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_losses_of_huge_outputs_are_finite():
    output = np.array([[1e30, -1e30]], np.float32)
    for name, target in (
        ("cross_entropy", np.array([1])),
        ("binary_cross_entropy_with_logits", np.array([[0.0, 1.0]])),
    ):
        value, gradient = FUNCTIONS[name](output, target)
        assert math.isfinite(value)
        assert value >= 1e29
        assert np.isfinite(gradient).all()


SMOOTH = [entry.example for entry in NONLINEARITIES.values() if not nonlinearity(entry.example).kinks]


@pytest.mark.parametrize("name", SMOOTH)
def test_slopes_without_a_formula_are_central_differences(name):
    """Of a function that nothing tells: its name is kept from the reader by a factor."""
    known = nonlinearity(name)
    unit = read_activation(lambda x: 1.7 * known.function(x))
    x = np.linspace(-6, 6, 101)
    if unit.slope is None:
        np.testing.assert_allclose(slope_of(unit, x), 1.7 * known.slope(x), rtol=1e-7, atol=1e-8)
