"""The memory behind a tensor: which tensors share it, and which have none."""

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from fanwise.torch.trace.storage import is_abstract, is_strided, storage_of  # noqa: E402


def test_views_share_a_storage_and_copies_do_not():
    tensor = torch.ones(2, 3)
    assert storage_of(tensor) == storage_of(tensor.T) == storage_of(tensor[1:]) == storage_of(tensor.detach())
    assert storage_of(tensor) != storage_of(tensor.clone())


def test_sparse_tensors_have_no_strides():
    sparse = torch.ones(2, 3).to_sparse()
    assert is_strided(torch.ones(2, 3))
    assert not is_strided(sparse)
    assert storage_of(sparse) is None


def test_tensors_inside_of_vmap_have_no_storage():
    seen = []

    def ask(tensor):
        seen.append(storage_of(tensor))
        return tensor

    torch.vmap(ask)(torch.ones(2, 3))
    assert seen == [None]


def test_meta_and_fake_tensors_are_abstract():
    assert not is_abstract(torch.ones(2))
    assert is_abstract(torch.ones(2, device="meta"))
    with FakeTensorMode():
        fake = torch.ones(2)
    assert is_abstract(fake)
    assert not fake.is_meta
