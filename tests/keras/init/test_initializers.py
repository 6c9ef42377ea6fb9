"""The drop-in's interface is Keras'; its numbers are the stream's, on every backend."""

import copy
import inspect
import json
import math
import pickle
import zipfile

import numpy as np
import pytest
import scipy.signal
import scipy.stats
from statistics_of import follows

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

import fanwise  # noqa: E402
from fanwise import Key, Layout  # noqa: E402
from fanwise.keras import initializers  # noqa: E402
from fanwise.keras.init.base import Drawn  # noqa: E402
from fanwise.keras.trace.backend import check_version  # noqa: E402

THEIRS = keras.initializers
NAMES = [name for name in dir(THEIRS) if not name.startswith("_")]
CLASSES = [name for name, entry in initializers.INITIALIZERS.items() if name != "Law"]
RANDOM = [name for name in CLASSES if issubclass(initializers.INITIALIZERS[name].make, Drawn)]
SHAPES = {"STFT": (16, 1, 9)}
DTYPES = ("float32", "float16", "bfloat16")
BACKEND = keras.config.backend()
every_class = pytest.mark.parametrize("name", CLASSES)
every_random = pytest.mark.parametrize("name", RANDOM)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def ours(name, **arguments):
    return getattr(initializers, name)(**arguments)


def example(name):
    return copy.deepcopy(initializers.INITIALIZERS[name].example)


def shape_for(name):
    return SHAPES.get(name, (60, 40))


# The interface.


def test_the_public_names_are_keras_and_law():
    assert sorted(set(NAMES)) == sorted(set(initializers.__all__) - {"INITIALIZERS", "Entry", "Law"})
    for name in NAMES:
        assert callable(getattr(initializers, name))


@every_class
def test_signatures_are_keras(name):
    def parameters(cls):
        found = inspect.signature(cls.__init__).parameters.values()
        return [(p.name, p.default) for p in found if p.name not in ("self", "args", "kwargs")]

    assert parameters(getattr(initializers, name)) == parameters(getattr(THEIRS, name))


@every_class
def test_classes_are_kinds_of_keras_own(name):
    assert isinstance(example(name), getattr(THEIRS, name))
    for alias in initializers.INITIALIZERS[name].names:
        assert getattr(initializers, alias) is getattr(initializers, name)
        assert getattr(THEIRS, alias) is getattr(THEIRS, name)


@pytest.mark.parametrize("name", ["normal", "uniform", "zero", "one", "he_normal", "HeNormal", "orthogonal"])
def test_get_knows_what_keras_knows(name):
    assert isinstance(initializers.get(name), type(THEIRS.get(name)))


def test_get_takes_the_rest():
    assert initializers.get(None) is None
    assert isinstance(initializers.get(initializers.Zeros), initializers.Zeros)
    law = initializers.get({"class_name": "HeNormal", "config": {"seed": 3}})
    assert type(law) is initializers.HeNormal
    assert law.seed == 3
    with pytest.raises(ValueError, match=r"initializer 'he_norm': expected one of Zeros, zeros"):
        initializers.get("he_norm")


# What it draws.


@every_random
def test_a_variable_has_the_stream_of_its_path(name):
    layer = keras.layers.Dense(40, kernel_initializer=ours(name, seed=7), name="mine")
    layer.build((None, 60))
    expected = ours(name, seed=Key(7, "mine/kernel"))((60, 40))
    assert np.array_equal(array(layer.kernel), array(expected))


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("RandomNormal", lambda key, shape, dtype: fanwise.Normal(0.05)(shape, key=key, dtype=dtype)),
        ("GlorotUniform", lambda key, shape, dtype: fanwise.glorot_uniform(shape, key=key, dtype=dtype)),
        ("LecunUniform", lambda key, shape, dtype: fanwise.lecun_uniform(shape, key=key, dtype=dtype)),
        (
            "HeNormal",
            lambda key, shape, dtype: fanwise.VarianceScaling(2.0, "fan_in", "truncated_normal")(
                shape, key=key, dtype=dtype
            ),
        ),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_numbers_are_those_of_the_core(name, law, dtype):
    drawn = ours(name, seed=5)((60, 40), dtype=dtype)
    assert keras.backend.standardize_dtype(drawn.dtype) == dtype
    assert array(drawn).tobytes() == law(5, (60, 40), dtype).tobytes()


