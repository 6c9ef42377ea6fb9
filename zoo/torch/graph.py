"""Networks of graphs, molecules and points that no rule of the check was chosen on."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.batches import stacked, subject, tokenwise
from zoo.torch.layers import Net, conv, drawn, filled, ids, labels, mlp, normal, targets

# Graphs


def ring(count: int = 24) -> Tensor:
    """Neighbours of each of a ring with chords, itself not among them."""
    place = torch.arange(count)
    near = torch.zeros(count, count)
    for step in (1, 2, 7):
        near[place, (place + step) % count] = near[(place + step) % count, place] = 1
    return near


def attending() -> nn.Module:
    """GAT: additive attention over neighbours, four heads, ELU, Xavier with gain 1.414, dropout."""

    def layer(fan_in: int, width: int, heads: int) -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            h = net.map(x).unflatten(-1, (heads, width)).transpose(1, 2)
            score = (h @ net.left) + (h @ net.right).transpose(2, 3)
            score = functional.leaky_relu(score, 0.2).masked_fill(net.near == 0, -1e9)
            return (functional.dropout(score.softmax(-1), 0.3) @ h).transpose(1, 2).flatten(2)

        law = partial(init.xavier_uniform_, gain=1.414)
        ends = {name: nn.Parameter(law(torch.empty(heads, width, 1))) for name in ("left", "right")}
        maps = filled(nn.Linear(fan_in, heads * width, bias=False), law)
        return Net(run, map=maps, near=ring() + torch.eye(24), **ends)

    return nn.Sequential(layer(16, 12, 4), nn.ELU(), layer(48, 12, 4), nn.ELU(), layer(48, 5, 1))


def isomorphic() -> nn.Module:
    """GIN: sums over neighbours, perceptrons with batch norms, the sums of all layers answer."""

    def run(net: Any, x: Tensor) -> Tensor:
        found = 0
        for number, layer in enumerate(net.layers):
            x = layer(((1 + net.share[number]) * x + net.near @ x).flatten(0, 1)).relu().view(len(x), 24, -1)
            found = found + net.heads[number](x.mean(1))
        return found

    layers = nn.ModuleList(mlp(n, 48, 48, norm=nn.BatchNorm1d) for n in (16, 48, 48, 48))
    parts = {"share": nn.Parameter(torch.zeros(4)), "heads": nn.ModuleList(nn.Linear(48, 5) for _ in layers)}
    return Net(run, layers=layers, near=ring(), **parts)


def sampled() -> nn.Module:
    """GraphSAGE: own features beside the neighbours' mean, rows of length one, Xavier uniform."""

    def run(net: Any, x: Tensor) -> Tensor:
        for layer in net.layers:
            x = functional.normalize(layer(torch.cat([x, net.near @ x / 6], -1)).relu(), dim=-1)
        return net.head(x)

    layers = nn.ModuleList(nn.Linear(2 * n, 64) for n in (16, 64))
    return drawn(Net(run, layers=layers, near=ring(), head=nn.Linear(64, 5)), init.xavier_uniform_)


