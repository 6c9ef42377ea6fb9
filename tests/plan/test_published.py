"""The published recipes: their papers' constants, read off the rows that they plan for small models made by hand."""

import math
import re

import pytest
from op_details import with_facts

from fanwise import NONLINEARITIES, Layout, Normal, Zeros, gain
from fanwise.graph.details import Lookup
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use
from fanwise.graph.trace import Trace
from fanwise.laws.composite import Blocks
from fanwise.laws.layout import Fused
from fanwise.plan.recipes.published import PUBLISHED
from fanwise.plan.recipes.recipe import Feed, Recipe
from fanwise.plan.recipes.registry import RECIPES, recipe
from fanwise.plan.recipes.unit import UNIT
from fanwise.plan.roles import ROLES, Case, cases
from fanwise.plan.row import Row

DENSE = Layout.dense("out in")


class Sketch:
    """A trace, op by op."""

    def __init__(self, width=16):
        self.width = width
        self.ops, self.parameters = [], []

    def op(self, kind, *inputs, uses=(), width=None, **detail):
        index = len(self.ops)
        shape = (2, 4, width or self.width)
        made = Op(index, OpKind(kind), kind, "", 0, index, inputs, tuple(uses), shape)
        heads = {"width": shape[-1]} if kind == OpKind.ATTENTION else {}
        self.ops.append(with_facts(made, **heads, **detail))
        return index

    def use(self, path, shape, role, layout=None, steps=()):
        if all(path != known.path for known in self.parameters):
            self.parameters.append(Parameter(path, shape, "float32"))
        return Use(path, role, layout, steps)

    def linear(self, path, source, outputs=None, inputs=None, **detail):
        shape = (outputs or self.width, inputs or self.width)
        uses = [self.use(f"{path}.weight", shape, "weight", DENSE), self.use(f"{path}.bias", shape[:1], "bias")]
        return self.op("linear", source, uses=uses, width=shape[0], **detail)

    def norm(self, path, source):
        scale, shift = (self.use(f"{path}.{name}", (self.width,), name) for name in ("scale", "shift"))
        return self.op("norm", source, uses=[scale, shift])

    def embedding(self, path="table"):
        table = self.use(path, (50, self.width), "table", Layout.embedding())
        return self.op("embedding", INPUT, uses=[table])

    def attention(self, path, stream, memory=None):
        read = stream if memory is None else memory
        sources = {"query": stream, "key": read, "value": read}
        parts = [self.linear(f"{path}.{part}", source) for part, source in sources.items()]
        mixed = self.op("attention", *parts, scale=self.width**-0.5, width=self.width)
        return self.op("add", stream, self.linear(f"{path}.out", mixed))

    def feed_forward(self, path, stream, factor=4):
        hidden = self.linear(f"{path}.fc1", stream, outputs=factor * self.width)
        active = self.op("activation", hidden, width=factor * self.width, nonlinearity="relu")
        return self.op("add", stream, self.linear(f"{path}.fc2", active, inputs=factor * self.width))

    def stack(self, name, layers, stream, memory=None):
        for i in range(layers):
            stream = self.attention(f"{name}.{i}.self", stream)
            if memory is not None:
                stream = self.attention(f"{name}.{i}.cross", stream, memory)
            stream = self.feed_forward(f"{name}.{i}", stream)
        return stream

    def trace(self, *outputs):
        return Trace(tuple(self.ops), tuple(self.parameters), outputs or (len(self.ops) - 1,))


def language_model(layers, width=16):
    sketch = Sketch(width)
    return sketch.trace(sketch.linear("head", sketch.stack("layer", layers, sketch.embedding()), outputs=50))


def translator(encoder, decoder):
    sketch = Sketch()
    memory = sketch.stack("encoder", encoder, sketch.embedding("source"))
    return sketch.trace(sketch.linear("head", sketch.stack("decoder", decoder, sketch.embedding("target"), memory)))


def perceptrons(joins, depth, width=16, close=None):
    """Residual branches of `depth` maps, each branch closed by what `close` adds to it."""
    sketch = Sketch(width)
    stream = sketch.linear("stem", INPUT)
    for i in range(joins):
        branch = stream
        for j in range(depth):
            branch = sketch.linear(f"{i}.{j}", sketch.op("activation", branch, nonlinearity="relu"))
        stream = sketch.op("add", stream, branch if close is None else close(sketch, i, branch))
    return sketch.trace(sketch.linear("head", stream, outputs=10))


