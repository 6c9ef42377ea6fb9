"""What the drop-in draws, against exact laws, torch's formulas and the core."""

import math

import numpy as np
import pytest
import scipy.stats
import statistics_of

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")

import torch.nn.init as theirs  # noqa: E402
from torch import nn  # noqa: E402
from torch_init import FLOATS, RANDOM, called, drawn, every_filler, every_random, shape_for, values  # noqa: E402

import fanwise as fw  # noqa: E402
from fanwise import Key  # noqa: E402
from fanwise.stream.truncation import Truncation  # noqa: E402
from fanwise.torch import init  # noqa: E402
from fanwise.torch.weights.tensors import ROUNDED  # noqa: E402

INF, NAN = math.inf, math.nan
REAL_ONLY = {"trunc_normal_", "orthogonal_", "sparse_"}


BIG = (200, 300)
CASES = {
    "uniform_": ({"a": -0.5, "b": 2.0}, scipy.stats.uniform(-0.5, 2.5)),
    "normal_": ({"mean": 0.5, "std": 0.02}, scipy.stats.norm(0.5, 0.02)),
    "trunc_normal_": ({"mean": 0.5, "std": 2.0, "a": -1.0, "b": 3.0}, scipy.stats.truncnorm(-0.75, 1.25, 0.5, 2.0)),
    "trunc_normal_ outside": ({"mean": 3.0, "a": -1.0, "b": 1.0}, scipy.stats.truncnorm(-4, -2, 3.0, 1.0)),
    "trunc_normal_ one side": ({"a": 3.0, "b": INF}, scipy.stats.truncnorm(3.0, INF)),
    "trunc_normal_ tail": ({"a": 9.0, "b": 10.0}, scipy.stats.truncnorm(9.0, 10.0)),
    "trunc_normal_ narrow": ({"a": -0.1, "b": 0.1}, scipy.stats.truncnorm(-0.1, 0.1)),
    "trunc_normal_ wide": ({"a": 3.0, "b": 1000.0}, scipy.stats.truncnorm(3.0, 1000.0)),
    "trunc_normal_ absolute": ({"std": 0.02}, scipy.stats.norm(0, 0.02)),
    "xavier_uniform_": ({"gain": 2.0}, scipy.stats.uniform(-2 * (6 / 500) ** 0.5, 4 * (6 / 500) ** 0.5)),
    "xavier_normal_": ({"gain": 2.0}, scipy.stats.norm(0, 2 * (2 / 500) ** 0.5)),
    "kaiming_uniform_": ({"a": 5**0.5}, scipy.stats.uniform(-(300**-0.5), 2 * 300**-0.5)),
    "kaiming_uniform_ out": (
        {"mode": "FAN_OUT", "nonlinearity": "linear"},
        scipy.stats.uniform(-((3 / 200) ** 0.5), 2 * (3 / 200) ** 0.5),
    ),
    "kaiming_normal_": ({"nonlinearity": "relu"}, scipy.stats.norm(0, (2 / 300) ** 0.5)),
    "kaiming_normal_ out": (
        {"a": 0.5, "mode": "fan_out"},
        scipy.stats.norm(0, (2 / 1.25 / 200) ** 0.5),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_values_follow_the_law_that_torch_documents(case):
    options, law = CASES[case]
    sample = values(drawn(case.split()[0], BIG, torch.float64, **options))
    assert statistics_of.follows(sample, law)
    spread = 1.1 * (sample - law.mean()) + law.mean()  # the mutants: 10 % too wide, 5 standard errors off
    assert not statistics_of.follows(spread, law)
    assert not statistics_of.follows(sample + 10 * law.std() / math.sqrt(sample.size), law)


def test_every_random_function_was_held_to_a_law():
    assert {case.split()[0] for case in CASES} | {"orthogonal_", "sparse_"} == set(RANDOM)


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3), (8, 6, 3, 5), (8, 6, 3, 5, 2)])
def test_fans_are_torchs(shape):
    tensor = torch.zeros(shape)
    assert init._calculate_fan_in_and_fan_out(tensor) == theirs._calculate_fan_in_and_fan_out(tensor)
    for mode in ("fan_in", "fan_out", "Fan_Out"):
        assert init._calculate_correct_fan(tensor, mode) == theirs._calculate_correct_fan(tensor, mode)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_bounds_hold_in_every_dtype(dtype):
    uniform = values(drawn("uniform_", (500, 400), dtype, a=-1.0, b=1.0))
    assert uniform.min() >= -1
    assert uniform.max() < 1
    assert abs(uniform.mean()) < 5 / math.sqrt(3 * uniform.size)  # torch's bfloat16 is off by 0.002
    normal = values(drawn("normal_", (500, 400), dtype))
    assert 4 < np.abs(normal).max() <= 6.34
    for low, high in ((-0.04, 0.04), (0.013, 0.0517), (-INF, -0.01)):
        cut = values(drawn("trunc_normal_", (500, 400), dtype, std=0.02, a=low, b=high))
        assert low <= cut.min()
        assert cut.max() <= high


