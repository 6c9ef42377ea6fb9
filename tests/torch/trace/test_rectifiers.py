"""Rectifiers that a model writes out are one op."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from fanwise.graph.op import OpKind  # noqa: E402
from fanwise.torch.trace.run import Inputs, run  # noqa: E402

RECTIFIERS = {
    "mask": lambda x: x * (x > 0),
    "mask of numbers": lambda x: x * (x > 0).float(),
    "mask first": lambda x: (x >= 0).to(x.dtype) * x,
    "in place": lambda x: x.mul_(x > 0),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "where, zeros": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
}
OTHERS = {
    "mask of another": lambda x: x * (x.flip(-1) > 0),
    "above 1": lambda x: x * (x > 1),
    "leaky": lambda x: torch.where(x > 0, x, 0.1 * x),
}


class Model(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.map, self.head = function, nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, values):
        return self.head(self.function(self.map(values)))


def activations(function):
    trace = run(Model(function), Inputs((torch.randn(4, 8),)))
    return [op for op in trace.ops if op.kind == OpKind.ACTIVATION]


@pytest.mark.parametrize("name", RECTIFIERS)
def test_a_rectifier_written_out_is_one_op(name):
    (op,) = activations(RECTIFIERS[name])
    assert op.nonlinearity == "relu"
    assert list(op.replay([-2.0, 0.5])) == [0.0, 0.5]


@pytest.mark.parametrize("name", OTHERS)
def test_other_masks_are_no_rectifiers(name):
    assert not activations(OTHERS[name])