def test_float64_is_whole_or_refused():
    init = initializers.HeNormal(seed=1)
    if BACKEND == "jax":
        with pytest.raises(ValueError, match="jax_enable_x64"):
            init((60, 40), "float64")
        return
    law = fanwise.VarianceScaling(2.0, "fan_in", "truncated_normal")
    assert np.array_equal(array(init((60, 40), "float64")), law((60, 40), key=1, dtype="float64"))


@pytest.mark.parametrize(
    ("name", "law", "std"),
    [
        ("RandomNormal", scipy.stats.norm(), 0.05),
        ("TruncatedNormal", scipy.stats.truncnorm(-2, 2), 0.05 * scipy.stats.truncnorm(-2, 2).std()),
        ("RandomUniform", scipy.stats.uniform(-1, 2), 0.05 / math.sqrt(3)),
        ("GlorotNormal", scipy.stats.truncnorm(-2, 2), math.sqrt(2 / (300 + 400))),
        ("GlorotUniform", scipy.stats.uniform(-1, 2), math.sqrt(2 / (300 + 400))),
        ("HeNormal", scipy.stats.truncnorm(-2, 2), math.sqrt(2 / 300)),
        ("HeUniform", scipy.stats.uniform(-1, 2), math.sqrt(2 / 300)),
        ("LecunNormal", scipy.stats.truncnorm(-2, 2), math.sqrt(1 / 300)),
        ("LecunUniform", scipy.stats.uniform(-1, 2), math.sqrt(1 / 300)),
    ],
)
def test_each_follows_keras_law(name, law, std):
    values = array(ours(name, seed=0)((300, 400))).ravel().astype(np.float64)
    assert follows(values / std * law.std(), law)
    assert not follows(values / std * law.std() * 1.03, law)


@every_class
def test_the_spread_is_that_of_keras_own(name):
    arguments = {"seed": 0} if name in RANDOM else {}
    shape = SHAPES.get(name, (3, 3, 32, 64)) if name != "Identity" else (20, 30)
    own, other = array(ours(name, **arguments)(shape)), array(getattr(THEIRS, name)(**arguments)(shape))
    if name in RANDOM:
        assert abs(own.std() / other.std() - 1) < 10 / math.sqrt(2 * own.size)
        assert abs(own.mean() - other.mean()) < 10 * other.std() / math.sqrt(own.size)
    else:
        np.testing.assert_allclose(own, other, atol=2e-6)


def test_orthogonal_columns_and_rows():
    for shape in ((30, 10), (10, 30), (3, 3, 4, 20)):
        values = array(initializers.Orthogonal(2.0, seed=0)(shape)).reshape(-1, shape[-1]).astype(np.float64)
        sizes = np.linalg.svd(values, compute_uv=False)
        np.testing.assert_allclose(sizes, 2.0, atol=32 * math.sqrt(36) * np.finfo(np.float32).eps)


@pytest.mark.parametrize("scaling", ["density", "spectrum", None])
@pytest.mark.parametrize("side", ["real", "imag"])
def test_stft_is_a_windowed_fourier_transform(side, scaling):
    kernel = array(initializers.STFT(side, "hann", scaling, True)((16, 1, 9))).reshape(16, 9)
    window = scipy.signal.get_window("hann", 16)
    window = window / {"density": np.sqrt((window**2).sum()), "spectrum": window.sum(), None: 1.0}[scaling]
    signal = np.random.default_rng(0).normal(size=16)
    transform = np.fft.rfft(signal * window)
    np.testing.assert_allclose(signal @ kernel, getattr(transform, side), atol=1e-5)


