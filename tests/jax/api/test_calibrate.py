"""`calibrate` for models of JAX: targets are reached in one forward pass, wherever the maps stand.

Every figure is that of a run of plain JAX afterwards.
"""

import itertools
import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")
pytest.importorskip("flax", reason="flax is not installed")
pytest.importorskip("equinox", reason="equinox is not installed")

import equinox  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import linen, nnx  # noqa: E402
from jax import lax  # noqa: E402

from fanwise.jax import ModelError, apply, calibrate, manifest, plan, verify  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402
from zoo.jax.tiny import normal, of_linen  # noqa: E402

FLOAT32 = 1e-5
"""What is promised of float32: |std - 1| of every calibrated op, in a run afterwards."""
HEAD = math.sqrt(0.04 * math.log(10))


def std(array):
    """Std over all values, their sum of squares divided by their number."""
    return float(np.asarray(array, np.float64).std())


def stack(depth, width=64, seed=0, dtype=jnp.float32):
    """Weights and biases of a network, both of other sizes than they should have."""
    made = {f"w{i}": 0.05 * (1 + i % 3) * normal(width, width, seed=seed + i) for i in range(depth)}
    made |= {f"b{i}": 0.02 * normal(width, seed=100 + i) for i in range(depth)}
    made |= {"head": normal(width, 10, seed=99), "bias": 0.1 * normal(10, seed=98)}
    return jax.tree.map(lambda leaf: leaf.astype(dtype), made)


