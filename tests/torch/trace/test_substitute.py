"""Other tensors in place of a call's arguments, and functions run without values."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from fanwise.graph.op import Parameter  # noqa: E402
from fanwise.graph.tracking.tracker import drawn_values  # noqa: E402
from fanwise.laws.elementwise import Normal  # noqa: E402
from fanwise.laws.layout import Layout  # noqa: E402
from fanwise.torch.trace.substitute import (  # noqa: E402
    drawn,
    moments_of,
    probing,
    replayable,
    second_moment,
    swapped,
    with_batch_statistics,
    without_values,
)

PARAMETER = Parameter("w", (200, 100), "float32", (), True)
LAYOUT = Layout.dense("out in")


def values(tensor, *, itself):
    return drawn((PARAMETER, ()), Normal(2.0), tensor, layout=LAYOUT, itself=itself)


def test_tensors_are_swapped_by_identity_in_nested_values():
    a, b, new = torch.ones(1), torch.ones(1), torch.zeros(1)
    result = swapped([a, (b, {"x": a}), "text"], {id(a): new})
    assert result[0] is new
    assert result[1][0] is b
    assert result[1][1]["x"] is new
    assert result[2] == "text"


def test_the_parameter_itself_gets_the_values_of_its_law():
    tensor = values(torch.empty(200, 100), itself=True)
    assert np.array_equal(tensor.numpy(), drawn_values(PARAMETER, Normal(2.0), LAYOUT))


def test_a_part_gets_normal_numbers_of_the_same_moments():
    tensor = values(torch.empty(100, 100), itself=False)
    assert tensor.shape == (100, 100)
    assert tensor.std().item() == pytest.approx(2.0, rel=0.05)
    assert torch.equal(tensor, values(torch.empty(100, 100), itself=True))
    assert values(torch.empty(200, 100, dtype=torch.float16), itself=True).dtype is torch.float16
    assert values(torch.empty(200, 100, device="meta"), itself=True).is_meta


def test_global_random_numbers_are_left_alone():
    state = torch.get_rng_state()
    values(torch.empty(3, 3), itself=False)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("named", [False, True])
def test_statistics_of_the_batch(named):
    x, mean, var = torch.tensor([[1.0], [3.0]]), torch.tensor([5.0]), torch.tensor([4.0])
    rest = ((), {"running_mean": mean, "running_var": var, "training": False}) if named else ((mean, var), {})
    output = with_batch_statistics(functional.batch_norm, "batch_norm", (x, *rest[0]), rest[1])
    assert output.ravel().tolist() == pytest.approx([-1.0, 1.0], abs=1e-4)
    assert (mean.item(), var.item()) == (5.0, 4.0)


@pytest.mark.parametrize(
    ("function", "name", "shapes", "rest"),
    [
        (functional.linear, "linear", [(2, 7, 3), (5, 3)], ()),
        (functional.relu, "relu", [(2, 3)], ()),
        (functional.conv2d, "conv2d", [(2, 4, 9, 9), (6, 4, 3, 3)], (None, 2, 1)),
        (functional.conv2d, "conv2d", [(2, 4, 9, 8), (6, 2, 3, 3)], (None, (1, 2), 0, 2, 2)),
        (functional.conv1d, "conv1d", [(2, 4, 9), (6, 4, 3)], (None, 1, "same")),
        (functional.glu, "glu", [(2, 6)], ()),
        (torch.matmul, "matmul", [(2, 6), (6, 3)], ()),
    ],
)
def test_shapes_without_values_are_those_with_values(function, name, shapes, rest):
    with_values = function(*(torch.ones(shape) for shape in shapes), *rest)
    output = without_values(function, name, (*(torch.ones(shape, device="meta") for shape in shapes), *rest), {})
    assert output.is_meta
    assert output.shape == with_values.shape
    assert output.dtype == with_values.dtype


def test_another_dtype_is_not_lost():
    x = torch.ones(2, 3, device="meta")
    assert without_values(functional.softmax, "softmax", (x, 1), {"dtype": torch.float64}).dtype is torch.float64


def test_a_replay_puts_arrays_in_the_place_of_data():
    a, b = torch.ones(2), torch.ones(2)
    replay = replayable(torch.sub, ((a,), {"other": b}), [b, a])
    assert replay(np.array([1.0, 2.0]), np.array([5.0, 5.0])).tolist() == [4.0, 3.0]
    assert replayable(torch.sub, ((a, b), {}), [a]) is None


def test_a_probe_gives_mean_and_second_moment():
    x = torch.empty(400, 400)
    probe = probing(torch.mul, ((x, 3.0), {}), [x])
    mean, square = probe([(1.0, 2.0)])
    assert mean == pytest.approx(3.0, abs=0.1)
    assert square == pytest.approx(9 * 5, rel=0.02)
    assert probe([(1.0, 2.0)]) == (mean, square)


def test_what_cannot_be_probed():
    x, whole = torch.ones(2, device="meta"), torch.ones(2, dtype=torch.int64)
    assert probing(torch.mul, ((x, 3.0), {}), [x]) is None
    assert probing(torch.mul, ((whole, 3), {}), [whole]) is None
    assert probing(torch.mul, ((3.0, 3.0), {}), []) is None


def test_second_moments():
    assert second_moment(torch.tensor([1.0, -3.0])) == 5.0
    assert second_moment(torch.tensor([300.0], dtype=torch.float16)) == 90000.0
    assert second_moment(torch.tensor([3 + 4j])) == pytest.approx(25.0)
    assert second_moment(torch.tensor([3, 1])) == 5.0
    assert math.isnan(second_moment(torch.empty(0)))
    assert math.isnan(second_moment(torch.ones(2, device="meta")))
    measured = moments_of([torch.tensor([2.0]), torch.ones(2, device="meta")])
    assert measured(0) == 4.0
    assert [measured.known(place) for place in (0, 1)] == [True, False]
