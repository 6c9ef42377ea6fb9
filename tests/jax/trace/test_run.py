"""Runs of models of JAX: what the trace says of each operation, in every form in which a model comes."""

import math

import numpy as np
import pytest
from op_details import facts_of

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")
pytest.importorskip("flax", reason="flax is not installed")
pytest.importorskip("equinox", reason="equinox is not installed")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise import Layout  # noqa: E402
from fanwise.graph.visitor import Watcher  # noqa: E402
from fanwise.jax import Inputs, ModelError, parameters, run  # noqa: E402
from fanwise.laws.layout import Fused  # noqa: E402
from zoo.jax.tiny import normal, tokens  # noqa: E402
from zoo.registry import models  # noqa: E402

ZOO = models("jax", "structure")


def traced(function, params, *inputs):
    return run((function, params), Inputs(inputs))


def kinds(trace):
    return [op.kind for op in trace.ops]


def layout_of(trace, path):
    return next(use.layout for _, use in trace.uses[path] if use.layout is not None)


# Maps and their layouts, against the fans of docs/fans.md.

MAPS = {
    "matrix": (lambda w, x: x @ w, (32, 48), normal(4, 32), (32, 48)),
    "transposed matrix": (lambda w, x: x @ w.T, (48, 32), normal(4, 32), (32, 48)),
    "matrix on the left": (lambda w, x: w @ x, (48, 32), normal(32, 4), (32, 48)),
    "heads": (lambda w, x: jnp.einsum("bd,dhk->bhk", x, w), (32, 4, 8), normal(4, 32), (32, 32)),
    "heads back": (lambda w, x: jnp.einsum("bhk,hkd->bd", x, w), (4, 8, 32), normal(4, 4, 8), (32, 32)),
    "heads by reshape": (lambda w, x: x @ w.reshape(32, 32), (32, 4, 8), normal(4, 32), (32, 32)),
    "experts": (lambda w, x: jnp.einsum("ebd,edh->ebh", x, w), (5, 32, 16), normal(5, 4, 32), (32, 16)),
    "experts chosen": (
        lambda w, x: jnp.einsum("bd,bdh->bh", x, w[jnp.array([0, 2, 1])]),
        (5, 32, 16),
        normal(3, 32),
        (32, 16),
    ),
    "half precision": (lambda w, x: x @ w.astype(jnp.bfloat16).astype(jnp.float32), (32, 48), normal(4, 32), (32, 48)),
    "ragged": (lambda w, x: lax.ragged_dot(x, w, jnp.array([2, 1, 1])), (3, 32, 16), normal(4, 32), (32, 16)),
    "vmapped": (lambda w, x: jax.vmap(lambda row: w @ row)(x), (48, 32), normal(4, 32), (32, 48)),
}


@pytest.mark.parametrize("name", MAPS)
def test_fans_of_maps(name):
    function, shape, x, fans = MAPS[name]
    trace = traced(lambda p, x: function(p["w"], x), {"w": normal(*shape)}, x)
    found = layout_of(trace, "w").block_fans(shape)
    assert {(one.fan_in, one.fan_out) for one in found} == {fans}
    assert trace.unseen == ()


def convolution(w, x, **options):
    return lax.conv_general_dilated(x, w, padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)