def test_axes_of_an_einsum_decide_the_fans():
    values = array(initializers.LecunNormal(seed=0, input_axes=[0], output_axes=[1, 2])((512, 8, 64)))
    assert abs(values.std() * math.sqrt(512) - 1) < 5 / math.sqrt(2 * values.size)
    layer = keras.layers.MultiHeadAttention(8, 64, kernel_initializer=initializers.LecunNormal(seed=0), name="mha")
    layer.build((None, 7, 512), (None, 7, 512))
    query, key, value = (
        array(weight) for weight in layer.trainable_variables if weight.name == "kernel" and weight.shape[0] == 512
    )
    for kernel in (query, key, value):
        assert abs(kernel.std() * math.sqrt(512) - 1) < 5 / math.sqrt(2 * kernel.size)
    assert abs(np.corrcoef(query.ravel(), key.ravel())[0, 1]) < 5 / math.sqrt(query.size)
    assert abs(np.corrcoef(key.ravel(), value.ravel())[0, 1]) < 5 / math.sqrt(query.size)


def test_the_shape_of_a_variable_is_a_shape():
    layer = keras.layers.Dense(4, name="d")
    layer.build((None, 3))  # on TensorFlow its shape is no tuple
    assert array(initializers.HeNormal(seed=0)(layer.kernel.shape)).shape == (3, 4)
    with pytest.raises(TypeError, match="None"):
        initializers.HeNormal(seed=0)(keras.Input((3,)).shape)


# Streams.


def test_a_shared_object_gives_different_layers_different_weights():
    shared = initializers.HeNormal(seed=0)
    layers = [keras.layers.Dense(30, kernel_initializer=shared, name=f"own_{i}") for i in range(3)]
    for layer in layers:
        layer.build((None, 50))
    first, second, third = (array(layer.kernel).ravel() for layer in layers)
    for one, other in ((first, second), (second, third), (first, third)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(one.size)


def test_keras_own_repeats_them():
    shared = THEIRS.HeNormal(seed=0)  # the mutant of the test above
    layers = [keras.layers.Dense(30, kernel_initializer=shared) for _ in range(2)]
    for layer in layers:
        layer.build((None, 50))
    assert np.array_equal(array(layers[0].kernel), array(layers[1].kernel))


class Lazy(keras.Model):
    """Builds its layers inside a symbolic call, so that Keras makes their variables later."""

    def __init__(self, initializer):
        super().__init__(name="lazy")
        self.first = keras.layers.Dense(30, kernel_initializer=initializer, name="first")
        self.second = keras.layers.Dense(30, kernel_initializer=initializer, name="second")

    def call(self, x):
        return self.second(self.first(x))


def test_variables_that_keras_makes_later_have_the_stream_of_their_paths():
    model = Lazy(initializers.GlorotUniform(seed=3))
    outer = keras.Sequential([keras.Input((30,)), model])
    assert outer.count_params() == 2 * 930
    for layer in (model.first, model.second):
        expected = fanwise.glorot_uniform((30, 30), key=Key(3, layer.kernel.path))
        assert np.array_equal(array(layer.kernel), expected)
        assert layer.kernel.path.endswith(f"lazy/{layer.name}/kernel")


def test_adding_a_layer_moves_no_other():
    def kernels(*names):
        layers = [keras.layers.Dense(8, kernel_initializer=initializers.HeNormal(seed=0), name=n) for n in names]
        model = keras.Sequential([keras.Input((8,)), *layers], name="model")
        return {layer.name: array(layer.kernel) for layer in model.layers}

    short, long = kernels("a", "c"), kernels("a", "b", "c")
    for name in short:
        assert np.array_equal(short[name], long[name])


@every_random
def test_calls_by_hand_never_repeat(name):
    init = ours(name, seed=0)
    first, second = (array(init((60, 40))) for _ in range(2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / math.sqrt(first.size)
    assert np.array_equal(array(ours(name, seed=0)((60, 40))), first)


def test_unseeded_ones_differ_and_keras_seed_governs_them():
    def pair():
        keras.utils.set_random_seed(4)
        return initializers.HeNormal().seed, initializers.HeNormal().seed

    assert pair() == pair()
    assert len({*pair(), initializers.HeNormal().seed}) == 3


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32, 2**63, 2**64, 2**127, np.int64(7), np.uint64(2**63 + 5)])
def test_edge_seeds_have_their_own_streams(seed):
    values = array(initializers.RandomNormal(seed=seed)((64,)))
    assert np.array_equal(values, fanwise.Normal(0.05)((64,), key=int(seed)))


def test_a_seed_generator_moves_on():
    generator = keras.random.SeedGenerator(3)
    init = initializers.HeNormal(seed=generator)
    first, second = (array(init((60, 40))) for _ in range(2))
    assert not np.array_equal(first, second)
    again = initializers.HeNormal(seed=keras.random.SeedGenerator(3))
    assert np.array_equal(array(again((60, 40))), first)
    copied = initializers.HeNormal.from_config(init.get_config())
    assert isinstance(copied.seed, keras.random.SeedGenerator)


def test_a_key_is_a_seed():
    init = initializers.HeNormal(seed=Key(3, "encoder"))
    copied = initializers.HeNormal.from_config(json.loads(json.dumps(init.get_config())))
    assert copied.seed == Key(3, "encoder")
    assert np.array_equal(array(copied((9, 9))), array(init((9, 9))))


def test_an_old_keras_is_refused():
    with pytest.raises(ImportError, match=r"fanwise\.keras needs Keras 3\.15 or later, this is 2\.15\.0"):
        check_version("2.15.0")


# Configurations.


@every_class
def test_configurations_round_trip(name):
    arguments = {} if name not in RANDOM else {"seed": None}
    init = ours(name, **arguments)
    config = json.loads(json.dumps(init.get_config()))
    made = type(init).from_config(config)
    serialized = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(init))
    shape = shape_for(name)
    values = array(init(shape))
    for other in (made, serialized, init.clone() if name not in RANDOM else made, pickle.loads(pickle.dumps(made))):
        assert type(other) is type(init)
        assert other.get_config() == config
    for other in (made, serialized):
        assert np.array_equal(array(other(shape)), values)