def network(act=jax.nn.relu):
    def run(p, x):
        for i in range((len(p) - 2) // 2):
            x = act(x @ p[f"w{i}"] + p[f"b{i}"])
        return x @ p["head"] + p["bias"]

    return run


def maps(p, x, act=jax.nn.relu):
    """What each map gives with its bias."""
    found = []
    for i in range((len(p) - 2) // 2):
        found.append(x @ p[f"w{i}"] + p[f"b{i}"])
        x = act(found[-1])
    return [*found, x @ p["head"] + p["bias"]]


def stds(p, x, act=jax.nn.relu):
    return [std(one) for one in maps(p, x, act)]


def calibrated(p, x, act=jax.nn.relu, **options):
    result = calibrate((network(act), p), x, **options)
    _, made = result.model
    return made, result


def captured(module, variables, *inputs):
    """What the layers of a linen module give, by path."""
    kinds = (linen.Dense, linen.Conv, linen.ConvTranspose, linen.Embed, linen.DenseGeneral)
    _, state = module.apply(
        variables, *inputs, capture_intermediates=lambda one, _: isinstance(one, kinds), mutable=["intermediates"]
    )
    leaves = jax.tree_util.tree_flatten_with_path(state["intermediates"])[0]
    return {".".join(entry.key for entry in path[:-2]): leaf for path, leaf in leaves}


# Targets


def test_thirty_layers_reach_unit_std_in_one_forward():
    p, x = stack(30), normal(256, 64, seed=7)
    made, result = calibrated(p, x)
    found = stds(made, x)
    assert (len(result.factors), result.forwards) == (31, 1)
    assert max(abs(one - 1) for one in found[:-1]) <= FLOAT32
    assert found[-1] == pytest.approx(HEAD, abs=FLOAT32)


def test_a_target_that_is_off_by_a_thousandth_would_be_seen():
    """The mutant of the test before: the bound tells 1.001 from 1."""
    p, x = stack(3), normal(256, 64, seed=7)
    made, _ = calibrated(p, x, target=1.001)
    assert min(abs(one - 1) for one in stds(made, x)) > FLOAT32


def test_weights_and_biases_keep_their_directions_and_the_model_stays_as_it_was():
    p, x = stack(3), normal(256, 64, seed=7)
    before = jax.tree.map(np.array, p)
    made, result = calibrated(p, x)
    assert all(np.array_equal(p[name], before[name]) for name in p)
    for path, factor in result.factors.items():
        for name in (path, "bias" if path == "head" else path.replace("w", "b")):
            assert np.array_equal(made[name], (before[name].astype(np.float64) * factor).astype(np.float32))


class Convolutions(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(16, (3, 3))(x))
        x = linen.silu(linen.Conv(16, (3, 3), feature_group_count=4, strides=2)(x))
        x = linen.gelu(linen.ConvTranspose(12, (4, 4), strides=(2, 2))(x))
        x = linen.relu(linen.Conv(12, (3, 3), feature_group_count=12)(x))
        return linen.Dense(10)(x.reshape(x.shape[0], -1))


def test_convolutions_of_every_kind_reach_unit_std():
    model, (x,) = of_linen(Convolutions(), normal(16, 12, 12, 3, seed=7))
    result = calibrate(model, x, head="target")
    module, variables = result.model
    found = captured(module, variables, x)
    assert len(found) == len(result.factors) == 5
    assert max(abs(std(one) - 1) for one in found.values()) <= FLOAT32


def residual(blocks=4, width=32):
    def run(p, x):
        x = x @ p["stem"]
        for i in range(blocks):
            x = x + jax.nn.relu(x @ p[f"in{i}"]) @ p[f"out{i}"]
        return x @ p["head"]

    p = {f"in{i}": normal(width, width, seed=i) for i in range(blocks)}
    p |= {f"out{i}": normal(width, width, seed=20 + i) for i in range(blocks)}
    return run, p | {"stem": normal(width, width, seed=40), "head": normal(width, 10, seed=41)}


def branches_of(p, x, blocks=4):
    x = x @ p["stem"]
    for i in range(blocks):
        inner = x @ p[f"in{i}"]
        branch = jax.nn.relu(inner) @ p[f"out{i}"]
        yield std(x), std(inner), std(branch)
        x = x + branch


def test_branches_get_their_share_of_the_stream():
    (run, p), x = residual(), normal(256, 32, seed=7)
    result = calibrate((run, p), x)
    _, made = result.model
    for stream, inner, branch in branches_of(made, x):
        assert inner == pytest.approx(1, abs=FLOAT32)
        assert branch == pytest.approx(stream / 2, rel=FLOAT32)
    assert {line.role for line in result.lines} == {"weight", "branch_end", "head"}
    _, loud = calibrate((run, p), x, branches="target", head="target").model
    assert all(abs(branch - 1) <= FLOAT32 for _, _, branch in branches_of(loud, x))


@pytest.mark.parametrize("classes", [10, 1000])
def test_the_head_starts_near_the_loss_of_a_guess(classes):
    """For C classes std sqrt(0.04 ln C), at most 0.5."""
    p, x = {"w0": normal(64, 64), "b0": jnp.zeros(64)}, normal(256, 64, seed=7)
    p |= {"head": normal(64, classes), "bias": jnp.zeros(classes)}
    made, _ = calibrated(p, x)
    assert stds(made, x)[-1] == pytest.approx(min(0.5, math.sqrt(0.04 * math.log(classes))), abs=FLOAT32)


def test_the_second_moment_may_be_the_statistic():
    p, x = stack(4), normal(256, 64, seed=7) + 0.5
    made, _ = calibrated(p, x, statistic="second_moment", target=2.0, head="target")
    for one in maps(made, x):
        assert float(np.sqrt(np.square(np.asarray(one, np.float64)).mean())) == pytest.approx(2, abs=2 * FLOAT32)


@pytest.mark.parametrize("act", [jax.nn.relu, jax.nn.gelu, jax.nn.silu, jax.nn.leaky_relu, jax.nn.softplus])
def test_the_target_may_hold_after_the_activation(act):
    p, x = stack(4), normal(256, 64, seed=7)
    made, result = calibrated(p, x, act, gain_after=True, statistic="second_moment")
    for one in maps(made, x, act)[:-1]:
        moment = float(np.square(np.asarray(act(one), np.float64)).mean())
        assert math.sqrt(moment) == pytest.approx(1, abs=FLOAT32)
    assert all("held after" in line.note for line in result.lines[:-1])


def test_a_target_that_an_activation_cannot_give_is_said():
    p, x = stack(2), normal(256, 64, seed=7)
    made, result = calibrated(p, x, jnp.tanh, gain_after=True)
    assert all("no factor lets tanh give 1" in line.note for line in result.lines[:-1])
    assert max(abs(one - 1) for one in stds(made, x, jnp.tanh)[:-1]) <= FLOAT32


# Channels


def units(array, axis=-1):
    """Means and variances of the units, in double precision."""
    rows = np.moveaxis(np.asarray(array, np.float64), axis, -1).reshape(-1, np.shape(array)[axis])
    return rows.mean(0), rows.var(0)


def furthest(array, axis=-1):
    means, variances = units(array, axis)
    return float(np.abs(means).max()), float(np.abs(variances - 1).max())


@pytest.mark.parametrize("seed", range(3))
def test_every_unit_gets_mean_0_and_variance_1(seed):
    p, x = stack(8, seed=10 * seed), normal(512, 64, seed=seed)
    made, _ = calibrated(p, x, mode="channel", head="target")
    for one in maps(made, x):
        mean, variance = furthest(one)
        assert mean <= 3e-7
        assert variance <= 2e-7


def test_layer_mode_leaves_the_units_unequal():
    """The mutant of the test before."""
    p, x = stack(8), normal(512, 64, seed=7)
    made, _ = calibrated(p, x, head="target")
    assert min(furthest(maps(made, x)[1])) > 0.1


def test_channels_of_convolutions_plain_grouped_and_transposed():
    model, (x,) = of_linen(Convolutions(), normal(16, 12, 12, 3, seed=7))
    module, variables = calibrate(model, x, mode="channel", head="target").model
    for name, one in captured(module, variables, x).items():
        assert max(furthest(one)) <= FLOAT32, name


class Units(equinox.Module):
    convolution: equinox.nn.Conv2d
    linear: equinox.nn.Linear

    def __call__(self, x):
        return self.linear(jax.nn.relu(self.convolution(x)).mean((1, 2)))


def test_channels_of_layers_that_vmap_turns_around():
    keys = jax.random.split(jax.random.key(0))
    net = Units(equinox.nn.Conv2d(3, 16, 3, key=keys[0]), equinox.nn.Linear(16, 16, key=keys[1]))
    x = normal(16, 3, 9, 9, seed=7)  # as many examples as features: only their places tell them apart
    result = calibrate((lambda module, x: jax.vmap(module)(x), net), x, mode="channel", head="target")
    _, made = result.model
    assert isinstance(made, Units)
    assert not any(line.note for line in result.lines)
    assert max(furthest(jax.vmap(made.convolution)(x), 1)) <= FLOAT32
    assert max(furthest(jax.vmap(made)(x))) <= FLOAT32


def test_without_a_bias_the_means_stay_and_that_is_said():
    p, x = {"w": normal(64, 32), "v": normal(32, 8)}, normal(256, 64, seed=7) + 1
    result = calibrate((lambda p, x: jax.nn.relu(x @ p["w"]) @ p["v"], p), x, mode="channel")
    _, made = result.model
    mean, variance = furthest(x @ made["w"])
    assert variance <= FLOAT32
    assert mean > 0.1
    assert "the means stay" in result.lines[0].note


def test_constant_units_are_counted_and_left():
    p, x = stack(2), normal(256, 64, seed=7)
    p["w0"] = p["w0"].at[:, :3].set(0)
    made, result = calibrated(p, x, mode="channel")
    assert "3 of 64 units are constant" in result.lines[0].note
    assert np.array_equal(made["b0"][:3], p["b0"][:3])
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in made.values())


# One pass, whatever the program is made of


def counted(x, seen):
    """The same values; each time that they are computed is counted."""

    def look(values):
        seen.append(1)
        return values

    return jax.pure_callback(look, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def test_the_model_is_computed_once_and_balancing_computes_it_once_more():
    seen = []
    p, x = stack(3), normal(64, 64, seed=7)

    @jax.custom_vjp
    def watched(x):
        return counted(x, seen)

    watched.defvjp(lambda x: (watched(x), None), lambda _, g: (g,))
    model = lambda p, x: network()(p, watched(x)), p
    result = calibrate(model, x)
    assert (len(seen), result.forwards) == (1, 1)


def within_jit(f):
    return jax.jit(f)


def within_remat(f):
    return jax.checkpoint(f)


def within_vjp(f):
    g = jax.custom_vjp(f)
    g.defvjp(lambda *given: (f(*given), given), lambda given, g: jax.vjp(f, *given)[1](g))
    return g


def within_jvp(f):
    g = jax.custom_jvp(f)
    g.defjvp(lambda given, tangents: jax.jvp(f, given, tangents))
    return g


def within_branch(f):
    return lambda *given: lax.cond(jnp.asarray(given[0].shape[0] > 2), f, lambda *given: -f(*given), *given)


def within_scan(f):
    return lambda *given: lax.scan(lambda x, _: (f(x, *given[1:]), None), given[0], None, length=1)[0]


WITHIN = (within_jit, within_remat, within_vjp, within_jvp, within_branch, within_scan)


@pytest.mark.parametrize("wrap", WITHIN, ids=lambda wrap: wrap.__name__)
def test_corrected_outputs_go_on_within(wrap):
    """Were one not to go on, the map after it would be measured on other input, and miss its target."""
    p, x = stack(4), normal(256, 64, seed=7)
    layer = wrap(lambda x, w, b: jax.nn.relu(x @ w + b))

    def run(p, x):
        for i in range(4):
            x = layer(x, p[f"w{i}"], p[f"b{i}"])
        return x @ p["head"] + p["bias"]

    result = calibrate((run, p), x)
    _, made = result.model
    assert result.forwards == 1
    assert max(abs(one - 1) for one in stds(made, x)[:-1]) <= FLOAT32


@pytest.mark.parametrize("wrap", [lambda f: f, jax.checkpoint], ids=["plain", "remat"])
@pytest.mark.parametrize("mode", ["layer", "channel"])
def test_every_layer_of_a_scan_gets_a_factor_of_its_own(wrap, mode):
    x = normal(256, 32, seed=7)
    layers = {"w": normal(5, 32, 32) * jnp.arange(1, 6)[:, None, None], "b": normal(5, 32, seed=1)}
    p = {"layers": layers, "head": normal(32, 10)}

    def run(p, x):
        body = wrap(lambda h, own: (jax.nn.relu(h @ own["w"] + own["b"]), None))
        return lax.scan(body, x, p["layers"])[0] @ p["head"]

    result = calibrate((run, p), x, mode=mode)
    _, made = result.model
    assert [line.paths[0] for line in result.lines] == [*(f"layers.w[{i}]" for i in range(5)), "head"]
    hidden = x
    for i in range(5):
        one = hidden @ made["layers"]["w"][i] + made["layers"]["b"][i]
        assert std(one) == pytest.approx(1, abs=FLOAT32)
        if mode == "channel":
            assert max(furthest(one)) <= FLOAT32
        hidden = jax.nn.relu(one)
    if mode == "layer":
        assert std(run(made, x)) == pytest.approx(HEAD, abs=FLOAT32)


def test_stacks_that_are_taken_apart_by_hand_are_those_of_a_scan():
    x, p = normal(256, 32, seed=7), {"w": normal(3, 32, 32), "head": normal(32, 10)}

    def run(p, x):
        for i in range(3):
            x = jax.nn.relu(x @ p["w"][i])
        return x @ p["head"]

    result = calibrate((run, p), x)
    _, made = result.model
    assert list(result.factors) == ["w[0]", "w[1]", "w[2]", "head"]
    for i in range(3):
        assert std(x @ made["w"][i]) == pytest.approx(1, abs=FLOAT32)
        x = jax.nn.relu(x @ made["w"][i])


@pytest.mark.slow
def test_a_scanned_transformer_of_linen():
    class Layer(linen.Module):
        @linen.compact
        def __call__(self, x, _):
            x = x + linen.MultiHeadDotProductAttention(4)(linen.LayerNorm()(x))
            return x + linen.Dense(32)(linen.gelu(linen.Dense(64)(linen.LayerNorm()(x)))), None

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            layers = linen.scan(linen.remat(Layer), variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
            return linen.Dense(10)(linen.LayerNorm()(layers(name="layers")(linen.Dense(32)(x), None)[0]))

    model, (x,) = of_linen(Net(), normal(8, 12, 16, seed=7))
    result = calibrate(model, x, branches="target")
    module, variables = result.model
    assert (result.forwards, dict(result.left)) == (1, {})
    held, hidden = variables["params"], linen.Dense(32).apply({"params": variables["params"]["Dense_1"]}, x)
    for i in range(2):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], held["layers"])
        found = captured(Layer(), {"params": own}, hidden, None)
        assert len(found) == 6
        assert max(abs(std(one) - 1) for one in found.values()) <= FLOAT32
        hidden, _ = Layer().apply({"params": own}, hidden, None)
    assert std(module.apply(variables, x)) == pytest.approx(HEAD, abs=FLOAT32)


def test_what_a_loop_over_time_applies_is_left():
    def run(p, x):
        def step(h, row):
            h = jnp.tanh(row @ p["input"] + h @ p["state"] + p["bias"])
            return h, h

        h, _ = lax.scan(step, jnp.zeros((x.shape[1], 32)), jax.nn.relu(x @ p["stem"]))
        return h @ p["head"]

    p = {"stem": normal(8, 16), "input": normal(16, 32), "state": normal(32, 32), "bias": jnp.zeros(32)}
    x = normal(12, 16, 8, seed=7)
    result = calibrate((run, p | {"head": normal(32, 10)}), x)
    _, made = result.model
    assert list(result.factors) == ["stem", "head"]
    assert "over and over" in result.left["input"]
    assert np.array_equal(made["input"], p["input"])
    assert std(x @ made["stem"]) == pytest.approx(1, abs=FLOAT32)
    assert std(run(made, x)) == pytest.approx(HEAD, abs=FLOAT32)


def test_a_branch_that_only_values_choose_is_run_twice_and_says_so():
    def run(p, x):
        return lax.cond(x.max() > 100, lambda x: x @ p["a"], lambda x: x @ p["b"], x) @ p["head"]

    p, x = {"a": normal(16, 16), "b": normal(16, 16, seed=1), "head": normal(16, 10)}, normal(256, 16, seed=7)
    result = calibrate((run, p), x)
    _, made = result.model
    assert (list(result.factors), result.forwards) == (["b", "head"], 2)
    assert std(x @ made["b"]) == pytest.approx(1, abs=FLOAT32)


def test_a_while_loop_is_left_and_what_follows_is_calibrated():
    def run(p, x):
        h = lax.while_loop(lambda s: jnp.abs(s).max() < 50, lambda s: 1.5 * s + jnp.tanh(s @ p["w"]), x)
        return h @ p["head"]

    p, x = {"w": normal(16, 16), "head": normal(16, 10)}, normal(64, 16, seed=7)
    result = calibrate((run, p), x)
    _, made = result.model
    assert "over and over" in result.left["w"]
    assert std(run(made, x)) == pytest.approx(HEAD, abs=FLOAT32)


# Shared, dead, fused, narrow


@pytest.mark.parametrize("mode", ["layer", "channel"])
def test_a_weight_that_is_used_twice_is_settled_at_its_first_use(mode):
    def run(p, x):
        for _ in range(2):
            x = jax.nn.relu(x @ p["w"] + p["b"])
        return x @ p["head"]

    p, x = {"w": normal(32, 32), "b": normal(32), "head": normal(32, 10)}, normal(256, 32, seed=7)
    result = calibrate((run, p), x, mode=mode)
    _, made = result.model
    assert std(x @ made["w"] + made["b"]) == pytest.approx(1, abs=FLOAT32)
    assert "settled where it is used first" in result.lines[1].note
    if mode == "layer":
        assert std(run(made, x)) == pytest.approx(HEAD, abs=FLOAT32)


def test_a_tied_table_is_left_and_another_gives_tokens_of_unit_std():
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 50, (16, 12)))
    p = {"table": 0.02 * normal(50, 32), "body": normal(32, 32), "head": normal(32, 50)}
    result = calibrate((lambda p, i: jax.nn.gelu(p["table"][i] @ p["body"]) @ p["table"].T, p), ids)
    _, tied = result.model
    assert np.array_equal(tied["table"], p["table"])
    assert result.left["table"].startswith("it is the head too")
    assert list(result.factors) == ["body"]
    _, made = calibrate((lambda p, i: jax.nn.gelu(p["table"][i] @ p["body"]) @ p["head"], p), ids).model
    assert std(made["table"][ids]) == pytest.approx(1, abs=FLOAT32)
    assert std(made["table"][ids] @ made["body"]) == pytest.approx(1, abs=FLOAT32)