def chain(*nonlinearities):
    """Maps with nonlinearities between them, and a head."""
    sketch = Sketch()
    here = sketch.linear("0", INPUT)
    for i, detail in enumerate(nonlinearities):
        here = sketch.linear(str(i + 1), sketch.op("activation", here, **detail))
    return sketch.trace(here)


def planned(trace, name):
    """The rows of a recipe; what feeds each op is taken as 1."""
    return {path: row_of(case, RECIPES[name]) for path, case in cases(trace).items()}


def row_of(case, recipe):
    choice = recipe.choose(case, Feed())
    kind = "" if case.op is None else case.op.kind
    parameter = case.parameter
    return Row(
        parameter.path,
        parameter.shape,
        "float32",
        choice.law,
        case.layout,
        case.role,
        kind,
        choice.reason,
        choice.source,
    )


def xavier_gain(row):
    (fans,) = row.fans
    return row.std / math.sqrt(2 / (fans.fan_in + fans.fan_out))


def alpha(row):
    return float(re.search(r"alpha = ([\d.]+)", row.reason)[1])


# Depth


@pytest.mark.parametrize(
    ("layers", "stream", "branch"),
    [
        (6, 1.861210, 0.379918),
        (12, 2.213364, 0.319472),
        (24, 2.632148, 0.268642),
        (100, 3.760603, 0.188030),
        (1000, 6.687403, 0.105737),
    ],
)
def test_deepnorm_of_one_stack(layers, stream, branch):
    rows = planned(language_model(layers), "deepnorm")
    for part in ("self.value", "self.out", "fc1", "fc2"):
        row = rows[f"layer.{layers - 1}.{part}.weight"]
        assert xavier_gain(row) == pytest.approx(branch, abs=1e-6)
        assert alpha(row) == pytest.approx(stream, abs=1e-6)
    for part in ("query", "key"):
        assert xavier_gain(rows[f"layer.0.self.{part}.weight"]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("layers", "encoder", "decoder"),
    [(6, (1.417938, 0.496989), (2.059767, 0.343295)), (12, (1.760878, 0.400198), (2.449490, 0.288675))],
)
def test_deepnorm_of_an_encoder_and_its_decoder(layers, encoder, decoder):
    rows = planned(translator(layers, layers), "deepnorm")
    for row, expected in (
        (rows["encoder.0.fc1.weight"], encoder),
        (rows["encoder.0.self.value.weight"], encoder),
        (rows["decoder.0.self.out.weight"], decoder),
        (rows["decoder.1.cross.value.weight"], decoder),
    ):
        assert (alpha(row), xavier_gain(row)) == pytest.approx(expected, abs=1e-6)
    assert xavier_gain(rows["decoder.1.cross.key.weight"]) == pytest.approx(1, abs=1e-12)


def test_stacks_of_different_depth():
    """N = 4 and M = 2: 0.87 2^(-9/16) = 0.589, 24^(-1/4) = 0.452."""
    rows = planned(translator(4, 2), "deepnorm")
    assert xavier_gain(rows["encoder.0.fc1.weight"]) == pytest.approx(0.5891012, abs=1e-6)
    assert xavier_gain(rows["decoder.0.fc1.weight"]) == pytest.approx(0.451801, abs=1e-6)


def test_two_stacks_in_a_row_are_no_encoder_and_decoder():
    sketch = Sketch()
    first = sketch.norm("between", sketch.linear("wider", sketch.stack("first", 2, sketch.embedding())))
    rows = planned(sketch.trace(sketch.linear("head", sketch.stack("second", 3, first))), "deepnorm")
    assert xavier_gain(rows["first.0.fc1.weight"]) == pytest.approx(16**-0.25)
    assert xavier_gain(rows["second.0.fc1.weight"]) == pytest.approx(24**-0.25)


