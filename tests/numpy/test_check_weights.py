"""`check_weights` and `fix_weights` from a user's side: reports, draws over seeds, and code that is pasted."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from fanwise import check_weights, fix_weights, lab

DATA = lab.load_digits()
X, Y = np.array(DATA.train_x[:256], np.float64), np.array(DATA.train_y[:256])
PICTURES = X.reshape(-1, 1, 28, 28)


HE = math.sqrt(2)


def drawn(gain=HE, head=0.3, widths=(784, 64, 64, 10), seed=0):
    """W1, b1, W2, b2, ... as (in, out), biases 0."""
    rng, held = np.random.default_rng(seed), []
    gains = [*[gain] * (len(widths) - 2), head]
    for read, out, size in zip(widths[:-1], widths[1:], gains, strict=True):
        held += [size / math.sqrt(read) * rng.normal(size=(read, out)), np.zeros(out)]
    return held


def positive(seed=0):
    rng = np.random.default_rng(seed)
    return [each if each.ndim < 2 else rng.random(each.shape) / math.sqrt(len(each)) for each in drawn()]


def changed(place, by, held=None):
    held = drawn() if held is None else held
    held[place] = by(held[place])
    return held


def windows(gain):
    rng = np.random.default_rng(0)
    return [
        gain / 3 * rng.normal(size=(8, 1, 3, 3)),
        np.zeros(8),
        gain / math.sqrt(72) * rng.normal(size=(8, 8, 3, 3)),
        np.zeros(8),
        0.3 / math.sqrt(200) * rng.normal(size=(200, 10)),
    ]


# Reports


def test_a_report_is_shown_in_every_form(tmp_path):
    report = check_weights({"hidden": (positive()[0], np.zeros(64)), "head": positive()[4]}, X, Y, activation="tanh")
    assert "hidden" in str(report)
    assert "fanwise.fix_weights" in str(report)
    assert json.loads(report.to_json())["framework"].startswith("numpy")
    assert json.loads(report.to_sarif())["runs"]
    assert report.html(tmp_path / "report.html").read_text().startswith("<!")
    assert report.findings
    assert report.model == "tanh network 784-64-10"
    assert report.batch == "256,784:float64"


def test_nothing_that_is_given_is_changed():
    held, x, y = drawn(), X.copy(), Y.copy()
    before = [each.tobytes() for each in (*held, x, y)]
    check_weights(held, x, y)
    fix_weights(held, x, y)
    assert [each.tobytes() for each in (*held, x, y)] == before


def test_numpy_alone_is_loaded():
    code = "import sys, numpy as np, fanwise\n"
    code += "fanwise.check_weights([np.ones((4, 3)), np.zeros(3)], np.eye(4), [0, 1, 2, 0])\n"
    code += "print({'torch', 'jax', 'keras', 'tensorflow', 'scipy', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_rules_are_chosen_as_elsewhere():
    held = positive()
    assert not check_weights(held, X, Y, activation="sigmoid", ignore=["LAW", "OUT"]).findings
    assert [each.code for each in check_weights(held, X, Y, activation="sigmoid", select=["LAW"]).findings] == [
        "LAW003"
    ]
    loud = check_weights(drawn(), X, Y, optimizer="sgd:100")
    assert [each.code for each in loud.findings] == ["UPD001"]
    assert loud.ok
    assert not check_weights(drawn(), X, Y, optimizer="sgd:100", fail_on="warning").ok


@pytest.mark.parametrize("form", ["generator", "global"])
def test_a_function_that_draws_is_called_once_a_seed(form):
    def by_generator(rng):
        return [rng.normal(size=(784, 64)) * 0.05, rng.normal(size=(64, 10)) * 0.04]

    def by_global():
        return [np.random.randn(784, 64) * 0.05, np.random.randn(64, 10) * 0.04]  # noqa: NPY002  (as people write)

    np.random.seed(7)  # noqa: NPY002
    state = np.random.get_state()[1].tobytes()  # noqa: NPY002
    report = check_weights(by_generator if form == "generator" else by_global, X, Y)
    assert np.random.get_state()[1].tobytes() == state  # noqa: NPY002
    assert [each.seed for each in report.observations] == [0, 1, 2]
    first, second = (each.values["W1"].mean for each in report.observations[:2])
    assert first != second
    assert report.ok


def test_a_function_whose_numbers_ignore_the_seed_is_called_out():
    def stuck():
        return drawn(seed=3)

    assert {each.code for each in check_weights(stuck, X, Y).findings} & {"SEE001", "COP001"}


# Fixes

BROKEN = {
    "zeros": (lambda: [0.0 * each for each in drawn()], {}),
    "a zero layer": (lambda: changed(2, np.zeros_like), {}),
    "tiny": (lambda: [1e-3 * each for each in drawn()], {}),
    "huge": (lambda: [30 * each for each in drawn()], {}),
    "saturated": (lambda: drawn(20.0), {"activation": "tanh"}),
    "positive": (positive, {"activation": "sigmoid"}),
    "equal units": (lambda: changed(2, lambda w: np.tile(w[:, :1], (1, 64))), {}),
    "a loud head": (lambda: changed(4, lambda w: 300 * w), {}),
    "dead units": (lambda: changed(3, lambda b: b - 20), {}),
    "a slip": (lambda: drawn(2.0, 2.0, (784, *[64] * 9, 10)), {}),
    "fading": (lambda: drawn(0.5, 0.3, (784, *[64] * 9, 10)), {}),
    "windows": (lambda: [1e-3 * each for each in windows(1.4)], {"pool": 2}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_pasted_code_cures(name):
    make, options = BROKEN[name]
    weights = make()
    x = PICTURES if "pool" in options else X
    assert check_weights(weights, x, Y, **options).findings
    mending = fix_weights(weights, x, Y, **options)
    exec(mending.code, {"weights": weights})
    after = check_weights(weights, x, Y, **options)
    assert [each.code for each in after.findings if each.severity != "info"] == []
    assert mending.cures


FORMS = {
    "pairs": lambda a: [(a[0], a[1]), (a[2], a[3]), (a[4], a[5])],
    "dict": lambda a: {"W1": a[0], "b1": a[1], "W2": a[2], "b2": a[3], "W3": a[4], "b3": a[5]},
    "dict of pairs": lambda a: {"one": (a[0], a[1]), "two": (a[2], a[3]), "three": (a[4], a[5])},
    "dict of dicts": lambda a: {"one": {"W": a[0], "b": a[1]}, "two": {"W": a[2]}, "three": {"W": a[4]}},
    "columns": lambda a: [a[0].T, a[1][:, None], a[2].T, a[3][:, None], a[4].T, a[5][:, None]],
}


@pytest.mark.parametrize("form", FORMS)
def test_pasted_code_writes_into_every_form(form):
    weights = FORMS[form](changed(4, lambda w: 300 * w))
    x = X.T if form == "columns" else X
    report = check_weights(weights, x, Y)
    assert report.findings[0].code == "LOS001"
    mending = fix_weights(weights, x, Y)
    exec(mending.code, {"weights": weights})
    assert check_weights(weights, x, Y).ok


def test_a_healthy_network_has_nothing_to_fix():
    mending = fix_weights(drawn(), X, Y)
    assert not mending
    assert mending.code == ""


# What an error costs: `lab.train` is the training, with its own forward and backward pass

COSTLY = {
    "zeros": (lambda: [0.0 * each for each in drawn()], "relu", 0.01),
    "huge": (lambda: [30 * each for each in drawn()], "relu", 0.01),
    "saturated": (lambda: drawn(20.0), "tanh", 0.01),
    "positive": (positive, "sigmoid", 0.05),
    "a loud head": (lambda: changed(4, lambda w: 300 * w), "relu", 0.01),
    "a slip": (lambda: drawn(2.0, 2.0, (784, *[64] * 9, 10)), "relu", 0.01),
    "fading": (lambda: drawn(0.5, 0.3, (784, *[64] * 9, 10)), "relu", 0.01),
}


def losses(weights, activation, rate, epochs=6):
    """The loss of each epoch of SGD with momentum."""
    widths = (len(weights[0]), *(each.shape[1] for each in weights[::2]))
    names = [f"layers.{i}.{kind}" for i in range(len(weights) // 2) for kind in ("weight", "bias")]
    start = {name: np.array(each, np.float32) for name, each in zip(names, weights, strict=True)}
    network = lab.Architecture(widths, activation)
    trained = lab.train(network, start, DATA, lab.Recipe(epochs=epochs, learning_rate=rate), key=0)
    return [each.loss if math.isfinite(each.loss) else math.inf for each in trained.epochs]


@pytest.mark.parametrize("name", COSTLY)
def test_an_error_costs_more_than_twice_the_steps(name):
    """After half of the epochs the mended network is where the broken one is not after all of them."""
    make, activation, rate = COSTLY[name]
    weights = make()
    assert not check_weights(weights, X, Y, activation=activation).ok
    broken = losses(weights, activation, rate)
    exec(fix_weights(weights, X, Y, activation=activation).code, {"weights": weights})
    mended = losses(weights, activation, rate)
    assert mended[len(mended) // 2] < min(broken), (broken, mended)