@pytest.mark.parametrize("low", [-0.1, 1 / 3, -math.pi])
@pytest.mark.parametrize("steps", [8, 100])
def test_bounds_a_few_last_digits_apart_hold_in_double_precision(low, steps):
    high = low + steps * math.ulp(low)
    for sigma in (0.7, 1.3, 3.1):
        cut = values(drawn("trunc_normal_", (2000,), torch.float64, mean=0.3, std=sigma, a=low, b=high))
        assert low <= cut.min()
        assert cut.max() <= high


@pytest.mark.parametrize("dtype", FLOATS[2:], ids=str)
def test_a_narrow_law_keeps_its_std_in_half_precision(dtype):
    sample = values(drawn("trunc_normal_", (500, 400), dtype, std=0.02, a=-0.04, b=0.04))
    std = 0.02 * Truncation(-2.0, 2.0).moments()[1]
    assert abs(sample.std() / std - 1) < 5 / math.sqrt(2 * sample.size) + torch.finfo(dtype).eps ** 2
    assert abs(0.02 / std - 1) > 0.1  # the mutant: the parent's


@every_random
@pytest.mark.parametrize("dtype", FLOATS[1:], ids=str)
def test_dtypes_hold_the_same_numbers_rounded(name, dtype):
    exact, rounded = (values(drawn(name, shape_for(name), d)) for d in (torch.float64, dtype))
    allowed = torch.finfo(dtype).eps * np.abs(exact) + 1e-7
    if name == "orthogonal_":
        allowed = allowed + 16 * math.sqrt(90) * torch.finfo(torch.float32).eps
    assert (np.abs(rounded - exact) <= allowed).all()


@every_random
def test_half_precision_is_float32_rounded(name):
    for dtype in FLOATS[2:]:
        half, single = (drawn(name, shape_for(name), d) for d in (dtype, torch.float32))
        inside = single.abs() < 0.99 * single.abs().max()  # at a bound the dtype rounds inward
        assert torch.equal(half[inside], single[inside].to(dtype))


@every_filler
def test_memory_formats_change_no_value(name):
    shape = shape_for(name)
    options = {"key": 0} if name in RANDOM else {}
    plain = called(name, torch.zeros(shape), **options)
    wide = torch.zeros([2 * n for n in shape])
    targets = [
        wide[tuple(slice(None, None, 2) for _ in shape)],
        torch.zeros(shape[::-1]).permute(*range(len(shape))[::-1]),
    ]
    if len(shape) == 4:
        targets.append(torch.zeros(shape).to(memory_format=torch.channels_last))
    for target in targets:
        strides = target.stride()
        assert torch.equal(called(name, target, **options), plain)
        assert target.stride() == strides
    assert int((wide != 0).sum()) == int((plain != 0).sum())  # nothing beside the slice


