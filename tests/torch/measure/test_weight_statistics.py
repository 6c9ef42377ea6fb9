"""What is said of a parameter's numbers is what NumPy and SciPy say."""

import math

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from fanwise.laws.layout import Layout  # noqa: E402
from fanwise.torch.measure import taps  # noqa: E402
from fanwise.torch.measure import weight_statistics as weighing  # noqa: E402
from fanwise.torch.measure.observe import observe  # noqa: E402
from fanwise.torch.measure.weight_statistics import values_of  # noqa: E402
from fanwise.torch.trace.run import Inputs  # noqa: E402

from ..traced import Wrapped, normal  # noqa: E402

DENSE = Layout.dense("out in")
CONV = Layout.conv("out in kernel kernel")
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)
SAMPLES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "uniform": lambda rng, n: rng.uniform(-0.3, 0.3, n),
    "shifted": lambda rng, n: 1 + 1e-3 * rng.standard_normal(n),
    "heavy": lambda rng, n: rng.standard_t(5, n),
    "sparse": lambda rng, n: rng.standard_normal(n) * (rng.random(n) < 0.2),
    "tiny": lambda rng, n: 1e-22 * rng.standard_normal(n),
    "huge": lambda rng, n: 1e25 * rng.standard_normal(n),
}


def numbers(name, *shape, seed=0):
    """A float32 tensor, and its values in double precision."""
    drawn = SAMPLES[name](np.random.default_rng(seed), math.prod(shape)).reshape(shape).astype(np.float32)
    return torch.from_numpy(drawn), drawn.astype(np.float64)


@pytest.mark.parametrize("shape", [(48, 80), (16, 8, 3, 3), (500,), (300, 400)])
@pytest.mark.parametrize("name", SAMPLES)
def test_moments_are_those_of_numpy(name, shape):
    tensor, exact = numbers(name, *shape)
    found = values_of("w", tensor)
    assert found.count == exact.size
    scale = np.abs(exact).max()
    assert found.mean == pytest.approx(exact.mean(), rel=1e-6, abs=1e-7 * scale)
    assert found.second_moment == pytest.approx(np.mean(exact**2), rel=1e-6)
    assert found.std == pytest.approx(exact.std(), rel=1e-5 if exact.size <= taps.MOST or name != "shifted" else 0.05)
    assert found.kurtosis == pytest.approx(stats.kurtosis(exact, axis=None, fisher=False), rel=1e-5)
    assert found.largest == pytest.approx(scale, rel=1e-7)
    assert found.zeros == pytest.approx(np.mean(exact == 0), abs=1e-7)
    assert sum(found.histogram) == exact.size
    edges = np.linspace(-scale, scale, weighing.BINS + 1)
    assert np.abs(np.array(found.histogram) - np.histogram(exact, edges)[0]).max() <= 2  # at the edges float32 rounds
    assert not found.constant
    assert found.infinite == 0


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_float_dtype_is_weighed_as_its_values_are(dtype):
    tensor = (normal(40, 96) * 0.1).to(dtype)
    exact = tensor.double().numpy()
    found = values_of("w", tensor, DENSE)
    assert found.mean == pytest.approx(exact.mean(), abs=1e-8)
    assert found.second_moment == pytest.approx(np.mean(exact**2), rel=1e-6)
    assert found.kurtosis == pytest.approx(stats.kurtosis(exact, axis=None, fisher=False), rel=1e-5)
    assert found.zeros == pytest.approx(np.mean(exact == 0), abs=1e-7)
    assert found.overlap == pytest.approx(overlap(exact), rel=1e-5)


@pytest.mark.parametrize("shape", [(1 << 24,), (1 << 15, 1 << 9)])
def test_the_sum_of_many_squares_does_not_stand_still(shape):
    tensor = torch.ones(shape)
    tensor[0] = 1.5
    exact = 1 + 1.25 * (1 if len(shape) == 1 else shape[1]) / tensor.numel()
    found = values_of("w", tensor).second_moment
    assert found == pytest.approx(exact, rel=1e-6)
    naive = float(torch.linalg.vector_norm(tensor)) ** 2 / tensor.numel()
    assert abs(naive - exact) > abs(found - exact)