CONVOLUTIONS = {
    "plain": (lambda w, x: convolution(w, x, window_strides=(1, 1)), (3, 3, 8, 16), (72, 144)),
    "strided": (lambda w, x: convolution(w, x, window_strides=(2, 2)), (3, 3, 8, 16), (72, 36)),
    "grouped": (lambda w, x: convolution(w, x, window_strides=(1, 1), feature_group_count=4), (3, 3, 2, 16), (18, 36)),
    "depthwise": (lambda w, x: convolution(w, x, window_strides=(1, 1), feature_group_count=8), (3, 3, 1, 8), (9, 9)),
    "transposed": (lambda w, x: lax.conv_transpose(x, w, (2, 2), "SAME"), (4, 4, 8, 16), (32, 256)),
    "transposed kernel": (
        lambda w, x: lax.conv_transpose(
            x, w, (2, 2), "SAME", transpose_kernel=True, dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        (4, 4, 16, 8),
        (32, 256),
    ),
    "uneven stride": (lambda w, x: convolution(w, x, window_strides=(2, 1)), (3, 5, 8, 16), (120, 120)),
    "channels first": (
        lambda w, x: lax.conv_general_dilated(x.transpose(0, 3, 1, 2), w, (1, 1), "SAME"),
        (16, 8, 3, 3),
        (72, 144),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_fans_of_convolutions(name):
    function, shape, fans = CONVOLUTIONS[name]
    trace = traced(lambda p, x: function(p["w"], x), {"w": normal(*shape)}, normal(2, 8, 8, 8))
    found = layout_of(trace, "w").fans(shape)
    assert (found.fan_in, found.fan_out) == fans
    assert kinds(trace) == ["conv_transpose" if "transposed" in name else "conv"]
    features = trace.ops[0].shape[trace.ops[0].axis]
    assert features == 16 if name != "depthwise" else 8


def test_rows_of_a_table():
    for look_up in (lambda p, i: p["t"][i], lambda p, i: jnp.take(p["t"], i, axis=0)):
        trace = traced(look_up, {"t": normal(96, 32)}, tokens(4, 6))
        assert kinds(trace) == ["embedding"]
        assert trace.ops[0].uses[0].role == "table"
        assert layout_of(trace, "t") == Layout(("lookup", "out"))


def test_fused_projections_are_cut_where_the_model_cuts_them():
    def attention(p, x):
        q, k, v = jnp.split(x @ p["qkv"], 3, axis=-1)
        return jax.nn.softmax(q @ k.swapaxes(-1, -2) / 4) @ v

    trace = traced(attention, {"qkv": normal(16, 48)}, normal(2, 5, 16))
    assert layout_of(trace, "qkv").fused == Fused(1, (16, 16, 16))
    assert trace.ops[0].blocks == ("query", "key", "value")
    assert "softmax" in kinds(trace)


def test_weights_used_in_parts_are_maps_of_their_own():
    def two(p, x):
        return x @ p["w"][:, :20], x @ p["w"][:, 20:]

    trace = traced(two, {"w": normal(16, 32)}, normal(2, 16))
    assert layout_of(trace, "w").fused == Fused(1, (20, 12))


def test_which_operand_of_the_scores_is_the_query():
    for equation in ("bqd,bkd->bqk", "bqd,bkd->bkq"):

        def attention(p, x, equation=equation):
            q, k = x @ p["q"], x @ p["k"]
            scores = jnp.einsum(equation, q, k)
            axis = -1 if equation.endswith("qk") else -2
            return jax.nn.softmax(scores, axis=axis)

        trace = traced(attention, {"q": normal(16, 8), "k": normal(16, 8)}, normal(2, 5, 16))
        product = next(op for op in trace.ops if op.kind == "matmul")
        paths = [trace.ops[source].uses[0].path for source in product.inputs]
        assert paths == ["q", "k"]


@pytest.mark.parametrize("factor", ["parameter", "mask"])
def test_the_weights_of_a_softmax_come_first_though_they_are_scaled(factor):
    def attention(p, x):
        weights = jax.nn.softmax(x @ p["q"], axis=-1)
        weights = weights * (p["s"] if factor == "parameter" else jnp.tanh(x[..., :5]))
        return jnp.einsum("bkd,bqk->bqd", x @ p["v"], weights)

    trace = traced(attention, {"q": normal(16, 5), "v": normal(16, 8), "s": normal(5)}, normal(2, 5, 16))
    product = next(op for op in trace.ops if op.kind == "matmul")
    assert trace.ops[product.inputs[0]].kind == ("scale" if factor == "parameter" else "mul")
    assert trace.ops[product.inputs[1]].uses[0].path == "v"


# Functions of single values.

NONLINEARITIES = {
    "relu": (jax.nn.relu, {}),
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), {"approximate": "none"}),
    "gelu ": (jax.nn.gelu, {"approximate": "tanh"}),
    "silu": (jax.nn.silu, {}),
    "silu ": (lambda x: x / (1 + jnp.exp(-x)), {}),
    "tanh": (jnp.tanh, {}),
    "sigmoid": (jax.nn.sigmoid, {}),
    "leaky_relu": (lambda x: jax.nn.leaky_relu(x, 0.2), {"negative_slope": pytest.approx(0.2, rel=1e-6)}),
    "elu": (jax.nn.elu, {}),
    "selu": (jax.nn.selu, {}),
    "softplus": (jax.nn.softplus, {}),
    "relu6": (jax.nn.relu6, {}),
    "mish": (jax.nn.mish, {}),
    "hardswish": (jax.nn.hard_swish, {}),
    "hardtanh": (jax.nn.hard_tanh, {}),
    "softsign": (jax.nn.soft_sign, {}),
    "relu_squared": (lambda x: jnp.square(jax.nn.relu(x)), {}),
    "sin": (jnp.sin, {}),
    "erf": (lax.erf, {}),
}


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_nonlinearities_are_recognised_however_they_are_written(name):
    function, detail = NONLINEARITIES[name]
    trace = traced(
        lambda p, x: function(x @ p["a"] + p["b"]) @ p["c"],
        {"a": normal(6, 5), "b": normal(5), "c": normal(5, 4)},
        normal(3, 6),
    )
    assert kinds(trace) == ["linear", "shift", "activation", "linear"]
    found = trace.ops[2]
    assert found.nonlinearity == name.strip()
    assert facts_of(found) == detail | {"nonlinearity": name.strip()}
    points = np.linspace(-3, 3, 31)
    if found.replay is not None:
        assert np.allclose(found.replay(points), function(jnp.asarray(points, jnp.float32)), atol=1e-5)


def test_a_gate_of_another_tensor_is_no_nonlinearity():
    trace = traced(
        lambda p, x: (x @ p["a"]) * jax.nn.sigmoid(x @ p["b"]), {"a": normal(6, 5), "b": normal(6, 5)}, normal(3, 6)
    )
    assert kinds(trace) == ["linear", "linear", "activation", "mul"]
    assert trace.ops[2].nonlinearity == "sigmoid"


# Norms.


def layer_norm(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * scale + shift


def fast_norm(x, scale, shift):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.maximum(0.0, jnp.square(x).mean(-1, keepdims=True) - jnp.square(mean))
    return (x - mean) * (lax.rsqrt(variance + 1e-6) * scale) + shift


def divided_norm(x, scale, shift):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6) * scale + shift


@pytest.mark.parametrize("norm", [layer_norm, fast_norm, divided_norm])
def test_norms_written_by_hand(norm):
    params = {"w": normal(16, 16), "scale": normal(16), "shift": normal(16)}
    trace = traced(lambda p, x: norm(x @ p["w"], p["scale"], p["shift"]), params, normal(4, 16))
    found = next(op for op in trace.ops if op.kind == "norm")
    assert trace.ops[found.inputs[0]].kind == "linear"
    assert [(use.path, use.role) for op in trace.ops[found.index :] for use in op.uses] == [
        ("scale", "scale"),
        ("shift", "shift"),
    ]


def test_a_batch_norm_by_running_statistics():
    linen = pytest.importorskip("flax.linen", reason="flax is not installed")
    model = linen.Sequential([linen.Dense(6), linen.BatchNorm(use_running_average=True), linen.relu])
    x = normal(4, 5)
    variables = model.init(jax.random.key(0), x)
    trace = run((model, variables), Inputs((x,)))
    assert kinds(trace) == ["linear", "shift", "elementwise", "norm", "scale", "shift", "activation"]
    assert trace.ops[3].norm == "batch_norm"
    assert trace.unused == ()


def test_moments_of_a_norm_with_its_scale_reordered_are_those_of_the_model():
    params = {"scale": normal(16), "shift": normal(16)}
    x = normal(4, 16)
    seen = {}

    class Look(Watcher):
        def after(self, op, moment):
            seen[op.index] = moment()

    run((lambda p, x: fast_norm(x, p["scale"], p["shift"]), params), Inputs((x,)), Look())
    expected = fast_norm(x, params["scale"], params["shift"])
    assert list(seen.values())[-1] == pytest.approx(float(jnp.square(expected).mean()), rel=1e-5)


# Programs inside programs.


def test_calls_are_entered():
    @jax.custom_jvp
    def twice(x):
        return 2 * x

    twice.defjvp(lambda primals, tangents: (2 * primals[0], 2 * tangents[0]))

    @jax.custom_vjp
    def thrice(x):
        return 3 * x

    thrice.defvjp(lambda x: (3 * x, None), lambda _, g: (3 * g,))

    def network(p, x):
        x = jax.checkpoint(lambda x: jax.nn.relu(x @ p["a"]))(x)
        x = jax.jit(lambda x: x @ p["b"])(twice(x))
        return thrice(x) @ p["c"]

    trace = traced(network, {"a": normal(6, 6), "b": normal(6, 6), "c": normal(6, 6)}, normal(3, 6))
    assert kinds(trace) == ["linear", "activation", "elementwise", "linear", "elementwise", "linear"]
    assert trace.unseen == ()


def test_layers_of_a_scan_are_a_stack():
    model, inputs = ZOO["scanned layers"].build(), ZOO["scanned layers"].batch().args
    trace = run(model, Inputs(inputs))
    assert len(trace.uses["layers.in"]) == 3
    assert [op.call for op, _ in trace.uses["layers.in"]] == [0, 1, 2]
    assert layout_of(trace, "layers.in") == Layout(("stack", "in", "out"))
    assert len({op.key for op in trace.ops}) == len(trace.ops)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_loop_over_time_is_run_to_its_end(reverse):
    def network(p, x):
        h, rows = lax.scan(
            lambda h, row: (jnp.tanh(row @ p["w"] + h @ p["u"]), h), jnp.zeros((3, 5)), x, reverse=reverse
        )
        return h @ p["head"], rows

    params = {"w": normal(4, 5), "u": normal(5, 5), "head": normal(5, 2)}
    seen = []

    class Look(Watcher):
        def after(self, op, moment):
            seen.append((op, moment()))

    x = normal(7, 3, 4)
    trace = run((network, params), Inputs((x,)), Look())
    expected = network(params, x)[0]
    last = next(value for op, value in seen if op.uses and op.uses[0].path == "head")
    assert last == pytest.approx(float(jnp.square(expected).mean()), rel=1e-5)
    assert {use.role for _, use in trace.uses["u"]} == {"recurrent"}
    assert {use.role for _, use in trace.uses["w"]} == {"weight"}


def test_branches_that_are_not_taken_are_told():
    def network(p, x):
        return lax.cond(x.sum() > 1e9, lambda x: x @ p["a"], lambda x: x @ p["b"], x)

    trace = traced(network, {"a": normal(4, 4), "b": normal(4, 4)}, normal(3, 4))
    assert trace.unused == ("a",)
    assert [text.partition(":")[0] for text in trace.unseen] == ["cond"]


def test_what_cannot_be_entered_is_told():
    def network(p, x):
        return jax.scipy.sparse.linalg.cg(lambda v: p["a"].T @ (p["a"] @ v) + v, x)[0]

    trace = traced(network, {"a": 0.1 * normal(4, 4)}, normal(4))
    assert any("custom_linear_solve" in text for text in trace.unseen)
    assert trace.uses["a"][0][1].role == "operand"


# Forms of models.


def test_paths_are_those_of_the_leaves():
    params = {"encoder": [{"w": jnp.ones(2)}, {"w": jnp.ones(3)}], "scale": jnp.ones(()), "steps": jnp.zeros((), int)}
    assert [found.path for found in parameters((lambda p, x: x, params))] == ["encoder.0.w", "encoder.1.w", "scale"]


def test_one_array_in_two_places_is_one_parameter():
    table = normal(5, 3)
    found = parameters((lambda p, x: x, {"a": table, "b": table, "c": normal(5, 3)}))
    assert [(one.path, one.aliases) for one in found] == [("a", ("b",)), ("c", ())]


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_every_parameter_of_the_zoo_is_explained(name):
    specimen = ZOO[name]
    model, inputs = specimen.build(), specimen.batch().args
    trace = run(model, Inputs(inputs))
    assert trace.unused == ()
    for path, uses in trace.uses.items():
        maps = [use for _, use in uses if use.role in ("weight", "recurrent", "table")]
        assert all(use.layout is not None for use in maps), path
    assert all(op.kind != "other" for op in trace.ops), [op.name for op in trace.ops if op.kind == "other"]
    assert len(trace.joins) == specimen.traits.joins
    assert all(text.startswith("cond") for text in trace.unseen)


def test_shapes_alone_give_the_same_trace():
    for name in ("linen scanned transformer", "scanned layers", "equinox attention"):
        model, inputs = ZOO[name].build(), ZOO[name].batch().args
        shapes = jax.tree.map(_shape_of, model[1])
        given = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs)
        real, abstract = run(model, Inputs(inputs)), run((model[0], shapes), Inputs(given))
        assert [(op.kind, op.inputs, op.shape, op.uses) for op in real.ops] == [
            (op.kind, op.inputs, op.shape, op.uses) for op in abstract.ops
        ]