def test_weights_are_those_of_the_core():
    key = Key(3).child("w")
    layout = fw.Layout.conv("out in kernel kernel")
    for name, options, law in (
        ("kaiming_normal_", {"nonlinearity": "relu"}, fw.he_normal),
        ("xavier_uniform_", {}, fw.glorot_uniform),
        ("orthogonal_", {}, fw.Orthogonal(1.0, "norm")),
    ):
        ours = values(drawn(name, (8, 6, 3, 5), key=key, **options))
        np.testing.assert_allclose(ours, law((8, 6, 3, 5), key=key, layout=layout).ravel(), rtol=3e-7, atol=1e-9)


# Matrices.


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(64, 64), (96, 32), (32, 96), (32, 8, 3, 3), (1, 1), (5, 1, 2)])
def test_orthogonal_rows_or_columns(shape, dtype):
    weight = drawn("orthogonal_", shape, dtype, gain=3.0)
    q = weight.double().flatten(1) / 3
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    eps = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps if dtype is not torch.float64 else 0)
    assert (gram - torch.eye(len(gram))).abs().max() <= 16 * math.sqrt(max(q.shape)) * eps
    assert (1.21 * gram - torch.eye(len(gram))).abs().max() > 0.2  # the mutant: gain 10 % off


def test_orthogonal_matrices_are_uniform_over_all():
    """Haar's entries: sqrt(n) q is near standard normal, with E q^2 = 1 / n and E q^4 = 3 / (n (n + 2)) exactly."""
    q = np.concatenate([values(drawn("orthogonal_", (8, 8), torch.float64, key=seed)) for seed in range(500)])
    for power, moment, variance in ((2, 1 / 8, 3 / 80 - 1 / 64), (4, 3 / 80, 105 / (8 * 10 * 12 * 14) - (3 / 80) ** 2)):
        error = 5 * math.sqrt(variance / q.size)
        assert abs(np.mean(q**power) - moment) < error
        assert abs(1.1**power * np.mean(q**power) - moment) > error


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_sparse_columns(sparsity):
    weight = drawn("sparse_", (30, 2000), sparsity=sparsity, std=0.3)
    kept = 30 - math.ceil(sparsity * 30)
    assert ((weight != 0).sum(0) == kept).all()
    sample = values(weight[weight != 0])
    assert sample.size == 0 or statistics_of.follows(sample, scipy.stats.norm(0, 0.3))
    counts = (weight != 0).sum(1).double()  # every row is as likely
    error = 5 * math.sqrt(2000 * kept / 30 * (1 - kept / 30)) + 1e-9
    assert ((counts - 2000 * kept / 30).abs() < error).all()
    assert not sample.size or not statistics_of.follows(1.1 * sample, scipy.stats.norm(0, 0.3))


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int32, torch.bool, torch.complex64], ids=str)
def test_laws_that_draw_nothing_are_torchs(dtype):
    for name, shape, options in (
        ("zeros_", (3, 4), {}),
        ("ones_", (3, 4), {}),
        ("constant_", (3, 4), {"val": 1}),
        ("constant_", (), {"val": True}),
        ("eye_", (3, 5), {}),
        ("eye_", (5, 3), {}),
        ("dirac_", (6, 4, 3), {}),
        ("dirac_", (6, 4, 3, 4), {"groups": 3}),
        ("dirac_", (8, 4, 2, 3, 5), {"groups": 2}),
        ("dirac_", (0, 4, 3), {}),
    ):
        ours, other = torch.full(shape, 1, dtype=dtype), torch.full(shape, 1, dtype=dtype)
        assert torch.equal(getattr(init, name)(ours, **options), getattr(theirs, name)(other, **options))


@pytest.mark.parametrize(
    ("val", "dtype"),
    [
        (0.3, torch.float32),
        (torch.tensor(0.3), torch.float32),
        (np.float32(0.5), torch.float16),
        (448, torch.float8_e4m3fn),
        (2**62 + 1, torch.int64),
        (2.0, torch.uint8),
        (1 + 2j, torch.complex64),
    ],
)
def test_constants_of_every_kind(val, dtype):
    ours = init.constant_(torch.zeros(3, dtype=dtype), val)
    assert (ours == theirs.constant_(torch.zeros(3, dtype=dtype), val)).all()


# Gains.


