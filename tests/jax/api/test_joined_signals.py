"""Rules on what is joined: adapters, positions, gates, norms over zeros, fans: each with its twin and its fix."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise.jax import check, fix  # noqa: E402

WIDTH, FEATURES, CLASSES, ROWS = 96, 64, 10, 64
RNG = np.random.default_rng(0)


def normal(*shape, std=1.0):
    return jnp.asarray(RNG.normal(0, std, shape), jnp.float32)


def dense(inputs, outputs, gain=1.0):
    return normal(inputs, outputs, std=gain / math.sqrt(inputs))


def head(width=WIDTH):
    return dense(width, CLASSES, 0.1)


X, Y = normal(ROWS, FEATURES), jnp.asarray(RNG.integers(0, CLASSES, ROWS))
TOKENS, IMAGES = jnp.asarray(RNG.integers(0, 50, (ROWS, 8))), normal(ROWS, 8, 8, 3)
BASE = dense(FEATURES, WIDTH)


def beside(p, x):
    """A low-rank path beside a map whose gradient is stopped."""
    return jax.nn.relu(x @ lax.stop_gradient(p["base"]) + x @ p["down"] @ p["up"]) @ p["head"]


def merged(p, x):
    """A low-rank update of a weight whose gradient is stopped."""
    return jax.nn.relu(x @ (lax.stop_gradient(p["base"]) + p["down"] @ p["up"])) @ p["head"]


def closed_over(p, x):
    """A low-rank path beside a constant."""
    return jax.nn.relu(x @ BASE + x @ p["down"] @ p["up"]) @ p["head"]


def adapter(form, std):
    params = {"down": dense(FEATURES, 8), "up": normal(8, WIDTH, std=std), "head": head()}
    return form, params if form is closed_over else params | {"base": BASE}


def placed(p, tokens):
    return (jax.nn.standardize(p["tokens"][tokens] + p["positions"]) @ p["body"]).mean(1) @ p["head"]


def tables(tokens, positions):
    drawn = {"tokens": normal(50, 32, std=tokens), "positions": normal(8, 32, std=positions)}
    return placed, drawn | {"body": dense(32, 32), "head": head(32)}


def gated(bias):
    def forward(p, x):
        return (x @ p["value"] * jax.nn.sigmoid(x @ p["gate"]["w"] + p["gate"]["b"])) @ p["head"]

    gate = {"w": dense(FEATURES, WIDTH), "b": jnp.full(WIDTH, bias)}
    return forward, {"value": dense(FEATURES, WIDTH), "gate": gate, "head": head()}


def queried(start):
    """A stream that starts at a multiple of the input, and a norm before anything joins it."""

    def forward(p, x):
        stream = start * (x @ p["read"])
        stream = stream + stream @ p["first"]["w"] + p["first"]["b"]
        stream = jax.nn.standardize(stream, epsilon=1e-5) * p["norm"]["scale"] + p["norm"]["bias"]
        return (stream + x @ p["second"]) @ p["third"] @ p["head"]

    params = {name: dense(FEATURES, WIDTH) for name in ("read", "second")} | {"third": dense(WIDTH, WIDTH)}
    params |= {"first": {"w": dense(WIDTH, WIDTH), "b": jnp.zeros(WIDTH)}, "head": head()}
    return forward, params | {"norm": {"scale": jnp.ones(WIDTH), "bias": jnp.zeros(WIDTH)}}


def convolved(fan):
    """Four convolutions by He's law with this number in the place of the fan_in."""

    def forward(p, x):
        for i in range(4):
            order = ("NHWC", "HWIO", "NHWC")
            x = jax.nn.relu(lax.conv_general_dilated(x, p[f"c{i}"], (1, 1), "SAME", dimension_numbers=order))
        return x.mean((1, 2)) @ p["head"]

    widths = (3, 16, 16, 16, 16)
    kernels = {f"c{i}": normal(3, 3, n, widths[i + 1], std=math.sqrt(2 / fan(n))) for i, n in enumerate(widths[:4])}
    return forward, kernels | {"head": head(16)}


CASES = {
    "a path beside a stopped map": ("ADP001", lambda: adapter(beside, 0.1), lambda: adapter(beside, 0.0), X),
    "an update of a stopped map": ("ADP001", lambda: adapter(merged, 0.3), lambda: adapter(merged, 0.0), X),
    "a path beside a constant": ("ADP001", lambda: adapter(closed_over, 0.3), lambda: adapter(closed_over, 0.0), X),
    "loud positions": ("ADD001", lambda: tables(0.05, 1.0), lambda: tables(0.05, 0.05), TOKENS),
    "shut gates": ("GAT001", lambda: gated(-20.0), lambda: gated(-2.0), X),
    "the kernel's area": ("FAN001", lambda: convolved(lambda n: 9), lambda: convolved(lambda n: 9 * n), IMAGES),
    "a norm over zeros": ("GRD004", lambda: queried(0.0), lambda: queried(1.0), X),
}


def codes(report):
    return {one.code for root in report.findings for one in root.walk() if one.severity != "info" and not one.design}


@pytest.mark.parametrize("name", CASES)
def test_the_broken_is_named_and_its_twin_is_not(name):
    code, sick, well, inputs = CASES[name]
    assert code in codes(check(sick(), (inputs, Y), "cross_entropy"))
    assert not codes(check(well(), (inputs, Y), "cross_entropy"))


@pytest.mark.parametrize("name", [name for name in CASES if name != "a norm over zeros"])
def test_the_printed_code_cures(name):
    _, sick, _, inputs = CASES[name]
    model, batch = sick(), (inputs, Y)
    mending = fix(model, check(model, batch, "cross_entropy"), batch, loss="cross_entropy")
    assert mending.cures, str(mending.table)
    names = {"model": model, "batch": inputs}
    exec(compile(mending.code, "fix", "exec"), names)
    assert codes(check(names["model"], batch, "cross_entropy")) == set()


def test_what_no_parameter_mends_is_said():
    model, batch = queried(0.0), (X, Y)
    mending = fix(model, check(model, batch, "cross_entropy"), batch, loss="cross_entropy")
    assert not mending
    assert "start the stream at something other than 0" in mending.unsafe[0]


def test_a_low_rank_update_keeps_its_first_factor():
    model, batch = adapter(merged, 0.3), (X, Y)
    mending = fix(model, check(model, batch, "cross_entropy"), batch, loss="cross_entropy")
    assert [(row.path, row.after) for row in mending.rows] == [("up", 0.0)]


def test_a_weight_whose_gradient_the_model_stops_is_frozen_not_cut_off():
    assert "GRD001" not in codes(check(adapter(merged, 0.0), (X, Y), "cross_entropy"))

    def cut(p, x):
        return jax.nn.relu(lax.stop_gradient(x @ p["base"])) @ p["head"]

    assert "GRD001" in codes(check((cut, {"base": BASE, "head": head()}), (X, Y), "cross_entropy"))
