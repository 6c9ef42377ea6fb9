"""`check_weights` with a loss of one's own: a function of the outputs and y, with its gradient or without."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")

import fanwise.torch as fwt  # noqa: E402
from fanwise import check_weights, fix_weights  # noqa: E402
from fanwise.graph.visitor import ModelError  # noqa: E402
from fanwise.numpy.losses import observed  # noqa: E402

from .test_same_as_torch import changed, dense, told, torch_network  # noqa: E402

RNG = np.random.default_rng(2)
X = RNG.normal(size=(64, 16)).astype(np.float32)
CLASSES = RNG.integers(4, size=64)
NUMBERS = RNG.normal(size=(64, 4)).astype(np.float32)


def logs(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def cross_entropy(z, y):
    return -logs(z)[np.arange(len(y)), y].mean()


def with_gradient(z, y):
    shares = np.exp(logs(z))
    shares[np.arange(len(y)), y] -= 1
    return cross_entropy(z, y), shares / len(y)


def focal(z, y):
    chosen = logs(z)[np.arange(len(y)), y]
    return (-((1 - np.exp(chosen)) ** 2) * chosen).mean()


def hinge(z, y):
    margins = np.maximum(0, 1 + z - z[np.arange(len(y)), y][:, None])
    margins[np.arange(len(y)), y] = 0
    return margins.sum() / len(y)


def summed_squares(z, y):
    return 0.5 * ((z - y) ** 2).sum()


def log_cosh(z, y):
    return np.logaddexp(z - y, y - z).mean() - math.log(2)


def focal_of_torch(z, y):
    chosen = z.log_softmax(-1)[torch.arange(len(y)), y]
    return (-((1 - chosen.exp()) ** 2) * chosen).mean()


def hinge_of_torch(z, y):
    margins = (1 + z - z[torch.arange(len(y)), y][:, None]).clamp(min=0)
    return (margins * (1 - torch.nn.functional.one_hot(y, 4))).sum() / len(y)


LOSSES = {
    "cross_entropy": (cross_entropy, torch.nn.functional.cross_entropy, CLASSES),
    "with gradient": (with_gradient, torch.nn.functional.cross_entropy, CLASSES),
    "focal": (focal, focal_of_torch, CLASSES),
    "hinge": (hinge, hinge_of_torch, CLASSES),
    "summed squares": (summed_squares, lambda z, y: 0.5 * (z - y).square().sum(), NUMBERS),
    "log cosh": (log_cosh, lambda z, y: (torch.logaddexp(z - y, y - z)).mean() - math.log(2), NUMBERS),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_autograd(name):
    """In float64 a central difference errs by 1e-10 of the loss over the step, here by 1e-9."""
    ours, theirs, y = LOSSES[name]
    output = np.random.default_rng(5).normal(size=(64, 4))
    seen, gradient = observed(output, y.astype(np.float64) if y.dtype.kind == "f" else y, ours)
    outputs = torch.tensor(output, requires_grad=True)
    value = theirs(outputs, torch.tensor(y))
    value.backward()
    assert seen.value == pytest.approx(value.item(), rel=1e-6)
    np.testing.assert_allclose(gradient, outputs.grad.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("factor", [1.0, 300.0])
@pytest.mark.parametrize("name", LOSSES)
def test_the_findings_are_those_of_torch(name, factor):
    ours, theirs, y = LOSSES[name]
    held = changed(dense(np.random.default_rng(0), (16, 32, 4)), "2.weight", by=lambda w: factor * w)
    report = check_weights(held, X, y, loss=ours)
    other = fwt.check(torch_network(held), (torch.tensor(X), torch.tensor(y)), theirs)
    assert told(report.findings) == told(other.findings)
    assert bool(report.findings) == (factor > 1)
    one, two = report.observations[0].loss, other.observations[0].loss
    for number in ("value", "constant", "zero"):
        assert vars(one)[number] == pytest.approx(vars(two)[number], rel=1e-3, nan_ok=True), number


def test_a_loud_head_is_mended_for_a_loss_of_ones_own():
    held = changed(dense(np.random.default_rng(0), (16, 32, 4)), "2.weight", by=lambda w: 300 * w)
    weights = list(held.values())
    mending = fix_weights(weights, X, CLASSES, loss=focal)
    assert mending.cures
    exec(mending.code, {"weights": weights})
    assert check_weights(weights, X, CLASSES, loss=focal).ok


def test_nothing_that_is_given_is_changed():
    def greedy(z, y):
        z *= 0.5
        y[:] = 0
        return float((z**2).mean())

    held, y = dense(np.random.default_rng(0), (16, 32, 4)), CLASSES.copy()
    check_weights(held, X, y, loss=greedy)
    assert (y == CLASSES).all()


def test_a_sigmoid_at_the_end_stays_where_the_loss_takes_what_it_gives():
    def log_loss(p, y):
        return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()

    held = dense(np.random.default_rng(0), (16, 32, 1))
    y = (CLASSES % 2).astype(np.float64)[:, None]
    own = check_weights(held, X, y, activation=["relu", "sigmoid"], loss=log_loss)
    named = check_weights(held, X, y, activation=["relu", "sigmoid"], loss="sigmoid")
    assert own.observations[0].loss.value == pytest.approx(named.observations[0].loss.value, rel=1e-6)


def test_without_y_it_is_a_function_of_the_outputs():
    held = dense(np.random.default_rng(0), (16, 32, 4))
    assert check_weights(held, X, loss=lambda z: float((z**2).mean())).observations[0].loss.value > 0


def raises(z, y):
    raise KeyError("lost")


BAD = {
    "no number": (lambda z, y: z - y, r"gave \(64, 4\): expected one number"),
    "raises": (raises, "could not be computed: KeyError"),
    "gradient of another shape": (lambda z, y: (1.0, np.zeros(3)), r"gradient of shape \(3,\) for outputs \(64, 4\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_loss(name):
    loss, match = BAD[name]
    with pytest.raises(ModelError, match=match):
        check_weights(dense(np.random.default_rng(0), (16, 32, 4)), X, NUMBERS, loss=loss)


def test_many_outputs_need_their_gradient():
    rng = np.random.default_rng(0)
    held, x = dense(rng, (16, 32, 400)), rng.normal(size=(64, 16))
    with pytest.raises(ModelError, match=r"return \(loss, gradient at the outputs\)"):
        check_weights(held, x, np.zeros((64, 400)), loss=lambda z, y: ((z - y) ** 2).mean())
    pair = check_weights(held, x, np.zeros((64, 400)), loss=lambda z, y: (((z - y) ** 2).mean(), 2 * (z - y) / z.size))
    assert pair.observations[0].values