@pytest.mark.parametrize("mode", ["layer", "channel"])
def test_dead_and_constant_outputs_are_reported_and_left(mode):
    p, x = stack(3), normal(64, 64, seed=7)
    p |= {"w0": jnp.zeros((64, 64)), "b0": jnp.full(64, -1.0), "b1": jnp.zeros(64)}
    made, result = calibrated(p, x, mode=mode)
    assert result.left["w0"] == "its output is constant: no factor changes that"
    assert result.left["w1"] == "its output is 0: dead"
    assert result.left["w2"] == "its output is the same at every example: its bias alone"
    assert all(np.array_equal(made[name], p[name]) for name in p)


def test_an_output_that_is_not_finite_is_left():
    p = stack(2)
    p["w0"] = p["w0"].at[0, 0].set(jnp.inf)
    _, result = calibrated(p, normal(64, 64, seed=7))
    assert set(result.left.values()) == {"its output is not finite"}


def test_several_inputs_by_name_and_in_order():
    def run(p, x, y):
        return jax.nn.relu(x @ p["a"] + y @ p["b"]) @ p["head"]

    p = {"a": normal(16, 32), "b": normal(8, 32), "head": normal(32, 10)}
    x, y = normal(256, 16, seed=7), 5 * normal(256, 8, seed=8)
    for batch in ((x, y), {"y": y, "x": x}):
        _, made = calibrate((run, p), batch).model
        assert std(x @ made["a"]) == pytest.approx(1, abs=FLOAT32)
        assert std(y @ made["b"]) == pytest.approx(1, abs=FLOAT32)


