"""Parameters that share elements without being the same tensor."""

import pytest

torch = pytest.importorskip("torch")

from fanwise.torch.weights.overlap import check_apart  # noqa: E402

BASE = torch.arange(24.0)


def refused(*tensors):
    try:
        check_apart([(f"p{i}", tensor) for i, tensor in enumerate(tensors)])
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "pair",
    [
        (BASE[:12], BASE[12:]),
        (BASE[::2], BASE[1::2]),
        (BASE.view(4, 6)[:, :3], BASE.view(4, 6)[:, 3:]),
        (BASE, BASE.clone()),
        (BASE, BASE[:0]),
    ],
    ids=["halves", "alternating", "columns", "copies", "empty"],
)
def test_tensors_that_lie_apart(pair):
    assert refused(*pair) == ""
    assert refused(*pair[::-1]) == ""


@pytest.mark.parametrize(
    "pair",
    [
        (BASE[:13], BASE[12:]),
        (BASE[::2], BASE[::3]),
        (BASE.view(4, 6), BASE.view(4, 6).T),
        (BASE.view(4, 6)[:, :4], BASE.view(4, 6)[:, 3:]),
        (BASE, BASE[5]),
    ],
    ids=["one element", "steps", "transposed", "columns", "number"],
)
def test_tensors_that_overlap(pair):
    assert "share memory without being the same tensor" in refused(*pair)
    assert "share memory without being the same tensor" in refused(*pair[::-1])


def test_the_message_names_both_and_how_to_go_on():
    with pytest.raises(ValueError, match=r"'a' and 'c' share memory .* plan.edit\('c', None\)"):
        check_apart([("a", BASE[:6]), ("b", BASE[6:9]), ("c", BASE[3:5])])


def test_a_long_tensor_is_compared_with_all_that_begin_in_it():
    assert "'p0' and 'p2'" in refused(BASE[::2], BASE[1:4:2], BASE[20:21])


def test_nothing_and_one_tensor_are_apart():
    check_apart([])
    check_apart([("a", BASE)])
