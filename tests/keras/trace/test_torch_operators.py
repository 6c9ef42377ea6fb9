"""The operators of PyTorch's tensors: which of Keras' functions each is, and in which order its operands come."""

import pytest

pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")
torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch")

from fanwise.keras.trace.torch_operators import OperatorMode  # noqa: E402


class Told:
    """A recorder that remembers what it is told, and executes it."""

    def __init__(self, *, active=True):
        self.active, self.calls = active, []

    def function(self, name, execution):
        self.calls.append((name, execution.args))
        return execution()


X, Y = torch.tensor([[2.0, 4.0]]), torch.tensor([[1.0], [3.0]])


@pytest.mark.parametrize(
    ("apply", "name", "operands", "result"),
    [
        (lambda: X + 1.0, "add", (X, 1.0), [[3.0, 5.0]]),
        (lambda: X - 1.0, "subtract", (X, 1.0), [[1.0, 3.0]]),
        (lambda: 1.0 - X, "subtract", (1.0, X), [[-1.0, -3.0]]),
        (lambda: X * 2.0, "multiply", (X, 2.0), [[4.0, 8.0]]),
        (lambda: X / 2.0, "divide", (X, 2.0), [[1.0, 2.0]]),
        (lambda: 8.0 / X, "divide", (8.0, X), [[4.0, 2.0]]),
        (lambda: X @ Y, "matmul", (X, Y), [[14.0]]),
        (lambda: X**2, "power", (X, 2), [[4.0, 16.0]]),
        (lambda: -X, "negative", (X,), [[-2.0, -4.0]]),
        (lambda: X[0:1], "getitem", (X, slice(0, 1)), [[2.0, 4.0]]),
    ],
)
def test_an_operator_is_a_function_of_keras(apply, name, operands, result):
    told = Told()
    with OperatorMode(told):
        output = apply()
    ((called, args),) = told.calls
    assert called == name
    assert len(args) == len(operands)
    assert all(given is wanted or given == wanted for given, wanted in zip(args, operands, strict=True))
    assert output.tolist() == result


def test_nothing_is_told_while_the_recorder_rests():
    told = Told(active=False)
    with OperatorMode(told):
        assert (X + 1.0).tolist() == [[3.0, 5.0]]
    assert told.calls == []


def test_other_functions_and_named_arguments_are_executed_alone():
    told = Told()
    with OperatorMode(told):
        assert torch.add(X, 1.0, alpha=2).tolist() == [[4.0, 6.0]]
        assert torch.Tensor.add(X, 1.0, alpha=2).tolist() == [[4.0, 6.0]]
        assert X.relu().tolist() == X.tolist()
    assert told.calls == []