def fused(blocks):
    sketch = Sketch(8)
    stream = sketch.embedding()
    sizes = tuple(size for _, size in blocks)
    layout = Layout(("out", "in"), fused=Fused(0, sizes))
    weight = sketch.use("qkv", (sum(sizes), 8), "weight", layout)
    cut = sketch.op("linear", stream, uses=[weight], blocks=tuple(name for name, _ in blocks))
    return sketch.trace(sketch.linear("head", sketch.op("add", stream, sketch.linear("out", cut))))


def test_deepnorm_scales_the_value_block_alone():
    row = planned(fused([("query", 8), ("key", 4), ("value", 4)]), "deepnorm")["qkv"]
    assert isinstance(row.law, Blocks)
    stds = [
        law.moments(box.shape, layout=DENSE).std for law, box in zip(row.law.laws, row.law.boxes((16, 8)), strict=True)
    ]
    beta = 4**-0.25  # one join is half a layer
    assert stds == pytest.approx([math.sqrt(2 / 16), math.sqrt(2 / 12), beta * math.sqrt(2 / 12)])
    array = row.law(row.shape, key=0, layout=row.layout)
    assert array.shape == row.shape
    alike = planned(fused([("gate", 8), ("up", 8)]), "deepnorm")["qkv"]
    assert not isinstance(alike.law, Blocks)
    assert alike.std == pytest.approx(beta * math.sqrt(2 / 16))


@pytest.mark.parametrize(("layers", "omega"), [(6, 2.017009), (12, 2.601286), (24, 3.404484), (100, 6.074611)])
def test_admin(layers, omega):
    rows = planned(language_model(layers), "admin")
    for part in ("self.value", "self.query", "self.out", "fc1", "fc2"):
        row = rows[f"layer.{layers - 1}.{part}.weight"]
        assert xavier_gain(row) == pytest.approx(1, abs=1e-12)
        assert float(re.search(r"omega = ([\d.]+)", row.reason)[1]) == pytest.approx(omega, abs=1e-6)


def test_t_fixup():
    rows = planned(translator(6, 6), "t_fixup")
    encoder, decoder = 0.428092, 0.368894
    assert xavier_gain(rows["encoder.0.self.value.weight"]) == pytest.approx(encoder, abs=1e-6)
    assert xavier_gain(rows["decoder.0.cross.value.weight"]) == pytest.approx(decoder, abs=1e-6)
    assert xavier_gain(rows["decoder.0.cross.query.weight"]) == pytest.approx(1)
    for table in ("source", "target"):
        assert rows[table].std == pytest.approx(decoder / 4, abs=1e-6)
    assert rows["decoder.0.fc1.weight"].law.distribution == "uniform"


@pytest.mark.parametrize(("layers", "std"), [(12, 0.00408248), (24, 0.00288675), (36, 0.00235702), (48, 0.00204124)])
def test_gpt2_residual_std(layers, std):
    rows = planned(language_model(layers), "gpt2")
    for part in ("self.out", "fc2"):
        assert rows[f"layer.{layers // 2}.{part}.weight"].std == pytest.approx(std, abs=5e-9)
    others = ("table", "head.weight", "layer.0.fc1.weight", "layer.0.self.query.weight", "layer.0.self.value.weight")
    assert [rows[path].std for path in others] == [0.02] * 5
    assert rows["layer.0.fc1.bias"].law == Zeros()


def test_small_init_by_the_width_of_the_model():
    rows = planned(language_model(2, width=768), "small_init")
    for path in ("table", "head.weight", "layer.1.fc1.weight", "layer.1.fc2.weight", "layer.1.self.query.weight"):
        assert rows[path].std == pytest.approx(0.022822, abs=5e-7)


# Branches that start at 0


@pytest.mark.parametrize(
    ("joins", "depth", "factor"),
    [(9, 2, 0.333333), (27, 2, 0.192450), (54, 2, 0.136083), (16, 3, 0.5), (33, 3, 0.417227)],
)
def test_fixup_factors(joins, depth, factor):
    trace = perceptrons(joins, depth)
    rows, plain = planned(trace, "fixup"), planned(trace, "he")
    for i in (0, joins - 1):
        for j in range(depth - 1):
            path = f"{i}.{j}.weight"
            assert rows[path].std / plain[path].std == pytest.approx(factor, abs=1e-6)
        assert rows[f"{i}.{depth - 1}.weight"].law == Zeros()
    assert rows["head.weight"].law == rows["head.bias"].law == Zeros()
    assert rows["stem.weight"].law == plain["stem.weight"].law