@pytest.mark.parametrize("name", ["normal", "uniform", "sparse"])
def test_a_sampled_kurtosis_is_that_of_the_whole(name):
    tensor, exact = numbers(name, 700, 900)
    centred = (exact - exact.mean()) / exact.std()
    influence = centred**4 - 2 * np.mean(centred**4) * centred**2  # the delta method
    error = 5 * influence.std() / math.sqrt(taps.MOST // 2)
    kurtosis = np.mean(centred**4)
    assert abs(values_of("w", tensor).kurtosis - kurtosis) < error
    assert abs(values_of("w", numbers("heavy", 700, 900)[0]).kurtosis - kurtosis) > error


def test_views_are_weighed_as_their_values_are():
    base, exact = numbers("normal", 60, 40, 6)
    for view, values in (
        (base.permute(2, 0, 1), exact.transpose(2, 0, 1)),
        (base[::3, 1::2], exact[::3, 1::2]),
        (base[:, :, 2], exact[:, :, 2]),
    ):
        found, copied = values_of("w", view), values_of("w", view.contiguous())
        assert found.second_moment == pytest.approx(np.mean(values**2), rel=1e-6)
        assert found.overlap == pytest.approx(copied.overlap, rel=1e-6)
        assert found.parts == pytest.approx(copied.parts, rel=1e-6)


# Values that are no ordinary numbers


def test_infinities_are_counted_and_left_out():
    tensor, exact = numbers("normal", 50, 40)
    tensor[0, :10], tensor[1, :5], tensor[2, :5] = math.nan, math.inf, -math.inf
    rest = np.delete(exact.ravel(), [*range(10), *range(40, 45), *range(80, 85)])
    found = values_of("w", tensor)
    assert found.infinite == pytest.approx(20 / 2000)
    assert found.mean == pytest.approx(rest.mean(), rel=1e-6)
    assert found.second_moment == pytest.approx(np.mean(rest**2), rel=1e-6)
    assert found.largest == pytest.approx(np.abs(rest).max())
    assert not found.constant


@pytest.mark.parametrize("value", [0.0, 1.0, -0.3, 1e-30, 1e30])
def test_equal_values_are_constant(value):
    found = values_of("w", torch.full((30, 40), value))
    assert found.constant
    assert found.std == 0
    assert found.mean == pytest.approx(value, rel=1e-6)
    assert found.zeros == (value == 0)
    assert not values_of("w", torch.full((30, 40), value).index_fill(0, torch.tensor([3]), value + 1e31)).constant


def test_complex_numbers_have_moments():
    tensor = torch.complex(normal(40, 50) + 2, 0.5 * normal(50, 40).T)
    exact = tensor.to(torch.complex128).resolve_conj().numpy()
    found = values_of("w", tensor)
    assert found.second_moment == pytest.approx(np.mean(np.abs(exact) ** 2), rel=1e-6)
    assert found.std == pytest.approx(exact.std(), rel=1e-5)
    assert found.largest == pytest.approx(np.abs(exact).max(), rel=1e-6)
    assert not values_of("w", torch.polar(torch.ones(40, 50), normal(40, 50))).constant


@pytest.mark.parametrize("tensor", [torch.zeros(0, 3), torch.arange(6), torch.ones(4, dtype=torch.bool)])
def test_what_cannot_be_measured_is_nan(tensor):
    found = values_of("w", tensor)
    assert found.count == tensor.numel()
    assert math.isnan(found.mean)
    assert math.isnan(found.second_moment)


def test_one_number_is_constant():
    found = values_of("w", torch.tensor(-2.5))
    assert (found.count, found.mean, found.second_moment, found.constant) == (1, -2.5, 6.25, True)
    assert math.isnan(found.kurtosis)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_sparse_and_quantised_parameters_do_no_harm():
    quantised = torch.quantize_per_tensor(normal(4, 6), 0.1, 0, torch.qint8)
    held = Wrapped(lambda m, x: m.a(x), a=nn.Linear(6, 3))
    held.register_parameter("rare", nn.Parameter(torch.eye(4).to_sparse()))
    held.register_parameter("coarse", nn.Parameter(quantised, requires_grad=False))
    seen = observe(held, Inputs((normal(4, 6),)))
    assert "rare" not in seen.values
    assert math.isnan(seen.values["coarse"].mean)
    assert seen.values["a.weight"].reached


# Units, angles, blocks


def overlap(rows):
    """Of all pairs of the first 64, rows or columns, whichever are fewer."""
    rows = (rows if len(rows) <= rows.shape[1] else rows.T)[: weighing.WIDE]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (rows @ rows.T)[~np.eye(len(rows), dtype=bool)]
    return math.sqrt(np.mean(cosines**2) * rows.shape[1])


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (64, 64), (300, 20), (6, 6)])
def test_overlap_is_the_rms_cosine_of_rows_or_columns(shape):
    tensor, exact = numbers("normal", *shape)
    found = values_of("w", tensor, DENSE).overlap
    assert found == pytest.approx(overlap(exact), rel=1e-5)
    assert found > 0.2
    orthogonal = stats.ortho_group.rvs(max(shape), random_state=0)[: shape[0], : shape[1]].astype(np.float32)
    assert values_of("w", torch.from_numpy(orthogonal), DENSE).overlap < 1e-5
    bent = torch.from_numpy(orthogonal) + 1.0 * tensor / math.sqrt(max(shape))
    assert values_of("w", bent, DENSE).overlap > 0.2 or min(shape) < 10