def _shape_of(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if isinstance(leaf, jax.Array) else leaf


def test_the_model_is_left_as_it_was():
    model, inputs = ZOO["nnx net"].build(), ZOO["nnx net"].batch().args
    before = [np.array(leaf) for leaf in jax.tree.leaves(jax.tree.map(np.asarray, _state(model)))]
    run(model, Inputs(inputs))
    after = [np.array(leaf) for leaf in jax.tree.leaves(jax.tree.map(np.asarray, _state(model)))]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def _state(model):
    from flax import nnx  # noqa: PLC0415

    return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))


# Bad input.


def test_what_is_no_model():
    linen = pytest.importorskip("flax.linen", reason="flax is not installed")
    for model, message in (
        (3, r"expected \(function, params\)"),
        ({"w": jnp.ones(3)}, r"expected \(function, params\)"),
        (linen.Dense(3), "without its variables"),
        ((linen.Dense(3), 5), "expected what module.init returns"),
    ):
        with pytest.raises(TypeError, match=message):
            run(model, Inputs())


def test_errors_of_the_model_say_where():
    with pytest.raises(ModelError, match="dot_general"):
        traced(lambda p, x: x @ p["w"], {"w": normal(5, 4)}, normal(3, 6))


def test_deleted_and_traced_arrays_are_refused():
    gone = normal(3, 3)
    gone.delete()
    with pytest.raises(ValueError, match="'w' was deleted or donated"):
        traced(lambda p, x: x @ p["w"], {"w": gone}, normal(2, 3))
    with pytest.raises(TypeError, match="'w' is being traced"):
        jax.jit(lambda w: traced(lambda p, x: x @ p["w"], {"w": w}, normal(2, 3)) and w)(normal(3, 3))
    with pytest.raises(ValueError, match="an input was deleted"):
        traced(lambda p, x: x @ p["w"], {"w": normal(3, 3)}, gone)


def test_two_parameters_of_one_path_are_refused():
    with pytest.raises(ValueError, match=r"two parameters have the path 'a\.b'"):
        parameters((lambda p, x: x, {"a": {"b": jnp.ones(2)}, "a.b": jnp.ones(2)}))


def test_statistics_are_those_of_the_numbers():
    x = normal(1000, 8)
    seen = {}

    class Look(Watcher):
        def before(self, op, moment):
            seen[op.name] = (moment(0), moment.known(0))
            return {}

    run((lambda p, x: x @ p["w"], {"w": normal(8, 4)}), Inputs((x,)), Look())
    assert seen["dot_general"] == (pytest.approx(float(jnp.square(x).mean()), rel=1e-6), True)
    assert math.isclose(seen["dot_general"][0], 1, rel_tol=0.1)
