"""The initializers in every place where TensorFlow calls one."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import scipy.stats
from statistics_of import follows

tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed: pip install 'fanwise[tensorflow]'")

import fanwise  # noqa: E402
import fanwise.tensorflow as fwt  # noqa: E402
from fanwise import Key, Layout, VarianceScaling  # noqa: E402
from fanwise.tensorflow.versions import check_version  # noqa: E402

v1 = tf.compat.v1
GLOROT = VarianceScaling(1.0, "fan_avg", "uniform")
SHAPE = (784, 100)


def of_path(path, law=GLOROT, shape=SHAPE, seed=3):
    return law(shape, key=Key(seed, path))


# Where TensorFlow calls it.


def test_get_variable_in_a_graph_and_eagerly():
    with v1.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("net"):
            weight = v1.get_variable("W", shape=[784, 100], initializer=fwt.xavier_initializer(seed=3))
        session.run(v1.global_variables_initializer())
        assert np.array_equal(session.run(weight), of_path("net/W"))
    with v1.variable_scope("net"):
        eager = v1.get_variable("W", shape=[784, 100], initializer=fwt.xavier_initializer(seed=3))
    assert np.array_equal(eager.numpy(), of_path("net/W"))


def test_one_object_gives_each_variable_of_a_graph_its_own_numbers():
    init = fwt.xavier_initializer(seed=3)
    with v1.Graph().as_default(), v1.Session() as session:
        pair = [v1.get_variable(name, shape=SHAPE, initializer=init) for name in ("a", "b")]
        session.run(v1.global_variables_initializer())
        first, second = session.run(pair)
    assert np.array_equal(first, of_path("a"))
    assert np.array_equal(second, of_path("b"))


@pytest.mark.parametrize("resource", [False, True])
def test_partitioned_variables_hold_the_parts_of_the_whole(resource):
    with v1.Graph().as_default(), v1.Session() as session:
        parts = v1.get_variable(
            "P",
            shape=SHAPE,
            initializer=fwt.xavier_initializer(seed=3),
            partitioner=v1.fixed_size_partitioner(3),
            use_resource=resource,
        )
        session.run(v1.global_variables_initializer())
        assert np.array_equal(session.run(tf.convert_to_tensor(parts)), of_path("P"))


def test_shards_as_tensorflow_2_asks_for_them():
    init, whole = fwt.Law(GLOROT, seed=3), GLOROT(SHAPE, key=3)
    shard = init(SHAPE, tf.float32, partition_shape=(200, 100), partition_offset=(400, 0))
    assert np.array_equal(shard.numpy(), whole[400:600])


@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("name", ["he_normal", "glorot_uniform", "orthogonal", "identity", "zeros", "ones", "sparse"])
def test_inside_a_function(name, compiled):
    init = fwt.Law(name, seed=3)
    drawn = tf.function(lambda: init((60, 30)), jit_compile=compiled)()
    assert np.array_equal(drawn.numpy(), fanwise.initializer(name)((60, 30), key=3))


def test_a_variable_that_a_function_makes_has_the_stream_of_its_name():
    made, init = [], fwt.xavier_initializer(seed=3)

    @tf.function
    def step():
        if not made:
            made.append(tf.Variable(lambda: init(SHAPE, tf.float32), name="inside"))
        return made[0] + 1.0

    step()
    assert np.array_equal(made[0].numpy(), of_path("inside"))


def test_by_hand_the_first_call_has_the_stream_of_the_seed_and_none_repeats():
    init = fwt.xavier_initializer(seed=3)
    first, second, third = (tf.Variable(init(SHAPE)).numpy() for _ in range(3))
    assert np.array_equal(first, GLOROT(SHAPE, key=3))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / math.sqrt(first.size)
    assert abs(np.corrcoef(second.ravel(), third.ravel())[0, 1]) < 5 / math.sqrt(first.size)
    assert np.array_equal(fwt.xavier_initializer(seed=3)(SHAPE).numpy(), first)


# What it draws.


@pytest.mark.parametrize(
    ("uniform", "law"), [(True, scipy.stats.uniform(-1, 2)), (False, scipy.stats.truncnorm(-2, 2))]
)
def test_xavier_follows_its_law(uniform, law):
    values = fwt.xavier_initializer(uniform, seed=0)((300, 500)).numpy().ravel()
    std = math.sqrt(2 / 800)
    assert follows(values / std * law.std(), law)
    assert not follows(values / std * law.std() * 1.02, law)


@pytest.mark.parametrize(("mode", "fan"), [("FAN_IN", 9 * 16), ("FAN_OUT", 9 * 64), ("FAN_AVG", 9 * 40)])
def test_variance_scaling_counts_a_convolution(mode, fan):
    init = fwt.variance_scaling_initializer(2.0, mode, True, seed=0)
    values = init((3, 3, 16, 64)).numpy()
    limit = math.sqrt(6 / fan)
    assert np.abs(values).max() <= limit
    assert abs(values.std() / (limit / math.sqrt(3)) - 1) < 5 * math.sqrt(0.2 / values.size)


def test_defaults_are_the_historical_ones():
    assert fwt.xavier_initializer().law == GLOROT
    assert fwt.xavier_initializer(False).law == VarianceScaling(1.0, "fan_avg", "truncated_normal")
    assert fwt.xavier_initializer_conv2d is fwt.xavier_initializer
    assert fwt.variance_scaling_initializer().law == VarianceScaling(2.0, "fan_in", "truncated_normal")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_dtypes(dtype):
    init = fwt.Law("he_normal", seed=1, dtype=dtype)
    assert init((30, 20)).dtype == tf.as_dtype(dtype)
    expected = fanwise.he_normal((30, 20), key=1, dtype=dtype)
    assert fwt.Law("he_normal", seed=1)((30, 20), dtype).numpy().tobytes() == expected.tobytes()


def test_a_layout_decides_the_fans():
    init = fwt.Law("he_normal", Layout.conv_transpose("kernel kernel out in", stride=2), seed=0)
    values = init((4, 4, 16, 256)).numpy()
    assert abs(values.std() / math.sqrt(2 / (4 * 256)) - 1) < 5 / math.sqrt(2 * values.size)


def test_the_global_seed_governs_unseeded_ones():
    def pair():
        tf.random.set_seed(5)
        return fwt.xavier_initializer().seed, fwt.xavier_initializer().seed

    assert pair() == pair()
    assert len(set(pair())) == 2
    tf.random.set_seed(6)
    assert fwt.xavier_initializer().seed not in pair()


def test_configurations_copies_and_pickles():
    init = fwt.xavier_initializer(False)
    for other in (fwt.Law.from_config(init.get_config()), pickle.loads(pickle.dumps(init)), copy.deepcopy(init)):
        assert np.array_equal(other(SHAPE).numpy(), init.law(SHAPE, key=init.seed))


def test_a_configuration_holds_the_layout_and_the_key():
    layout = Layout.conv_transpose("kernel kernel out in", stride=2)
    init = fwt.Law("he_normal", layout, seed=Key(3, "net"), dtype="float16")
    other = fwt.Law.from_config(json.loads(json.dumps(init.get_config())))
    assert (other.law, other.layout, other.dtype) == (init.law, layout, tf.float16)
    assert np.array_equal(other((4, 4, 8, 8)).numpy(), init((4, 4, 8, 8)).numpy())


# What it refuses.


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (ValueError, lambda: fwt.variance_scaling_initializer(float("nan"))),
        (ValueError, lambda: fwt.variance_scaling_initializer(-1.0)),
        (TypeError, lambda: fwt.variance_scaling_initializer("2")),
        (ValueError, lambda: fwt.variance_scaling_initializer(mode="FAN_SUM")),
        (TypeError, lambda: fwt.variance_scaling_initializer(mode=["FAN_IN"])),
        (TypeError, lambda: fwt.xavier_initializer("yes")),
        (TypeError, lambda: fwt.xavier_initializer(dtype=tf.int32)),
        (TypeError, lambda: fwt.xavier_initializer(dtype="float99")),
        (TypeError, lambda: fwt.xavier_initializer(seed=1.5)),
        (TypeError, lambda: fwt.xavier_initializer(seed=True)),
        (TypeError, lambda: fwt.xavier_initializer(seed="42")),
        (ValueError, lambda: fwt.xavier_initializer(seed=-1)),
        (TypeError, lambda: fwt.Law(3)),
        (TypeError, lambda: fwt.Law("he_normal", "in out")),
    ],
)
def test_bad_arguments_are_refused_when_made(error, make):
    with pytest.raises(error, match="="):
        make()


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match="initializer 'he_norm': expected one of zeros, ones"):
        fwt.Law("he_norm")


@pytest.mark.parametrize(
    ("error", "shape"),
    [
        (ValueError, (-1, 3)),
        (TypeError, (3.5, 2)),
        (TypeError, (None, 3)),
        (TypeError, "34"),
        (ValueError, tf.TensorShape([None, 3])),
        (MemoryError, (1 << 21, 1 << 21)),
    ],
)
def test_bad_shapes_are_refused(error, shape):
    with pytest.raises(error):
        fwt.xavier_initializer(seed=0)(shape)


def test_shapes_that_only_the_graph_knows_are_refused():
    @tf.function(input_signature=[tf.TensorSpec([2], tf.int32)])
    def draw(shape):
        return fwt.xavier_initializer(seed=0)(shape)

    with pytest.raises(ValueError, match="known when the graph is made"):
        draw(tf.constant([3, 4]))


def test_names_of_tensorflow_1_say_where_they_went():
    with pytest.raises(AttributeError, match=r"no tf\.get_variable.*tf\.compat\.v1\.get_variable"):
        _ = fwt.get_variable
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fwt.nonsense
    with pytest.raises(ImportError, match=r"needs TensorFlow 2\.16 or later, this is 1\.15\.5"):
        check_version("1.15.5")


def in_scope(name, init, **part):
    with tf.name_scope(name):
        return init((10, 4), **part).numpy()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_parts_of_a_variable_of_tensorflow_2_are_boxes_of_the_whole(order):
    """As `ParameterServerStrategy` asks for them: a scope and an offset for each part."""
    init, parts = fwt.Law("he_normal", seed=3), {}
    for number in order:
        where = {"partition_shape": (5, 4), "partition_offset": (5 * number, 0)}
        parts[number] = in_scope(f"W/part_{number}/", init, **where)
    whole = fanwise.he_normal((10, 4), key=fanwise.Key(3).child("W"))
    assert np.array_equal(np.concatenate([parts[0], parts[1]]), whole)
    assert not np.array_equal(in_scope("V/part_0/", init, partition_shape=(5, 4), partition_offset=(0, 0)), whole[:5])


def test_parts_without_a_name_belong_to_the_variable_that_was_begun_last():
    init = fwt.Law("he_normal", seed=3)
    parts = [init((10, 4), partition_shape=(5, 4), partition_offset=(at, 0)).numpy() for at in (0, 5, 0, 5)]
    assert np.array_equal(np.concatenate(parts[:2]), fanwise.he_normal((10, 4), key=3))
    assert not np.array_equal(parts[0], parts[2])
    assert not np.array_equal(parts[1], parts[3])


@pytest.mark.parametrize("part", [{"partition_shape": (5, 4)}, {"partition_offset": (5, 0)}])
def test_half_of_a_part_is_refused(part):
    with pytest.raises(ValueError, match="expected both, where a part begins and its shape"):
        fwt.Law("he_normal", seed=3)((10, 4), **part)


@pytest.mark.parametrize("make", [fwt.xavier_initializer, fwt.variance_scaling_initializer])
def test_fans_of_vectors_and_numbers_are_those_of_tensorflow(make):
    """Both fans are the length, 1 for a number: five standard errors of the std of 4000 numbers."""
    factor = {fwt.xavier_initializer: 1.0, fwt.variance_scaling_initializer: 2.0}[make]
    drawn = make(seed=0)((4000,)).numpy()
    assert abs(drawn.std() / math.sqrt(factor / 4000) - 1) < 5 * math.sqrt(0.5 / 4000)
    assert make(seed=0)(()).shape == ()