def test_the_overlap_of_independent_rows_is_one():
    found = [values_of("w", numbers("normal", 64, 256, seed=i)[0], DENSE).overlap for i in range(20)]
    pairs = 64 * 63 / 2 * 20
    assert abs(np.mean(np.square(found)) - 1) < 5 * math.sqrt(2 / pairs)


def test_few_rows_have_no_overlap():
    assert math.isnan(values_of("w", normal(5, 90), DENSE).overlap)
    assert math.isnan(values_of("w", normal(90, 5), DENSE).overlap)
    assert values_of("w", normal(6, 90), DENSE).overlap > 0


def orthogonal(rows, columns, seed=0):
    """Rows, or columns, that are orthonormal."""
    return stats.ortho_group.rvs(max(rows, columns), random_state=seed)[:rows, :columns].astype(np.float32)


MAPS = {
    "experts": (np.stack([orthogonal(32, 48, i) for i in range(4)]), Layout.dense("stack in out")),
    "wide experts": (np.stack([orthogonal(48, 32, i) for i in range(4)]), Layout.dense("stack in out")),
    "fused": (np.concatenate([orthogonal(24, 64, i) for i in range(3)]), DENSE.fuse(0, 3)),
    "fused, uneven": (np.concatenate([orthogonal(n, 64, n) for n in (48, 16, 16)]), DENSE.fuse(0, (48, 16, 16))),
    "conv": (orthogonal(40, 36).reshape(40, 4, 3, 3), CONV),
    "grouped": (
        np.concatenate([orthogonal(16, 36, i) for i in range(4)]).reshape(64, 4, 3, 3),
        Layout.conv("out in kernel kernel", groups=4),
    ),
    "depthwise": (orthogonal(64, 9).reshape(64, 1, 3, 3), Layout.conv("out in kernel kernel", groups=64)),
    "transposed": (orthogonal(32, 144).reshape(32, 16, 3, 3), Layout.conv_transpose("in out kernel kernel")),
}


@pytest.mark.parametrize("name", MAPS)
def test_the_maps_that_a_weight_holds_are_orthogonal_one_by_one(name):
    weight, layout = MAPS[name]
    assert values_of("w", torch.from_numpy(weight), layout).overlap < 1e-5
    drawn = numbers("normal", *weight.shape)[0]
    assert values_of("w", drawn, layout).overlap > 0.5


