"""The profiles of Keras and Flax against numbers that those frameworks drew, and against them where they are installed.

torch's own profile is held to torch in tests/torch/api/test_recipes.py.
"""

import math
import os
from dataclasses import dataclass

import numpy as np
import pytest

from fanwise import Layout
from fanwise.graph.context import GraphContext
from fanwise.graph.details import Recurrence
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Fused
from fanwise.plan.recipes.profiles import PROFILES
from fanwise.plan.recipes.recipe import Feed
from fanwise.plan.recipes.registry import RECIPES
from fanwise.plan.roles import Case

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1}


@dataclass(frozen=True)
class Sample:
    """One layer: how torch stores it, and std and largest value as keras 3.15.1 and flax 0.12.8 drew it."""

    name: str
    kind: str
    layout: Layout
    shape: tuple[int, ...]
    keras: tuple[float, float]
    flax: tuple[float, float]
    role: str = "weight"
    use: str = "weight"
    cell: str = ""

    @property
    def case(self):
        detail = Recurrence(self.cell, GATES[self.cell]) if self.cell else None
        use = Use("w", self.use, self.layout)
        op = Op(0, OpKind(self.kind), self.kind, "", 0, 0, (INPUT,), (use,), (2, 3), detail=detail)
        parameter = Parameter("w", self.shape, "float32")
        return Case(parameter, self.role, op, use, around=GraphContext(Trace((op,), (parameter,), (0,))))

    @property
    def size(self):
        return math.prod(self.shape)


def gates(count):
    return Layout(("out", "in"), fused=Fused(0, (), count) if count > 1 else None)


DENSE = Layout.dense("out in")
CONV = "out in kernel kernel"
SAMPLES = (
    Sample("dense", "linear", DENSE, (700, 900), (0.03536579, 0.061237227), (0.033366255, 0.0757887)),
    Sample("conv", "conv", Layout.conv(CONV), (200, 100, 3, 3), (0.027225742, 0.047140308), (0.03340772, 0.07578717)),
    Sample(
        "grouped",
        "conv",
        Layout.conv(CONV, groups=4),
        (256, 32, 3, 3),
        (0.027816199, 0.048111983),
        (0.059055343, 0.13395937),
    ),
    Sample(
        "depthwise",
        "conv",
        Layout.conv(CONV, groups=2000),
        (2000, 1, 3, 3),
        (0.010602209, 0.018252132),
        (0.33438367, 0.7570359),
    ),
    Sample(
        "transposed",
        "conv_transpose",
        Layout.conv_transpose("in out kernel kernel", stride=2),
        (160, 64, 4, 4),
        (0.023628702, 0.040915806),
        (0.019813377, 0.044936262),
    ),
    Sample(
        "embedding",
        "embedding",
        Layout.embedding(),
        (3000, 50),
        (0.028842414, 0.049999833),
        (0.1417042, 0.6244593),
        role="embedding",
        use="table",
    ),
    Sample(
        "attention",
        "attention_block",
        gates(3),
        (768, 256),
        (0.06262402, 0.10825041),
        (0.06256603, 0.14209975),
    ),
    Sample(
        "attention output",
        "attention_block",
        DENSE,
        (256, 256),
        (0.06255824, 0.108251885),
        (0.06259837, 0.14210366),
        use="output",
    ),
    Sample("lstm", "recurrent", gates(4), (480, 70), (0.060380958, 0.10444622), (0.119625404, 0.2717496), cell="lstm"),
    Sample("gru", "recurrent", gates(3), (360, 70), (0.06801904, 0.11811669), (0.120300435, 0.27168378), cell="gru"),
    Sample(
        "rnn", "recurrent", gates(1), (120, 70), (0.102612875, 0.17770381), (0.11978613, 0.2715551), cell="rnn_tanh"
    ),
    Sample(
        "experts",
        "linear",
        Layout.dense("stack in out"),
        (8, 200, 300),
        (0.027700491, 0.04803825),
        (0.0707106781, 0.160771),  # 1 / sqrt(200): nn.vmap draws each expert by itself
    ),
)
RECURRENT = (  # std of an orthogonal matrix: over all gates at once in Keras, of each gate in linen
    Sample("lstm", "recurrent", gates(4), (480, 120), (0.045643024, 1), (0.0912869, 1), role="recurrent", cell="lstm"),
    Sample("gru", "recurrent", gates(3), (360, 120), (0.052704554, 1), (0.0912847, 1), role="recurrent", cell="gru"),
)

samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
TAIL = 12
"""The largest of n uniform numbers is below (1 - 12 / n) of the bound with probability exp(-12)."""


def law_of(sample, name):
    return RECIPES[name].choose(sample.case, Feed()).law


def agrees(moments, drawn, size):
    """Whether std and largest value of `size` drawn numbers are those that a law promises: 5 standard errors."""
    std, largest = drawn
    kurtosis = {"uniform": 1.8, "truncated": 2.4, "normal": 3.0}[shape_of(moments)]
    error = 5 * math.sqrt((kurtosis - 1) / (4 * size))
    fits = largest <= moments.high * (1 + 1e-6)
    if shape_of(moments) == "uniform":
        fits = fits and largest >= moments.high * (1 - TAIL / size)
    return fits and abs(std / moments.std - 1) <= error


def shape_of(moments):
    reach = moments.high / moments.std
    return "uniform" if reach < 1.8 else "truncated" if reach < 3 else "normal"


@samples
def test_keras(sample):
    assert agrees(law_of(sample, "keras-3").moments(sample.shape, layout=sample.layout), sample.keras, sample.size // 3)


@samples
def test_flax(sample):
    assert agrees(law_of(sample, "flax").moments(sample.shape, layout=sample.layout), sample.flax, sample.size // 4)


@samples
def test_another_law_is_told_apart(sample):
    """The mutant: true fans where the framework's are wrong, or 4 % more."""
    for drawn, name in ((sample.keras, "keras-3"), (sample.flax, "flax")):
        moments = law_of(sample, name).moments(sample.shape, layout=sample.layout)
        assert not agrees(moments, (drawn[0] * 1.04, drawn[1] * 1.04), sample.size // 4)
    if sample.name in ("grouped", "depthwise"):
        right = RECIPES["glorot"].choose(sample.case, Feed()).law.moments(sample.shape, layout=sample.layout)
        assert not agrees(right, sample.keras, sample.size)


@pytest.mark.parametrize("sample", RECURRENT, ids=lambda sample: sample.name)
def test_recurrent_matrices(sample):
    """Keras makes the stored matrix orthogonal, so each gate's own is not; linen makes each gate's."""
    gate, expected = sample.shape[1], {"keras-3": sample.keras[0], "flax": sample.flax[0]}
    for name, std in expected.items():
        law = law_of(sample, name)
        matrix = law(sample.shape, key=0, layout=sample.layout).astype(np.float64)
        assert matrix.std() == pytest.approx(std, rel=1e-4)
        own = np.abs(np.linalg.svd(matrix[:gate], compute_uv=False) - 1).max()
        assert (own < 1e-5) == (name == "flax")
    whole = law_of(sample, "keras-3")(sample.shape, key=0, layout=sample.layout).astype(np.float64)
    assert np.abs(whole.T @ whole - np.eye(gate)).max() < 1e-5


def test_the_forget_gate():
    """Keras opens it, Flax does not."""
    for name, expected in (("keras-3", [0, 1, 0, 0]), ("flax", [0, 0, 0, 0])):
        op = Op(0, OpKind.RECURRENT, "lstm", "", 0, 0, (INPUT,), (), (2, 3), detail=Recurrence("lstm", 4))
        law = RECIPES[name].choose(Case(Parameter("b", (8,), "float32"), "gate_bias", op), Feed()).law
        assert law((8,)).reshape(4, 2).tolist() == [[value] * 2 for value in expected]


@pytest.mark.parametrize(("name", "slope"), [("torch-2.13", 0.25), ("keras-3", 0), ("flax", 0.01)])
def test_slopes(name, slope):
    law = RECIPES[name].choose(Case(Parameter("a", (1,), "float32"), "slope"), Feed()).law
    assert law((1,))[0] == np.float32(slope)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_bare_parameters_are_left_alone(profile):
    for role in ("gate", "branch_gate", "token", "position", "relative", "other", "unused"):
        op = Op(0, OpKind.SHIFT, "add", "", 0, 0, (INPUT,), (), (2, 3))
        choice = profile.choose(Case(Parameter("p", (3, 4), "float32"), role, op), Feed())
        assert choice.law is None
        assert choice.reason.startswith("left as it is")
    assert profile.choose(Case(Parameter("b", (4,), "float32"), "bias", op), Feed()).law is None


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_norms(profile):
    for offset, expected in ((0.0, 1.0), (1.0, 0.0)):
        case = Case(Parameter("g", (4,), "float32"), "branch_norm", offset=offset)
        assert profile.choose(case, Feed()).law((4,)).tolist() == [expected] * 4


# The frameworks themselves


def test_keras_itself():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="keras is not installed")
    layers = keras.layers
    made = {
        "dense": (layers.Dense(700), (2, 900)),
        "conv": (layers.Conv2D(200, 3), (1, 8, 8, 100)),
        "grouped": (layers.Conv2D(256, 3, groups=4), (1, 8, 8, 128)),
        "depthwise": (layers.DepthwiseConv2D(3), (1, 8, 8, 2000)),
        "transposed": (layers.Conv2DTranspose(64, 4, strides=2), (1, 8, 8, 160)),
        "embedding": (layers.Embedding(3000, 50), (2, 3)),
        "lstm": (layers.LSTM(120), (1, 3, 70)),
        "gru": (layers.GRU(120), (1, 3, 70)),
        "rnn": (layers.SimpleRNN(120), (1, 3, 70)),
        "experts": (layers.EinsumDense("sbi,sio->sbo", output_shape=(None, 300)), (8, 2, 200)),
    }
    for sample in SAMPLES:
        if sample.name in made:
            layer, shape = made[sample.name]
            layer.build(shape)
            check_drawn(sample, "keras-3", np.asarray(layer.weights[0]))


def test_flax_itself():
    nn = pytest.importorskip("flax.linen", reason="flax is not installed")
    from jax import random  # noqa: PLC0415

    window = (3, 3)
    made = {
        "dense": (nn.Dense(700), (2, 900)),
        "conv": (nn.Conv(200, window), (1, 8, 8, 100)),
        "grouped": (nn.Conv(256, window, feature_group_count=4), (1, 8, 8, 128)),
        "depthwise": (nn.Conv(2000, window, feature_group_count=2000), (1, 8, 8, 2000)),
        "transposed": (nn.ConvTranspose(64, (4, 4), strides=(2, 2)), (1, 8, 8, 160)),
        "embedding": (nn.Embed(3000, 50), (2, 3)),
    }
    for sample in SAMPLES:
        if sample.name in made:
            layer, shape = made[sample.name]
            dtype = "int32" if sample.name == "embedding" else "float32"
            held = layer.init(random.PRNGKey(1), np.zeros(shape, dtype))["params"]
            check_drawn(sample, "flax", np.asarray(held["embedding" if sample.name == "embedding" else "kernel"]))


def check_drawn(sample, name, array):
    assert array.size == sample.size
    moments = law_of(sample, name).moments(sample.shape, layout=sample.layout)
    drawn = float(array.std()), float(np.abs(array).max())
    assert agrees(moments, drawn, sample.size), (sample.name, moments, drawn)
    assert not agrees(moments, (drawn[0] * 1.04, drawn[1] * 1.04), sample.size)