def test_fixup_on_a_branch_of_one_map():
    rows = planned(perceptrons(4, 1), "fixup")
    assert rows["0.0.weight"].law == Zeros()


def closed_by_norm(sketch, i, branch):
    return sketch.norm(f"{i}.norm", branch)


def closed_by_gate(sketch, i, branch):
    return sketch.op("scale", branch, uses=[sketch.use(f"{i}.gate", (1,), "scale")])


def test_one_factor_of_a_branch_is_0_and_no_other():
    """Two zeros in a product would never leave 0."""
    normed = planned(perceptrons(3, 2, close=closed_by_norm), "fixup")
    assert normed["1.norm.scale"].std == 0
    assert normed["1.norm.scale"].law == Zeros()
    assert normed["1.1.weight"].std > 0
    gated = planned(perceptrons(3, 2, close=closed_by_gate), "fixup")
    assert gated["1.1.weight"].law == Zeros()
    assert repr(gated["1.gate"].law) == "Ones()"
    both = planned(perceptrons(3, 2, close=lambda *a: closed_by_gate(*a[:2], closed_by_norm(*a))), "fixup")
    assert both["1.gate"].law == Zeros()
    assert both["1.1.weight"].std > 0


def weight_normed(sketch, path, source, outputs):
    """A map made of directions and of their lengths."""
    made = ("parametrization",)
    uses = [
        sketch.use(f"{path}.direction", (outputs, sketch.width), "weight", DENSE, made),
        sketch.use(f"{path}.length", (outputs, 1), "scale", None, made),
    ]
    return sketch.op("linear", source, uses=uses, width=outputs)


def test_a_weight_of_a_given_length_starts_at_0_by_its_length():
    """Directions of length 0 would divide by 0."""
    sketch = Sketch()
    stream = sketch.linear("stem", INPUT)
    branch = weight_normed(sketch, "end", weight_normed(sketch, "inner", stream, 16), 16)
    rows = planned(sketch.trace(weight_normed(sketch, "head", sketch.op("add", stream, branch), 5)), "fixup")
    assert [rows[f"{path}.length"].role for path in ("inner", "end", "head")] == ["magnitude"] * 3
    assert rows["end.length"].law == rows["head.length"].law == Zeros()
    assert rows["inner.length"].law != Zeros()
    assert all(rows[f"{path}.direction"].std > 0 for path in ("inner", "end", "head"))


def test_zero_gamma():
    rows = planned(perceptrons(3, 2, close=closed_by_norm), "zero_gamma")
    assert rows["1.norm.scale"].role == "branch_norm"
    assert rows["1.norm.scale"].law == Zeros()
    assert rows["1.1.weight"].std == pytest.approx(math.sqrt(2 / 16))
    assert rows["head.weight"].std == 0.01
    assert repr(planned(perceptrons(3, 2, close=closed_by_norm), "he")["1.norm.scale"].law) == "Ones()"


# What feeds a map


@pytest.mark.parametrize(
    ("detail", "variance"),
    [
        ({"nonlinearity": "relu"}, 2),
        ({"nonlinearity": "leaky_relu", "negative_slope": 0.2}, 2 / 1.04),
        ({"nonlinearity": "prelu"}, 2 / (1 + 0.25**2)),
        ({"nonlinearity": "tanh"}, 1.59253741972**2),
        ({"nonlinearity": "gelu", "approximate": "none"}, 1.5335304412**2),
        ({"nonlinearity": "silu"}, 1.67653247033**2),
    ],
    ids=lambda value: value["nonlinearity"] if isinstance(value, dict) else None,
)
def test_he_and_orthogonal_make_up_for_what_feeds_them(detail, variance):
    trace = chain(detail)
    for name in ("he", "orthogonal"):
        row = planned(trace, name)["1.weight"]
        assert row.std**2 * 16 == pytest.approx(variance, rel=1e-6)
        assert detail["nonlinearity"] in row.reason
    assert planned(trace, "he")["0.weight"].std ** 2 * 16 == pytest.approx(2)
    assert planned(trace, "orthogonal")["0.weight"].std ** 2 * 16 == pytest.approx(1)