def test_a_law_and_its_layout_round_trip():
    layout = Layout.conv_transpose("kernel kernel out in", stride=2)
    laws = [fanwise.he_normal, fanwise.ICNR(fanwise.he_normal, 4, "outer"), fanwise.Orthogonal(1.5)]
    for law in laws:
        init = initializers.Law(law, layout, seed=2)
        other = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(init))))
        assert (other.law, other.layout, other.seed) == (law, layout, 2)
    fused = initializers.Law("glorot_uniform", Layout.dense("in out").fuse(1, 4), seed=2)
    assert initializers.Law.from_config(fused.get_config()).layout == fused.layout


def model_with(*inits):
    layers = [keras.layers.Dense(6, kernel_initializer=init, name=f"d{i}") for i, init in enumerate(inits)]
    return keras.Sequential([keras.Input((6,)), *layers])


def test_keras_files_hold_them(tmp_path):
    inits = [example(name) for name in CLASSES if name != "STFT"] + [initializers.Law("he_normal", seed=4)]
    model = model_with(*inits)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for before, after in zip(model.layers, loaded.layers, strict=True):
        assert type(after.kernel_initializer) is type(before.kernel_initializer)
        assert after.kernel_initializer.get_config() == before.kernel_initializer.get_config()
        assert np.array_equal(array(before.kernel), array(after.kernel))


