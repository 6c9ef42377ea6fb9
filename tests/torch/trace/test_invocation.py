"""Calls of torch's functions that are executed again with other tensors."""

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from fanwise.torch.trace.invocation import Invocation  # noqa: E402


def test_the_tensors_in_order():
    a, b, c = torch.ones(1), torch.ones(2), torch.ones(3)
    call = Invocation(torch.add, "add", (a, [b, 3]), {"c": {"deep": c}})
    assert [len(tensor) for tensor in call.tensors] == [1, 2, 3]


def test_a_call_gives_what_its_function_gives():
    assert Invocation(torch.add, "add", (torch.ones(2), 2.0), {"alpha": 3})().tolist() == [7.0, 7.0]


def test_tensors_are_replaced_and_the_call_itself_stays():
    a, b = torch.tensor([1.0]), torch.tensor([2.0])
    call = Invocation(torch.sub, "sub", (a,), {"other": b})
    assert call.with_tensors({id(b): torch.tensor([10.0])})().tolist() == [-9.0]
    assert call.with_tensors({id(a): b})().tolist() == [0.0]
    assert call.with_tensors({}) is call
    assert call().tolist() == [-1.0]


def test_again_with_a_tensor_that_is_no_argument():
    a, b = torch.tensor([1.0]), torch.tensor([2.0])
    call = Invocation(torch.add, "add", (a, 1.0), {})
    assert call.again({id(a): b}).tolist() == [3.0]
    assert call.again({id(b): a}) is None
    assert call.again({id(a): b, id(b): a}) is None
    assert call.again({}).tolist() == [2.0]


def batch_norm(x, mean, var):
    return Invocation(functional.batch_norm, "batch_norm", (x, mean, var), {"training": False, "eps": 1e-12})


def test_a_batch_norm_takes_the_statistics_of_the_batch_and_leaves_the_running_ones():
    x, mean, var = torch.tensor([[1.0], [3.0]]), torch.tensor([5.0]), torch.tensor([4.0])
    call = batch_norm(x, mean, var)
    assert call.without_state([x]).ravel().tolist() == pytest.approx([-1.0, 1.0])
    assert call().ravel().tolist() == pytest.approx([-2.0, -1.0])
    assert (mean.item(), var.item()) == (5.0, 4.0)


def test_one_value_a_channel_has_no_variance():
    x = torch.tensor([[1.0]])
    assert batch_norm(x, torch.tensor([5.0]), torch.tensor([4.0])).without_state([x]).item() == pytest.approx(-2.0)


def test_data_without_values_give_a_shape():
    x = torch.ones(4, 3, device="meta")
    weight = torch.ones(5, 3, device="meta")
    output = Invocation(functional.linear, "linear", (x, weight), {}).without_state([x])
    assert output.is_meta
    assert output.shape == (4, 5)


def test_other_functions_run_as_they_are():
    x = torch.tensor([-1.0, 2.0])
    assert Invocation(torch.relu, "relu", (x,), {}).without_state([x]).tolist() == [0.0, 2.0]
    assert Invocation(torch.ones, "ones", (2,), {}).without_state([]).tolist() == [1.0, 1.0]