def test_the_tanh_form_of_gelu():
    row = planned(chain({"nonlinearity": "gelu", "approximate": "tanh"}), "he")["1.weight"]
    assert row.std * 4 == pytest.approx(gain("gelu_tanh"))
    assert abs(gain("gelu_tanh") / gain("gelu") - 1) > 1e-6


def test_a_nonlinearity_without_a_known_gain_is_marked():
    case = cases(chain({"nonlinearity": "glu"}))["1.weight"]
    assert "glu" not in NONLINEARITIES
    assert RECIPES["he"].choose(case, Feed()).guess
    assert RECIPES["orthogonal"].choose(case, Feed()).guess


def test_no_factor_2_where_nothing_is_halved():
    """A map of a stream or of a norm sees both signs, so the paper's eq. 7 has 1 there."""
    rows = planned(language_model(2), "he")
    assert rows["layer.0.self.query.weight"].std ** 2 * 16 == pytest.approx(1)
    assert rows["layer.0.fc2.weight"].std ** 2 * 64 == pytest.approx(2)


def test_glorot_and_lecun():
    rows = planned(language_model(1), "glorot")
    assert rows["layer.0.fc1.weight"].law(((64, 16)), key=0, layout=DENSE).max() <= math.sqrt(6 / 80)
    assert rows["layer.0.fc1.weight"].std == pytest.approx(math.sqrt(2 / 80))
    assert planned(language_model(1), "lecun")["layer.0.fc1.weight"].std == 0.25


# Every recipe


def hand_made(role):
    return Case(Parameter("w", (6, 4), "float32"), role)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("role", ROLES)
def test_every_recipe_speaks_for_every_role(name, role):
    """Also where nothing is known but the role and the shape."""
    choice = RECIPES[name].choose(hand_made(role), Feed())
    assert choice.reason
    assert choice.law is None or math.isfinite(choice.law.moments((6, 4)).std)


@pytest.mark.parametrize("found", PUBLISHED, ids=lambda found: found.name)
def test_what_is_borrowed_says_so(found):
    """A rule that acts as the unit recipe's says that it is borrowed, or has a source of its own."""
    assert found.source
    case = hand_made("norm_shift")
    assert "as in the unit recipe" in found.choose(case, Feed()).reason
    weight = found.choose(hand_made("weight"), Feed())
    assert weight.source
    assert "unit recipe" not in weight.reason


def test_tables_of_published_recipes_keep_the_padding_row():
    table = Parameter("t", (6, 4), "float32")
    op = Op(0, OpKind.EMBEDDING, "embedding", "", 0, 0, (INPUT,), (), (2, 4), detail=Lookup(padding=1))
    for name in ("gpt2", "small_init", "t_fixup", "torch-2.13"):
        law = RECIPES[name].choose(Case(table, "embedding", op), Feed()).law
        rows = law((6, 4), key=0)
        assert not rows[1].any()
        assert rows[0].all()


# The registry


def test_names_and_recipes():
    assert recipe("unit") is UNIT
    assert recipe(UNIT) is UNIT
    assert all(found.name == name for name, found in RECIPES.items())
    assert list(RECIPES)[:2] == ["unit", "he"]
    assert {"torch-2.13", "keras-3", "flax", "deepnorm", "fixup", "zero_gamma"} <= set(RECIPES)


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match=r"recipe = 'kaiming': expected one of unit, he, glorot, .*flax"):
        recipe("kaiming")
    with pytest.raises(TypeError, match=r"recipe = 3: expected a name"):
        recipe(3)


def test_recipes_are_read_only():
    with pytest.raises(TypeError):
        RECIPES["mine"] = UNIT
    with pytest.raises(TypeError):
        RECIPES["he"].rules["weight"] = None


def test_a_recipe_of_ones_own():
    mine = UNIT.but("mine", "flat", {"weight": lambda case, feed: RECIPES["gpt2"].rules["weight"](case, feed)})
    assert isinstance(recipe(mine), Recipe)
    assert row_of(cases(chain())["0.weight"], mine).role == "head"
    assert mine.choose(hand_made("weight"), Feed()).law == Normal(0.02)