def test_a_file_of_a_later_stream_is_refused(tmp_path):
    path, later = tmp_path / "model.keras", tmp_path / "later.keras"
    model_with(initializers.HeNormal(seed=0)).save(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(later, "w") as new:
        for item in old.namelist():
            data = old.read(item)
            if item == "config.json":
                assert b'"stream": 1' in data
                data = data.replace(b'"stream": 1', b'"stream": 2')
            new.writestr(item, data)
    with pytest.raises((ValueError, TypeError), match=r"version 2 of fanwise's stream.*pip install -U fanwise"):
        keras.saving.load_model(later)


def test_an_initializer_in_words():
    assert repr(initializers.HeNormal(seed=3)) == "HeNormal(seed=3)"
    assert repr(initializers.Constant(0.5)) == "Constant(value=0.5)"
    assert repr(initializers.Zeros()) == "Zeros()"


def test_unknown_keys_are_refused():
    with pytest.raises(TypeError, match="HeNormal has no parameter 'scala': it takes seed, input_axes, output_axes"):
        initializers.HeNormal.from_config({"scala": 2.0})


# What it refuses.

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("error", "name", "arguments"),
    [
        *(
            (ValueError, name, {"stddev": bad})
            for name in ("RandomNormal", "TruncatedNormal")
            for bad in (-1.0, NAN, INF)
        ),
        *((TypeError, "RandomNormal", {"stddev": bad}) for bad in ("0.02", None, 1j, [0.1, 0.2], True)),
        (ValueError, "RandomNormal", {"mean": NAN}),
        (ValueError, "TruncatedNormal", {"mean": NAN}),
        (ValueError, "RandomUniform", {"minval": 1.0, "maxval": -1.0}),
        (ValueError, "RandomUniform", {"minval": NAN}),
        (ValueError, "RandomUniform", {"maxval": INF}),
        (ValueError, "VarianceScaling", {"scale": NAN}),
        (ValueError, "VarianceScaling", {"scale": INF}),
        (ValueError, "VarianceScaling", {"scale": -1.0}),
        (ValueError, "VarianceScaling", {"scale": 0.0}),
        (ValueError, "VarianceScaling", {"mode": "fan_sum"}),
        (TypeError, "VarianceScaling", {"mode": ["fan_in"]}),
        (ValueError, "VarianceScaling", {"distribution": "cauchy"}),
        (TypeError, "VarianceScaling", {"distribution": 3}),
        (ValueError, "VarianceScaling", {"input_axes": [0]}),
        (ValueError, "HeNormal", {"output_axes": [0]}),
        (TypeError, "HeNormal", {"input_axes": "01", "output_axes": [0]}),
        (ValueError, "Orthogonal", {"gain": NAN}),
        (ValueError, "Identity", {"gain": NAN}),
        (ValueError, "Constant", {"value": NAN}),
        (TypeError, "Constant", {"value": "abc"}),
        (TypeError, "Constant", {"value": ["1", "2"]}),
        (ValueError, "Constant", {"value": [1.0, NAN]}),
        (ValueError, "STFT", {"side": "left"}),
        (ValueError, "STFT", {"scaling": "loud"}),
        (ValueError, "STFT", {"window": "no_such_window"}),
        *((TypeError, "HeNormal", {"seed": bad}) for bad in (NAN, 1.5, "42", True, np.random.default_rng(0), [1, 2])),
        (ValueError, "HeNormal", {"seed": -1}),
        (ValueError, "HeNormal", {"seed": np.int8(-1)}),
        (ValueError, "HeNormal", {"seed": 2**128}),
        (ValueError, "Law", {"law": "he_norm"}),
        (TypeError, "Law", {"law": 3}),
        (TypeError, "Law", {"law": "he_normal", "layout": 3}),
    ],
)
def test_bad_arguments_are_refused_when_made(error, name, arguments):
    with pytest.raises(error):
        getattr(initializers, name)(**arguments)


@pytest.mark.parametrize(
    ("error", "name", "shape"),
    [
        (ValueError, "HeNormal", (-1, 3)),
        (TypeError, "HeNormal", (3.5, 4)),
        (TypeError, "HeNormal", (None, 4)),
        (TypeError, "HeNormal", "34"),
        (ValueError, "Orthogonal", (10,)),
        (ValueError, "Identity", (3, 3, 3)),
        (ValueError, "STFT", (16, 2, 9)),
        (ValueError, "RandomNormal", (1 << 32, 1 << 32)),
        (MemoryError, "RandomNormal", (1 << 21, 1 << 21)),
    ],
)
def test_bad_shapes_are_refused(error, name, shape):
    with pytest.raises(error):
        getattr(initializers, name)()(shape)


@pytest.mark.parametrize("axes", [([0], [5]), ([0, -4], [1]), ([0], [0, 1])])
def test_axes_that_do_not_fit_are_refused(axes):
    with pytest.raises(ValueError, match=r"ax[ie]s"):
        initializers.HeNormal(input_axes=axes[0], output_axes=axes[1])((3, 4, 5))


@every_random
@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64", "float8_e4m3fn", "float33", "string"])
def test_dtypes_without_weights_are_refused(name, dtype):
    with pytest.raises(TypeError, match="expected one of float64, float32, float16, bfloat16"):
        ours(name)((6, 4), dtype)


