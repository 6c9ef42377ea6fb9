"""Keras models whose weights are put among data, that run in both directions, or whose heads are summed."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras import apply, plan  # noqa: E402

WIDTH, CLASSES = 16, 10
ROWS = np.random.default_rng(0).standard_normal((128, WIDTH)).astype("float32")
SEQUENCES = np.random.default_rng(1).standard_normal((32, 20, WIDTH)).astype("float32")
EVEN = (np.arange(128) % 2 == 0)[:, None]


class Placed(keras.layers.Layer):
    """A token that is put among data."""

    def __init__(self, function, shape):
        super().__init__()
        self.function, self.token_shape = function, shape

    def build(self, _):
        self.token = self.add_weight(name="token", shape=self.token_shape, initializer="ones")

    def call(self, values):
        return self.function(values, keras.ops.convert_to_tensor(self.token))  # JAX's own functions take no variable


TOKENS = {
    "where": (lambda x, p: keras.ops.where(EVEN, p, x), (WIDTH,)),
    "where, the other way": (lambda x, p: keras.ops.where(EVEN, x, p), (WIDTH,)),
    "slice_update": (lambda x, p: keras.ops.slice_update(x, (2, 0), p), (4, WIDTH)),
    "scatter_update": (lambda x, p: keras.ops.scatter_update(x, np.array([[1], [4]]), p), (2, WIDTH)),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_weight_that_is_put_among_data_is_a_token(name):
    model = keras.Sequential([Placed(*TOKENS[name]), keras.layers.Dense(CLASSES)])
    model(ROWS)
    (row,) = [row for row in plan(model, ROWS).rows if row.path.endswith("token")]
    assert (row.role, row.std) == ("token", 1.0)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_both_directions_have_one_law(kind, merge):
    """std = 1 / sqrt(16 E x^2) for the kernels of the first layer; those of the second are equal."""
    layer = getattr(keras.layers, kind)
    both = [keras.layers.Bidirectional(layer(24, return_sequences=more), merge_mode=merge) for more in (True, False)]
    model = keras.Sequential([keras.Input((20, WIDTH)), *both, keras.layers.Dense(CLASSES)])
    rows = [row for row in plan(model, SEQUENCES).rows if row.role == "weight"]
    assert [row.guess for row in rows] == [False] * 4
    ahead, back, second, second_back = (row.std for row in rows)
    assert ahead == back == pytest.approx(1 / math.sqrt(WIDTH * float(np.square(SEQUENCES).mean())), rel=0.01)
    assert second == second_back


@pytest.mark.parametrize("join", ["add", "average"])
def test_the_loss_of_two_summed_heads_starts_near_that_of_a_guess(join):
    values = keras.Input((WIDTH,))
    terms = [keras.layers.Dense(CLASSES)(keras.layers.Dense(64, activation="relu")(values)) for _ in range(2)]
    model = keras.Model(values, getattr(keras.layers, join)(terms))
    rows = plan(model, ROWS)
    assert sum(row.role == "head" for row in rows.rows) == 2
    apply(model, rows, key=1)
    logits = np.asarray(keras.ops.convert_to_numpy(model(ROWS)), np.float64)
    losses = np.log(np.exp(logits).sum(-1)) - logits.mean(-1)
    error = losses.std() / math.sqrt(len(losses))
    assert 0 <= losses.mean() / math.log(CLASSES) - 1 < 0.06 + 5 * error