def test_repeated_units_are_counted():
    tensor, _ = numbers("normal", 40, 300)
    tensor[30:] = tensor[:10]
    tensor[20] = tensor[0]
    exact = 1 - len(np.unique(tensor.numpy(), axis=0)) / 40
    assert exact == 11 / 40
    assert values_of("w", tensor, DENSE).repeated == pytest.approx(exact)
    assert values_of("w", tensor.T.contiguous(), Layout.dense("in out")).repeated == pytest.approx(exact)
    assert values_of("w", tensor.T, Layout.dense("in out")).repeated == pytest.approx(exact)
    assert values_of("w", tensor.reshape(40, 12, 5, 5), CONV).repeated == pytest.approx(exact)
    assert values_of("w", tensor.bfloat16(), DENSE).repeated == pytest.approx(exact)
    tensor[30:, 7] += 1e-6 * (1 + tensor[30:, 7].abs())
    assert values_of("w", tensor, DENSE).repeated == pytest.approx(1 / 40)


def test_rows_of_a_table_repeat_and_a_map_stored_by_its_inputs_has_no_parts():
    tensor = numbers("normal", 8, 16)[0].repeat(4, 1)
    assert values_of("w", tensor, Layout.embedding()).repeated == 0.75
    turned = tensor.reshape(32, 4, 2, 2)
    assert values_of("w", turned, Layout.conv_transpose("in out kernel kernel", groups=4)).parts == ()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sizes", [(30, 30, 30), (60, 15, 15)])
def test_blocks_have_their_own_second_moments(axis, sizes):
    tensor, exact = numbers("normal", 90, 40)
    scale = np.repeat([1.0, 2.0, 5.0], sizes)[:, None].astype(np.float32)
    tensor, exact = tensor * torch.from_numpy(scale), exact * scale
    expected = [np.mean(block**2) for block in np.split(exact, np.cumsum(sizes)[:-1])]
    layout = (DENSE if axis == 0 else Layout.dense("in out")).fuse(axis, sizes)
    found = values_of("w", tensor if axis == 0 else tensor.T.contiguous(), layout)
    assert found.blocks == pytest.approx(expected, rel=1e-6)
    counted = (DENSE if axis == 0 else Layout.dense("in out")).fuse(axis, 3)
    even = values_of("w", tensor if axis == 0 else tensor.T.contiguous(), counted).blocks
    assert even == pytest.approx([np.mean(block**2) for block in np.split(exact, 3)], rel=1e-6)
    assert values_of("w", tensor[:50], DENSE.fuse(0, 3)).blocks == ()


def test_parts_are_eighths_of_the_units():
    tensor, exact = numbers("normal", 43, 30)
    tensor[:6] *= 3
    exact[:6] *= 3
    expected = [np.mean(part**2) for part in np.array_split(exact, 8)]
    assert values_of("w", tensor, DENSE).parts == pytest.approx(expected, rel=1e-6)
    assert values_of("w", tensor[:7], DENSE).parts == ()


# Several parameters


def test_twins_are_other_parameters_with_the_same_numbers():
    torch.manual_seed(0)
    first, second, third = (nn.Linear(20, 20) for _ in range(3))
    second.load_state_dict(first.state_dict())
    third.weight = first.weight
    model = nn.Sequential(first, nn.LayerNorm(20), second, nn.LayerNorm(20), third)
    values = observe(model, Inputs((normal(4, 20),))).values
    twins = {path: one.twin for path, one in values.items() if one.twin}
    assert twins == {"2.weight": "0.weight", "2.bias": "0.bias"}  # equal constants, and one tensor twice, are none
    with torch.no_grad():
        second.weight[0, 0] += 1
    assert observe(model, Inputs((normal(4, 20),))).values["2.weight"].twin == ""


def test_gradients_and_what_they_reach():
    model = Wrapped(lambda m, x: m.b(m.a(x)), a=nn.Linear(6, 5), b=nn.Linear(5, 3), c=nn.Linear(2, 2))
    model.a.bias.requires_grad_(False)
    x = normal(4, 6)
    values = observe(model, Inputs((x,)), None, lambda outputs: outputs.square().sum()).values
    model(x).square().sum().backward()
    assert {path for path, one in values.items() if one.reached} == {"a.weight", "b.weight", "b.bias"}
    for path in ("a.weight", "b.weight", "b.bias"):
        exact = np.mean(np.square(model.get_parameter(path).grad.double().numpy()))
        assert values[path].gradient == pytest.approx(exact, rel=1e-5)
    assert math.isnan(values["c.weight"].gradient)
    assert math.isnan(values["a.bias"].gradient)