def test_fused_projections_get_one_factor():
    def run(p, x):
        q, k, v = jnp.split(x @ p["qkv"] + p["b"], 3, -1)
        return (jax.nn.softmax(q @ k.swapaxes(-1, -2) / math.sqrt(32)) @ v) @ p["out"]

    p = {"qkv": normal(32, 96) * jnp.repeat(jnp.asarray([10.0, 1, 1]), 32), "b": normal(96), "out": normal(32, 32)}
    x = normal(8, 16, 32, seed=7)
    result = calibrate((run, p), x)
    _, made = result.model
    assert isinstance(result.factors["qkv"], float)
    assert std(x @ made["qkv"] + made["b"]) == pytest.approx(1, abs=FLOAT32)
    _, made = calibrate((run, p), x, mode="channel").model
    assert max(furthest(x @ made["qkv"] + made["b"])) <= FLOAT32


def test_a_batch_norm_in_the_path_changes_nothing():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.relu(linen.BatchNorm(use_running_average=False)(linen.Conv(8, (3, 3), use_bias=False)(x)))
            return linen.Dense(10)(x.reshape(len(x), -1))

    x = 3 * normal(32, 8, 8, 3, seed=7)
    variables = Net().init(jax.random.key(0), x)
    module, made = calibrate((Net(), variables), x).model
    kernel = made["params"]["Conv_0"]["kernel"]
    assert std(linen.Conv(8, (3, 3), use_bias=False).apply({"params": {"kernel": kernel}}, x)) == pytest.approx(
        1, abs=FLOAT32
    )
    assert set(made) == {"params", "batch_stats"}
    found = module.apply(made, x, mutable=["batch_stats"])[0]
    assert std(found) == pytest.approx(HEAD, rel=1e-4)