@pytest.mark.parametrize("name", [*init.calculate_gain.__globals__["_GAINS"], "leaky_relu"])
def test_gains_are_torchs(name):
    assert init.calculate_gain(name) == theirs.calculate_gain(name)
    for param in (0.2, 3, -1.0):
        assert init.calculate_gain(name, param) == theirs.calculate_gain(name, param)


@pytest.mark.parametrize("name", ["gelu", "silu", "identity", "", None, ["relu"], 3])
def test_gains_that_torch_does_not_know_are_refused(name):
    with pytest.raises(ValueError, match=r"expected one of linear, .*fanwise\.gain knows others"):
        init.calculate_gain(name)
    with pytest.raises(ValueError, match="nonlinearity"):
        theirs.calculate_gain(name)


@pytest.mark.parametrize("param", ["0.2", True, [0.2], NAN, INF])
def test_slopes_that_are_no_numbers_are_refused(param):
    with pytest.raises(ValueError, match="negative_slope = "):
        init.calculate_gain("leaky_relu", param)
    with pytest.raises(ValueError, match="negative_slope = "):
        init.kaiming_normal_(torch.zeros(2, 2), a=param)


# Complex and 8-bit numbers.


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
@pytest.mark.parametrize("name", sorted(set(RANDOM) - REAL_ONLY - {"uniform_"}))
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.complex32], ids=str)
def test_complex_numbers_have_the_variance_of_real_ones(name, dtype):
    weight = torch.view_as_real(drawn(name, BIG, dtype)).double()
    variance = values(drawn(name, BIG, torch.float64)).var()
    size = weight.numel() / 2
    squares = (weight**2).sum(-1)
    error = 5 * float(squares.std()) / math.sqrt(size) + 5 * variance * math.sqrt(2 / size)
    assert abs(float(squares.mean()) - variance) < error
    assert abs(2 * float(squares.mean()) - variance) > error  # the mutant: torch's uniform functions
    correlation = float((weight[..., 0] * weight[..., 1]).mean()) / variance
    assert abs(correlation) < 5 / math.sqrt(size)
    assert abs(float((weight[..., 0] ** 2 - weight[..., 1] ** 2).mean())) < 2 * error


def test_complex_parts_mean_what_they_mean_in_torch():
    """The mean, and the bounds of uniform_, hold for both parts."""
    for module in (init, theirs):
        weight = module.normal_(torch.zeros(100_000, dtype=torch.complex64), mean=3.0)
        assert abs(weight.mean() - (3 + 3j)) < 5 * 1 / math.sqrt(100_000) * math.sqrt(2)
        weight = torch.view_as_real(module.uniform_(torch.zeros(1000, dtype=torch.complex64), 2.0, 3.0))
        assert 2 <= weight.min() <= weight.max() < 3
    assert not torch.equal(weight[..., 0], weight[..., 1])


@pytest.mark.parametrize("name", sorted(REAL_ONLY))
def test_complex_numbers_are_refused_where_there_is_no_such_law(name):
    with pytest.raises(TypeError, match=r"torch\.complex64, expected real floating-point"):
        drawn(name, shape_for(name), torch.complex64)


def test_complex_leaves_and_conjugates():
    weight = nn.Parameter(torch.zeros(3, 2, dtype=torch.complex64))
    loss = (weight * weight).abs().sum()
    version = weight._version
    init.normal_(weight)
    assert weight._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        loss.backward()
    with pytest.raises(ValueError, match="resolve_conj"):
        init.normal_(torch.zeros(3, dtype=torch.complex64).conj())


def test_a_lazily_negated_view_is_filled():
    view = torch.zeros(3, dtype=torch.complex64).conj().imag
    assert view.is_neg()
    assert torch.equal(init.normal_(view, key=0), drawn("normal_", (3,)))


@every_random
@pytest.mark.parametrize("dtype", ROUNDED, ids=str)
def test_eight_bit_floats_are_rounded_from_float32(name, dtype):
    options = {"std": 1.0} if name == "sparse_" else {}
    eight, single = (drawn(name, shape_for(name), d, **options) for d in (dtype, torch.float32))
    assert torch.equal(eight.float(), single.to(dtype).float())
