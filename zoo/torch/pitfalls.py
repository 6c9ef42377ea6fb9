"""Small models on which calibrators that go from layer to layer go wrong."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from zoo.model import Arguments, Model
from zoo.torch.calibrated import normal
from zoo.torch.layers import Net


def twice():
    layer = nn.Linear(64, 64)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(64, 10))


def tied():
    def forward(self, ids):
        return self.head(torch.tanh(self.body(self.table(ids))))

    model = Net(forward, table=nn.Embedding(64, 64), body=nn.Linear(64, 64), head=nn.Linear(64, 64, bias=False))
    model.head.weight = model.table.weight
    return model


def turned():
    def forward(self, x):
        return self.first(torch.relu(self.second(torch.relu(self.third(x)))))

    return Net(forward, first=nn.Linear(64, 10), second=nn.Linear(64, 64), third=nn.Linear(64, 64))


def dead():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[2].bias, -1.0)
    return model


def two_inputs():
    def forward(self, x, y):
        return self.head(torch.relu(self.left(x) + self.right(y)))

    return Net(forward, left=nn.Linear(64, 64), right=nn.Linear(64, 64), head=nn.Linear(64, 10))


def bare():
    def forward(self, x):
        return torch.relu(functional.linear(x, self.first)) @ self.second

    return Net(forward, first=nn.Parameter(torch.randn(64, 64)), second=nn.Parameter(torch.randn(64, 10)))


def wrapped(wrap):
    return lambda: nn.Sequential(
        wrap(nn.Linear(64, 64)), nn.ReLU(), wrap(nn.Linear(64, 64)), nn.ReLU(), nn.Linear(64, 10)
    )


def shallow():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def frozen():
    model = shallow()
    model[0].weight.requires_grad_(requires_grad=False)
    return model


def normed():
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))


def bilinear():
    return Net(lambda self, x, y: self.pair(x, y), pair=nn.Bilinear(64, 64, 10))


def ids() -> Arguments:
    return Arguments((torch.arange(64).repeat(4).reshape(16, 16),))


def two(*shape: int) -> Callable[[], Arguments]:
    """The same numbers twice."""
    return lambda: Arguments(normal(*shape)().args * 2)


def row(name: str, build: Callable[[], nn.Module], batch: Callable[[], Arguments]) -> Model:
    return Model(name, build, batch, None, "mlp", "torch", use="pitfall")


MODELS = (
    row("a module used twice", twice, normal(256, 64)),
    row("tied table and head", tied, ids),
    row("registered in another order", turned, normal(256, 64)),
    row("a dead layer", dead, normal(256, 64)),
    row("two inputs", two_inputs, two(256, 64)),
    row("bare parameters", bare, normal(256, 64)),
    row("weight norm", wrapped(parametrizations.weight_norm), normal(256, 64)),
    row("spectral norm", wrapped(parametrizations.spectral_norm), normal(256, 64)),
    row("bfloat16", lambda: shallow().bfloat16(), lambda: Arguments((normal(256, 64)().args[0].bfloat16(),))),
    row("batch norm", normed, normal(256, 64)),
    row("frozen first layer", frozen, normal(256, 64)),
    row("nn.Bilinear", bilinear, two(64, 64)),
)