@pytest.mark.parametrize(("dtype", "bound"), [(jnp.bfloat16, 2**-8), (jnp.float16, 2**-11)])
def test_narrow_models_reach_the_target_to_their_resolution(dtype, bound):
    p, x = stack(6, dtype=dtype), normal(256, 64, seed=7).astype(dtype)
    made, _ = calibrated(p, x)
    assert max(abs(one - 1) for one in stds(made, x)[:-1]) <= bound
    assert all(leaf.dtype == dtype for leaf in made.values())


def test_narrow_computation_on_wide_parameters():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(10, dtype=jnp.bfloat16)(linen.relu(linen.Dense(64, dtype=jnp.bfloat16)(x)))

    model, (x,) = of_linen(Net(), normal(256, 64, seed=7))
    result = calibrate(model, x)
    module, made = result.model
    assert len(result.factors) == 2
    assert std(captured(module, made, x)["Dense_1"].astype(jnp.float32)) == pytest.approx(1, abs=2**-8)
    assert made["params"]["Dense_1"]["kernel"].dtype == jnp.float32


def test_modules_of_nnx_come_back_as_modules():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(16, 32, rngs=rngs), nnx.Linear(32, 10, rngs=rngs)

        def __call__(self, x):
            return self.last(jax.nn.relu(self.first(x)))

    net, x = Net(nnx.Rngs(0)), normal(256, 16, seed=7)
    result = calibrate(net, x)
    made = result.model
    assert isinstance(made, Net)
    assert std(made.first(x)) == pytest.approx(1, abs=FLOAT32)
    assert list(result.factors) == ["first.kernel", "last.kernel"]
    assert not np.array_equal(net.first.kernel[...], made.first.kernel[...])


