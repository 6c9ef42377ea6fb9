"""What is known of tensors goes with them."""

import gc

import pytest

torch = pytest.importorskip("torch")

from fanwise.torch.trace.tensor_map import TensorMap  # noqa: E402


def test_tensors_are_told_apart_by_identity():
    known, first, equal = TensorMap[int](), torch.ones(2), torch.ones(2)
    known[first] = 1
    known[first] = 2
    assert known[first] == known.get(first) == 2
    assert first in known
    assert equal not in known
    assert known.get(equal) is None
    assert known.get(equal, 3) == 3


def test_what_is_known_goes_with_the_tensor():
    known, kept = TensorMap[int](), torch.ones(1)
    known[kept] = -1
    for number in range(100):  # each may take the memory, and so the id, of the one before
        tensor = torch.ones(1)
        assert tensor not in known
        known[tensor] = number
        del tensor
    gc.collect()
    assert len(known._entries) == 1
    assert known[kept] == -1
