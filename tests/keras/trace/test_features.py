"""Features followed through views: the numbers that they leave are those of NumPy."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.graph.tracking.views import runs_of  # noqa: E402
from fanwise.keras.trace.features import MOST, applied  # noqa: E402

LABELS = np.broadcast_to(np.arange(12), (5, 12))
"""Twelve features of five examples."""

VIEWS = {
    "reshape": (((5, 3, 4),), {}, LABELS.reshape(5, 3, 4)),
    "transpose": (((1, 0),), {}, LABELS.T),
    "expand_dims": ((1,), {}, LABELS[:, None]),
    "swapaxes": ((0, 1), {}, LABELS.T),
    "moveaxis": ((0, -1), {}, LABELS.T),
    "take": ((3, 1), {}, LABELS[:, 3]),
    "cast": (("float16",), {}, LABELS),
    "getitem": (((slice(None), slice(2, 6)),), {}, LABELS[:, 2:6]),
    "squeeze": ((), {"axis": None}, LABELS),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views(name):
    args, named, expected = VIEWS[name]
    found = applied(name, (None, *args), named, LABELS)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("name", "args"), [("split", (3, 1)), ("array_split", (3, 1)), ("unstack", (None, 1))])
def test_views_with_several_outputs(name, args):
    found = applied(name, (None, *args), {}, LABELS)
    parts = np.split(LABELS, 3, 1) if name != "unstack" else [LABELS[:, i] for i in range(12)]
    assert len(found) == len(parts)
    assert all(np.array_equal(one, other) for one, other in zip(found, parts, strict=True))


def test_tensors_among_the_arguments_are_read():
    indices = keras.ops.convert_to_tensor(np.array([1, 7]))
    assert np.array_equal(applied("take", (None, indices), {"axis": 1}, LABELS), LABELS[:, [1, 7]])


def test_what_cannot_be_followed():
    assert applied("matmul", (None, np.ones((12, 2))), {}, LABELS) is None
    assert applied("reshape", (None, (7, 7)), {}, LABELS) is None
    many = np.broadcast_to(np.zeros(1, np.int32), (MOST + 1,))
    assert applied("reshape", (None, (-1,)), {}, many) is None
    assert applied("reshape", (None, (-1,)), {}, many[:-1]) is not None


RUNS = [
    ([3, 4, 5], ((3, 3),)),
    ([5, 4, 3, 3], ((3, 3),)),
    ([0, 1, 6, 7, 8, 11], ((0, 2), (6, 3), (11, 1))),
    ([2], ((2, 1),)),
    ([], None),
]


@pytest.mark.parametrize(("labels", "runs"), RUNS)
def test_runs_of_features(labels, runs):
    assert runs_of(np.array(labels, np.int32), 12) == runs


def test_thirds_of_a_fused_projection():
    """(batch, 12) as (batch, 3, 4): each third holds four features in a row."""
    parts = applied("unstack", (None, None, 1), {}, LABELS.reshape(5, 3, 4))
    assert [runs_of(part, 12) for part in parts] == [((0, 4),), ((4, 4),), ((8, 4),)]
    turned = applied("unstack", (None, None, 2), {}, LABELS.reshape(5, 4, 3))
    assert runs_of(turned[0], 12) == ((0, 1), (3, 1), (6, 1), (9, 1))