# Batches


def test_several_batches_are_pooled():
    p, x = stack(6), normal(256, 64, seed=7)
    _, first = calibrated(p, x)
    _, second = calibrated(p, x[:100], more=(x[100:150], np.asarray(x[150:])))
    assert dict(first.factors) == dict(second.factors)
    assert second.forwards == 1


def test_batches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="differ in the first axis alone"):
        calibrated(stack(2), normal(8, 64), more=(normal(8, 63),))


# Plans


def test_a_plan_with_factors_makes_the_calibrated_model_again():
    model, x = (network(), stack(6)), normal(256, 64, seed=7)
    result = calibrate(model, x, plan=plan(model, x), key=5)
    _, made = result.model
    assert max(abs(one - 1) for one in stds(made, x)[:-1]) <= FLOAT32
    twin = apply((network(), stack(6, seed=50)), Plan.from_toml(result.plan.to_toml()), 5)
    assert all(np.array_equal(made[name], twin[1][name]) for name in made)
    assert verify(twin, manifest((network(), made), result.plan, 5)) == ()


def test_without_its_factors_a_plan_makes_another_model():
    """The mutant of the test before."""
    model, x = (network(), stack(6)), normal(256, 64, seed=7)
    planned = plan(model, x)
    _, made = calibrate(model, x, plan=planned, key=5).model
    assert not np.array_equal(made["w0"], apply(model, planned, 5)[1]["w0"])


