"""What collapses at step zero, and gradients that are cut, in Keras: the same findings as in PyTorch and JAX."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras import check  # noqa: E402

ROWS, FEATURES, WIDTH, CLASSES = 32, 16, 24, 5
OPS = keras.ops


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


def dense(width, gain=1.0, bias=0.0, **more):
    law = keras.initializers.VarianceScaling(gain**2, "fan_in", "untruncated_normal")

    def first(shape, dtype=None):
        return np.eye(1, shape[0], dtype="float32")[0] * bias

    return keras.layers.Dense(width, kernel_initializer=law, bias_initializer=first, **more)


class Model(keras.Model):
    """Layers by name, and a forward."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.computed = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def call(self, x):
        return self.computed(self, x)


def iterated(gain):
    def forward(m, x):
        read = m.read(x)
        state = OPS.zeros_like(read)
        for _ in range(16):
            state = OPS.relu(m.step(state) + read)
        return m.head(state)

    return Model(forward, read=dense(WIDTH), step=dense(WIDTH, gain), head=dense(CLASSES, 0.3))


def messages(gain):
    """Messages along a ring of 8 nodes, all by one weight, eight times."""

    def forward(m, x):
        state = m.read(OPS.reshape(x, (ROWS, 8, FEATURES // 8)))
        for _ in range(8):
            state = OPS.relu(m.step(state) + m.step(OPS.roll(state, 1, axis=1)))
        return m.head(OPS.mean(state, 1))

    return Model(forward, read=dense(WIDTH), step=dense(WIDTH, gain), head=dense(CLASSES, 0.3))


def averaging(*, past):
    def forward(m, x):
        x = m.read(OPS.reshape(x, (ROWS, 8, FEATURES // 8)))
        for number in range(8):
            q, k, v = OPS.split(getattr(m, f"qkv{number}")(x), 3, -1)
            mixed = OPS.matmul(OPS.softmax(OPS.matmul(q, OPS.transpose(k, (0, 2, 1))) / math.sqrt(WIDTH)), v)
            x = getattr(m, f"norm{number}")(x + mixed if past else mixed)
        return m.head(x)

    layers = {f"qkv{number}": dense(3 * WIDTH) for number in range(8)}
    layers |= {f"norm{number}": keras.layers.LayerNormalization() for number in range(8)}
    return Model(forward, read=dense(WIDTH), head=dense(CLASSES, 0.3), **layers)


def mixture(bias):
    """Experts that a softmax weighs."""

    def forward(m, x):
        share = OPS.softmax(m.router(x))
        return m.head(sum(share[:, i : i + 1] * getattr(m, f"expert{i}")(x) for i in range(8)))

    experts = {f"expert{i}": dense(WIDTH, 1.4) for i in range(8)}
    return Model(forward, router=dense(8, bias=bias), head=dense(CLASSES, 0.3), **experts)


def sines(omega):
    def forward(m, x):
        x = OPS.sin(m.first(x))
        for number in range(3):
            x = OPS.sin(omega * getattr(m, f"map{number}")(x))
        return m.head(x)

    maps = {f"map{number}": dense(WIDTH) for number in range(3)}
    return Model(forward, first=dense(WIDTH), head=dense(CLASSES, 0.3), **maps)


def between(function):
    """Two maps, and a function between them."""

    def forward(m, x):
        return m.head(m.second(function(m.first(x))))

    layers = {"first": dense(WIDTH, 1.4, activation="relu"), "second": dense(WIDTH, 1.4, activation="relu")}
    return Model(forward, **layers, head=dense(CLASSES, 0.3))


def contrast(factor):
    """Cosines of two views, over a temperature."""

    def forward(m, x):
        one, two = (OPS.normalize(layer(x), axis=-1) for layer in (m.one, m.two))
        return OPS.matmul(one, OPS.transpose(two)) * factor

    return Model(forward, one=dense(WIDTH), two=dense(WIDTH))


def policy(gain):
    return Model(lambda m, x: OPS.softmax(m.head(m.body(x))), body=dense(WIDTH, 1.4, activation="relu"),
                 head=dense(CLASSES, gain))  # fmt: skip


def discriminator(gain):
    body, head = dense(WIDTH, 1.4, activation="relu"), dense(1, gain)
    return Model(lambda m, x: OPS.sigmoid(m.head(m.body(x))), body=body, head=head)


def codebook(offset):
    """The nearest of 16 entries, straight through; those far from what is encoded are never chosen."""

    class Quantizer(keras.layers.Layer):
        def build(self, _):
            def entries(shape, dtype=None):
                drawn = np.random.default_rng(0).standard_normal(shape).astype("float32")
                return drawn + offset * (np.arange(shape[0]) > 0)[:, None].astype("float32")

            self.entries = self.add_weight(name="entries", shape=(16, WIDTH), initializer=entries)

        def call(self, h):
            table = OPS.convert_to_tensor(self.entries)
            far = OPS.sum(OPS.square(h[:, None] - table[None]), -1)
            return h + OPS.stop_gradient(OPS.take(table, OPS.argmin(far, -1), axis=0) - h)

    return Model(lambda m, x: m.head(m.code(m.body(x))), body=dense(WIDTH), code=Quantizer(), head=dense(CLASSES, 0.3))


X = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype("float32")
CLASS = np.arange(ROWS) % CLASSES


def findings(model, target=CLASS, loss="cross_entropy"):
    model(X)
    return [found for found in check(model, (X, target) if target is not None else X, loss).findings
            if found.severity != "info"]  # fmt: skip


SICK = {
    "REC001": (lambda: iterated(3.0), lambda: iterated(0.9), "step/kernel"),
    "REC001 messages": (lambda: messages(3.0), lambda: messages(0.75), "step/kernel"),
    "CHO001": (lambda: mixture(30.0), lambda: mixture(0.0), "router/bias"),
    "SIN001": (lambda: sines(30.0), lambda: sines(1.4), "map0/kernel"),
}


def at(found, place):
    """Whether it starts at a layer, which Keras may have counted: dense_1/kernel."""
    return place is None or found.place.split("/")[-1] == place.split("/")[-1]


@pytest.mark.parametrize("name", SICK)
def test_a_break_is_named_first_and_its_twin_is_not_flagged(name):
    sick, well, place = SICK[name]
    found = findings(sick())[0]
    assert found.code == name.split()[0]
    assert at(found, place)
    keras.utils.clear_session()
    assert found.code not in [other.code for other in findings(well())]


CUTS = {
    "stop": OPS.stop_gradient,
    "round": OPS.round,
    "integers": lambda h: OPS.cast(OPS.cast(4 * h, "int32"), "float32"),
}
if keras.backend.backend() != "jax":  # where a traced value is no array: the model raises an error
    CUTS["numpy"] = lambda h: OPS.convert_to_tensor(OPS.convert_to_numpy(h))
    CUTS["numpy function"] = lambda h: OPS.convert_to_tensor(np.clip(OPS.convert_to_numpy(h), 0, 3))


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_graph_is_named(name):
    found = findings(between(CUTS[name]))[0]
    assert found.code in ("GRD001", "GRD003")
    assert found.severity == "error"
    assert found.place.endswith("kernel")


def test_what_is_straight_through_is_no_cut():
    for function in (lambda h: h + OPS.stop_gradient(OPS.round(h) - h), lambda h: h * OPS.cast(h > 0.5, "float32")):
        assert not {"GRD001", "GRD003"} & {found.code for found in findings(between(function))}


def test_places_that_became_alike_are_named():
    per_place = np.arange(ROWS * 8).reshape(ROWS, 8) % CLASSES
    assert findings(averaging(past=False), per_place)[0].code == "OUT002"
    keras.utils.clear_session()
    assert "OUT002" not in [found.code for found in findings(averaging(past=True), per_place)]


@pytest.mark.parametrize(("factor", "flagged"), [(1e-3, True), (1 / 0.07, False)])
def test_a_temperature_that_makes_all_alike_is_named(factor, flagged):
    assert ("TMP001" in [found.code for found in findings(contrast(factor), np.arange(ROWS))]) is flagged


@pytest.mark.parametrize(("make", "gain", "flagged"), [
    (policy, 40.0, True), (policy, 0.1, False), (discriminator, 60.0, True), (discriminator, 0.3, False)
])  # fmt: skip
def test_outputs_that_are_sure_are_named_without_a_loss(make, gain, flagged):
    assert ("SUR001" in [found.code for found in findings(make(gain), None, None)]) is flagged


@pytest.mark.parametrize(("offset", "flagged"), [(30.0, True), (0.0, False)])
def test_a_codebook_of_which_one_entry_is_used_is_named(offset, flagged):
    """Straight through, the output is that entry for every input."""
    assert ("OUT001" in [found.code for found in findings(codebook(offset))]) is flagged