@pytest.mark.parametrize(
    ("name", "arguments", "dtype"),
    [
        ("Constant", {"value": 1e40}, "float32"),
        ("Constant", {"value": [1.0, 2.0, 3.0, 1e40]}, "float32"),
        ("Constant", {"value": [1.0, 2.0, 3.0, 0.5]}, "int32"),
        ("Constant", {"value": 300}, "uint8"),
        ("Constant", {"value": 0.5}, "int32"),
        ("RandomNormal", {"stddev": 1e39}, "float32"),
        ("RandomNormal", {"stddev": 70000.0}, "float16"),
        ("RandomNormal", {"stddev": 1e-9}, "float16"),
    ],
)
def test_numbers_that_the_dtype_cannot_hold_are_refused(name, arguments, dtype):
    with pytest.raises(ValueError, match="="):
        getattr(initializers, name)(**arguments)((6, 4), dtype)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float16"])
def test_constants_in_other_dtypes(dtype):
    assert array(initializers.Ones()((2, 3), dtype)).tolist() == np.ones((2, 3), np.dtype(dtype)).tolist()
    assert array(initializers.Zeros()((2, 3), dtype)).tolist() == np.zeros((2, 3), np.dtype(dtype)).tolist()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_shapes_are_empty(shape):
    for name in ("HeNormal", "GlorotUniform", "Orthogonal", "RandomNormal"):
        assert array(ours(name, seed=0)(shape)).shape == shape


def test_layouts_need_jax():
    if BACKEND != "jax":
        with pytest.raises(ValueError, match="has no layouts, JAX has"):
            initializers.HeNormal()((4, 8), layout=object())
    else:
        with pytest.raises(TypeError, match=r"expected a keras\.distribution\.TensorLayout"):
            initializers.HeNormal()((4, 8), layout=object())


def test_each_device_draws_its_own_part():
    if BACKEND != "jax":
        return
    import jax  # noqa: PLC0415

    mesh = keras.distribution.DeviceMesh((1, len(jax.devices())), ["batch", "model"])
    drawn = []

    class Watched(initializers.HeNormal):
        def _draw(self, place, box):
            drawn.append(box.shape)
            return super()._draw(place, box)

    layout = keras.distribution.TensorLayout((None, "model"), mesh)
    values = Watched(seed=0)((16, 32), layout=layout)
    whole = fanwise.VarianceScaling(2.0, "fan_in", "truncated_normal")((16, 32), key=0)
    assert np.array_equal(array(values), whole)
    assert set(drawn) == {(16, 32 // len(jax.devices()))}
    layouts = keras.distribution.LayoutMap(mesh)
    layouts["mine/kernel"] = layout
    with keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch").scope():
        layer = keras.layers.Dense(32, kernel_initializer=Watched(seed=3), name="mine")
        layer.build((None, 16))
    expected = array(initializers.HeNormal(seed=Key(3, "mine/kernel"))((16, 32)))
    assert np.array_equal(array(layer.kernel), expected)
    assert layer.kernel.value.sharding.spec == jax.sharding.PartitionSpec(None, "model")


@pytest.mark.parametrize("name", ["GlorotUniform", "HeNormal", "LecunUniform", "VarianceScaling"])
@pytest.mark.parametrize("shape", [(), (4000,)])
def test_fans_of_vectors_and_numbers_are_those_of_keras(name, shape):
    """Both fans are the length, 1 for a number: five standard errors of the std of 4000 numbers."""
    ours_drawn, theirs = array(ours(name, seed=0)(shape)), array(getattr(THEIRS, name)(seed=0)(shape))
    assert ours_drawn.shape == theirs.shape
    if shape:
        assert abs(ours_drawn.std() / theirs.std() - 1) < 5 * math.sqrt(2 / shape[0])
        assert abs(1.05 * ours_drawn.std() / theirs.std() - 1) > 0.01


def test_a_negative_gain_turns_the_matrix():
    assert np.array_equal(
        array(ours("Orthogonal", gain=-2.0, seed=0)((4, 3))), -array(ours("Orthogonal", gain=2.0, seed=0)((4, 3)))
    )