def test_a_plan_in_bfloat16_is_rounded_once():
    model, x = (network(), stack(3, dtype=jnp.bfloat16)), normal(256, 64, seed=7).astype(jnp.bfloat16)
    result = calibrate(model, x, plan=plan(model, x), key=5)
    _, made = result.model
    _, wide = apply((network(), stack(3)), result.plan, 5)
    assert all(np.array_equal(made[name], wide[name].astype(jnp.bfloat16)) for name in made)


def test_what_a_plan_leaves_or_cannot_tell_is_left():
    x = normal(64, 64, seed=7)
    model = network(), stack(2)
    result = calibrate(model, x, plan=plan(model, x).edit("w0", None), key=1)
    assert result.left["w0"] == "the plan leaves w0 as it is"
    p = {"w": normal(3, 64, 64), "head": normal(64, 10)}
    stacked = (lambda p, x: lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["w"])[0] @ p["head"]), p
    result = calibrate(stacked, x, plan=plan(stacked, x), key=1)
    _, made = result.model
    assert result.left["w[0]"] == "each slice of w needs a factor, a plan has one for it"
    assert list(result.factors) == ["head"]
    assert std(stacked[0](made, x)) == pytest.approx(HEAD, abs=FLOAT32)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mode": "rows"}, "expected one of layer, channel"),
        ({"statistic": "var"}, "expected one of std, second_moment"),
        ({"target": 0.0}, "expected a number > 0"),
        ({"mode": "channel", "gain_after": True}, "use mode='layer'"),
        ({"key": 0}, "go together"),
        ({"only": "heads.*"}, "names no weight"),
        ({"more": (3,)}, "expected an array"),
        ({"loss": "hinge"}, "expected one of"),
    ],
)
def test_bad_arguments_are_refused(options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        calibrated(stack(2), normal(8, 64), **options)


def test_a_plan_tells_no_units_and_shapes_have_no_values():
    model, x = (network(), stack(2)), normal(64, 64, seed=7)
    with pytest.raises(ValueError, match="one factor a parameter"):
        calibrate(model, x, mode="channel", plan=plan(model, x), key=0)
    with pytest.raises(ValueError, match="materialize it first"):
        calibrate((network(), jax.eval_shape(lambda: stack(2))), x)
    with pytest.raises(ValueError, match="shapes alone"):
        calibrate(model, jax.ShapeDtypeStruct((8, 64), jnp.float32))


def test_a_weight_that_cannot_hold_its_factor_is_refused():
    p = {"w": 6e4 * jnp.ones((4, 4), jnp.float16), "head": jnp.ones((4, 4), jnp.float16)}
    x = 1e-7 * normal(64, 4, seed=7).astype(jnp.float16)
    with pytest.raises(ValueError, match="parameter 'w' would reach"):
        calibrate((lambda p, x: jnp.tanh(x @ p["w"]) @ p["head"], p), x)


def test_a_model_that_fails_says_where():
    with pytest.raises(ModelError, match="could not be traced"):
        calibrated(stack(2), normal(8, 63))


# Balance


def ratios(run, p, x, labels):
    """Lengths of gradients over those of weights."""

    def loss(p):
        return -jax.nn.log_softmax(run(p, x))[jnp.arange(len(x)), labels].mean()

    gradients, names = jax.grad(loss)(p), [*sorted(name for name in p if name[0] == "w"), "head"]
    return [float(jnp.linalg.norm(gradients[n]) / jnp.linalg.norm(p[n])) for n in names]


def test_ratios_of_gradient_to_weight_become_equal_and_the_function_stays():
    sizes = (32, 64, 16, 48)
    p = {f"w{i}": normal(n, m, seed=i) for i, (n, m) in enumerate(itertools.pairwise(sizes))}
    p |= {f"b{i}": 0.1 * normal(m, seed=i) for i, m in enumerate(sizes[1:])}
    p |= {"head": normal(48, 10), "bias": jnp.zeros(10)}
    x, labels = normal(128, 32, seed=7), jnp.arange(128) % 10
    twin, _ = calibrated(p, x)
    made, result = calibrated(p, (x, labels), balance=True, loss="cross_entropy")
    before, after = ratios(network(), twin, x, labels), ratios(network(), made, x, labels)
    assert max(before) / min(before) > 2  # the mutant: without balancing they differ
    assert max(after) / min(after) <= 1.01
    assert [line.ratio for line in result.lines] == pytest.approx(before, rel=1e-3)
    assert np.allclose(network()(made, x), network()(twin, x), atol=FLOAT32)
    assert result.forwards == 2


def test_chains_end_where_a_rescaling_would_be_seen():
    p, x = stack(3), normal(64, 64, seed=7)
    _, result = calibrated(p, (x, jnp.arange(64) % 10), jax.nn.gelu, balance=True, loss="cross_entropy")
    assert all(math.isnan(line.ratio) for line in result.lines)


def test_balanced_factors_stand_in_the_plan():
    model, x, labels = (network(), stack(4)), normal(256, 64, seed=7), jnp.arange(256) % 10
    result = calibrate(model, (x, labels), balance=True, loss="cross_entropy", plan=plan(model, x), key=2)
    _, made = result.model
    _, twin = apply(model, result.plan, 2)
    assert all(np.array_equal(made[name], twin[name]) for name in made)
    after = ratios(network(), made, x, labels)
    assert max(after) / min(after) <= 1.01


def test_the_table_shows_every_op():
    _, result = calibrated(stack(2), normal(64, 64, seed=7), only="w*")
    text = str(result)
    assert "w1" in text
    assert "2 of 3 ops calibrated, 1 forward pass." in text
