import numpy as np
import pytest

from fanwise import Box
from fanwise.stream import box as room
from fanwise.stream.fill import normal, words


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ((3, -1), ValueError, "-1 is negative"),
        ((3.5,), TypeError, "3.5 is not an integer"),
        ((3, None), TypeError, "None is not an integer"),
        ("34", TypeError, "expected a sequence of integers"),
        (None, TypeError, "expected a sequence of integers"),
        ((True, 3), TypeError, "True is not an integer"),
        ((2**40, 2**40), ValueError, r"limit is 2\*\*63"),
    ],
)
def test_bad_shapes(shape, error, message):
    with pytest.raises(error, match=message):
        normal(0, shape)


def test_numpy_integers_and_single_integers_are_shapes():
    assert normal(0, np.array([2, 3])).shape == normal(0, (np.int64(2), np.uint8(3))).shape == (2, 3)
    assert normal(0, 5).shape == (5,)


@pytest.mark.parametrize(
    ("box", "error", "message"),
    [
        (Box((0,), (3,)), ValueError, "has 1 axes"),
        (Box((3, 0), (2, 2)), ValueError, "reaches outside"),
        (((0, 0), (2, 2)), TypeError, "expected fanwise.Box"),
    ],
)
def test_bad_boxes(box, error, message):
    with pytest.raises(error, match=message):
        words(0, (4, 4), box=box)


def test_box_checks_itself():
    with pytest.raises(ValueError, match="differ in length"):
        Box((0,), (1, 2))
    with pytest.raises(ValueError, match="negative"):
        Box((-1,), (1,))


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 24, 1000])
def test_pieces_cover_a_box_once_and_in_order(limit):
    whole = Box((1, 2, 0), (3, 4, 5))
    cover = [
        np.ravel_multi_index(index, (9, 9, 9))
        for piece in room.pieces(whole, limit)
        for index in np.ndindex(*piece.shape)
        for index in [tuple(np.add(index, piece.start))]
    ]
    direct = [np.ravel_multi_index(tuple(np.add(index, whole.start)), (9, 9, 9)) for index in np.ndindex(*whole.shape)]
    assert cover == direct
    assert max(piece.size for piece in room.pieces(whole, limit)) <= limit


def test_meet():
    assert Box((0, 2), (4, 4)).meet(Box((3, 0), (5, 3))) == Box((3, 2), (1, 1))
    assert Box((0,), (2,)).meet(Box((5,), (2,))).size == 0