def equivariant() -> nn.Module:
    """EGNN: messages of distances, places moved along differences by a map of Xavier gain 0.001."""

    def layer() -> nn.Module:
        def run(net: Any, h: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
            away = place[:, :, None] - place[:, None]
            square = (away**2).sum(-1, keepdim=True)
            mine = [h[:, :, None].expand(-1, -1, 9, -1), h[:, None].expand(-1, 9, -1, -1)]
            message = functional.silu(net.edge(torch.cat([*mine, square], -1)))
            place = place + (away * net.move(message)).mean(2)
            return h + net.node(torch.cat([h, message.sum(2)], -1)), place

        move = mlp(32, 32, 1, act=nn.SiLU)
        filled(move[-1], partial(init.xavier_uniform_, gain=0.001))
        return Net(run, edge=mlp(65, 32, 32, act=nn.SiLU), node=mlp(64, 32, 32, act=nn.SiLU), move=move)

    def run(net: Any, charge: Tensor, place: Tensor) -> Tensor:
        h = net.enter(charge)
        for one in net.layers:
            h, place = one(h, place)
        return torch.cat([place.flatten(1), net.head(h).mean(1)], 1)

    return Net(run, enter=nn.Linear(4, 32), layers=nn.ModuleList(layer() for _ in range(4)), head=mlp(32, 32, 1))


def filtered() -> nn.Module:
    """SchNet: filters written from distances, shifted softplus, Xavier uniform; an energy by sums."""

    class Shifted(nn.Softplus):
        """log(0.5 e^x + 0.5)."""

        def forward(self, x: Tensor) -> Tensor:
            """The shifted softplus."""
            return super().forward(x) - math.log(2)

    def layer() -> nn.Module:
        def run(net: Any, h: Tensor, seen: Tensor) -> Tensor:
            return h + net.after((net.enter(h)[:, None] * net.filter(seen)).sum(2))

        maps = {"filter": mlp(20, 48, 48, act=Shifted), "after": mlp(48, 48, 48, act=Shifted)}
        return Net(run, **maps, enter=nn.Linear(48, 48, bias=False))

    def run(net: Any, kind: Tensor, place: Tensor) -> Tensor:
        away = (place[:, :, None] - place[:, None] + 1e-6).norm(dim=-1, keepdim=True)
        seen, h = torch.exp(-5 * (away - torch.linspace(0, 4, 20)) ** 2), net.kinds(kind)
        for one in net.layers:
            h = one(h, seen)
        return net.head(h).mean(1)

    layers, top = nn.ModuleList(layer() for _ in range(3)), mlp(48, 24, 1, act=Shifted)
    return drawn(Net(run, kinds=nn.Embedding(5, 48), layers=layers, head=top), init.xavier_uniform_)


def edges() -> nn.Module:
    """DGCNN: maxima over the nearest neighbours of maps of differences, batch norms, leaky ReLU."""

    def layer(fan_in: int, fan_out: int) -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            near = torch.cdist(x, x).topk(6, largest=False).indices
            other = x[torch.arange(len(x))[:, None, None], near]
            mine = x[:, :, None].expand_as(other)
            return net.body(torch.cat([mine, other - mine], -1).permute(0, 3, 1, 2)).amax(3).transpose(1, 2)

        body = stacked(conv(2 * fan_in, fan_out, 1, bias=False), nn.BatchNorm2d(fan_out), nn.LeakyReLU(0.2))
        return Net(run, body=body)

    def run(net: Any, x: Tensor) -> Tensor:
        one = net.one(x)
        return net.head(torch.cat([one, net.two(one)], -1).amax(1))

    return Net(run, one=layer(3, 32), two=layer(32, 64), head=mlp(96, 64, 6, norm=nn.BatchNorm1d))


# Batches


def nodes() -> tuple[Tensor, Tensor]:
    x = normal(12, 24, 16, seed=91)
    return x, labels(x.flatten(0, 1), 5).view(12, 24)


def whole_graphs() -> tuple[Tensor, Tensor]:
    x = normal(24, 24, 16, seed=92) + normal(24, 1, 16, seed=93)
    return x, labels(x.mean(1), 5)


def molecules() -> tuple[Tensor, Tensor, Tensor]:
    charge, place = normal(24, 9, 4, seed=94), normal(24, 9, 3, seed=95)
    return charge, place, torch.cat([1.1 * place.flatten(1), targets(charge)], 1)


def atoms() -> tuple[Tensor, Tensor, Tensor]:
    kind, place = ids(24, 9, high=5, seed=96), 1.2 * normal(24, 9, 3, seed=97)
    return kind, place, (place**2).mean((1, 2))[:, None] - 1.4


def shapes() -> tuple[Tensor, Tensor]:
    kind = ids(24, high=6, seed=98)
    return normal(24, 48, 3, seed=99) * (0.4 + 0.4 * functional.one_hot(kind % 3, 3))[:, None], kind


# The collection

other = subject("other")

GRAPHS = (
    other("gat", attending, nodes, tokenwise),
    other("gin", isomorphic, whole_graphs),
    other("graph_sage", sampled, nodes, tokenwise),
    other("egnn", equivariant, molecules, "mse_loss"),
    other("schnet", filtered, atoms, "mse_loss"),
    other("dgcnn", edges, shapes),
)
