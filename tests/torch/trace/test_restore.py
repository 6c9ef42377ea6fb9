"""What a run could change is as before after it."""

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from fanwise.torch.trace.restore import saved, seeded, unchanged  # noqa: E402


def draws():
    return random.random(), float(np.random.rand()), torch.rand(()).item()  # noqa: NPY002


def test_a_seed_decides_and_the_states_go_on_where_they_were():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = [draws(), draws()]
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = draws()
    with seeded(3):
        inside = draws()
    assert [first, draws()] == expected
    with seeded(3):
        assert draws() == inside
    with seeded(4):
        assert all(a != b for a, b in zip(draws(), inside, strict=True))


def test_saved_values_come_back():
    tensor = torch.tensor([1.0, float("nan")])
    restore = saved(tensor)
    tensor.fill_(5.0)
    restore()
    assert tensor[0].item() == 1.0
    assert tensor[1].isnan()
    saved(torch.ones(2, device="meta"))()


def test_a_parameter_is_written_without_a_gradient():
    parameter = nn.Parameter(torch.ones(2))
    restore = saved(parameter)
    with torch.no_grad():
        parameter.fill_(3.0)
    restore()
    assert parameter.tolist() == [1.0, 1.0]
    assert parameter.is_leaf


def test_an_unchanged_tensor_is_not_written():
    tensor = torch.ones(2)
    restore = saved(tensor)
    version = tensor._version
    restore()
    assert tensor._version == version


def test_flags_buffers_attributes_and_inputs_are_as_before():
    model, given = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    model[0].cache = [1]
    model[1].eval()
    with unchanged(model, [given]):
        assert not any(module.training for module in model.modules())
        model.train()
        model(given)
        given.zero_()
        model[0].cache.append(2)
        model[0].more = 1
        model[0].register_forward_hook(lambda *_: None)
    assert [module.training for module in model.modules()] == [True, True, False]
    assert model[0].running_mean.tolist() == [0.0, 0.0]
    assert model[0].num_batches_tracked.item() == 0
    assert given.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert model[0].cache == [1]
    assert not hasattr(model[0], "more")
    assert not model[0]._forward_hooks


def test_the_own_mode_of_a_model():
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[0].eval()
    with unchanged(model, [], training=True):
        assert [module.training for module in model.modules()] == [True, False, True]
