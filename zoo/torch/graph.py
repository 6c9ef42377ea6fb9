"""Networks of graphs, molecules, points and sets."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import classed, ids, labels, normal, targets, uniform
from zoo.torch.laws import drawn, filled
from zoo.torch.layers import Net, conv, mlp, stacked
from zoo.torch.losses import next_token, tokenwise


def graph() -> nn.Module:
    """Graph convolutions on a fixed ring with chords, Xavier uniform (Kipf 2017)."""
    places = torch.arange(64)
    edges = torch.eye(64)
    for step in (1, 5):
        edges[places, (places + step) % 64] = edges[(places + step) % 64, places] = 1
    edges = edges / edges.sum(1).sqrt()[:, None] / edges.sum(0).sqrt()

    def run(net: Any, x: Tensor) -> Tensor:
        x = (net.edges @ net.first(x)).relu()
        return net.edges @ net.last((net.edges @ net.second(x)).relu())

    parts = {"first": nn.Linear(64, 128), "second": nn.Linear(128, 128), "last": nn.Linear(128, 7)}
    return drawn(Net(run, edges=edges, **parts), init.xavier_uniform_)


def points() -> nn.Module:
    """PointNet: the same perceptron at every point, the maximum over them; torch's own weights."""
    sizes = ((3, 64), (64, 64), (64, 128), (128, 256))
    each = [part for i, o in sizes for part in (nn.Conv1d(i, o, 1), nn.BatchNorm1d(o), nn.ReLU())]
    top = nn.Sequential(nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))
    return Net(lambda net, x: net.top(net.each(x).amax(2)), each=nn.Sequential(*each), top=top)


def nodes() -> tuple[Tensor, Tensor]:
    x = normal(8, 64, 64)
    return x, labels(x.flatten(0, 1), 7).view(8, 64)


def clouds() -> tuple[Tensor, Tensor]:
    shape = normal(32, 3, 1)
    return normal(32, 3, 128, seed=5) * (1 + shape.abs()), labels(shape)


def averages() -> nn.Module:
    """Deep sets: a map of each element, their sum, a map of that; ELU, torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.after(net.each(x).mean(1))

    return Net(run, each=mlp(8, 64, 64, 64, act=nn.ELU), after=mlp(64, 64, 64, 1, act=nn.ELU))


def sets() -> tuple[Tensor, Tensor]:
    spread = 0.5 + uniform(48, 1, 1, seed=19)
    return normal(48, 24, 8) * spread, spread[:, 0] - 1


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


def ring_nodes() -> tuple[Tensor, Tensor]:
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


def gcn_ii(depth: int = 16, width: int = 64) -> nn.Module:
    """Deep graph convolutions that keep a tenth of the start and most of the identity."""

    def run(net: Any, x: Tensor, links: Tensor) -> Tensor:
        x = start = functional.relu(net.enter(x))
        for k, layer in enumerate(net.layers):
            mixed, part = 0.9 * links @ x + 0.1 * start, math.log(1 + 0.5 / (k + 1))
            x = functional.relu((1 - part) * mixed + part * layer(mixed))
        return net.leave(x)

    layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
    return Net(run, enter=nn.Linear(32, width), layers=layers, leave=nn.Linear(width, 6))


def linked() -> tuple[Tensor, ...]:
    x, links = normal(80, 32, seed=310), (normal(80, 80, seed=311) > 1.7).float()
    links = ((links + links.t()) > 0).float().fill_diagonal_(1)
    degree = links.sum(1).rsqrt()
    return x, degree[:, None] * links * degree, labels(x, 6)


def bag() -> nn.Module:
    """Gated attention weighs the parts of a bag."""
    parts = {"see": mlp(32, 128, 64), "a": nn.Linear(64, 32), "b": nn.Linear(64, 32), "c": nn.Linear(32, 1)}

    def run(net: Any, x: Tensor) -> Tensor:
        x = functional.relu(net.see(x))
        return net.head((net.c(net.a(x).tanh() * net.b(x).sigmoid()).softmax(1) * x).sum(1))

    return Net(run, **parts, head=nn.Linear(64, 4))


tuned, held_out = maker("torch", "graph", "tuned"), maker("torch", "graph", "held_out")
MODELS = (
    tuned("graph", graph, nodes, next_token),
    tuned("pointnet", points, clouds),
    tuned("fresh_deep_sets", averages, sets, "mse_loss"),
    tuned("fresh_gat", attending, ring_nodes, tokenwise),
    tuned("fresh_gin", isomorphic, whole_graphs),
    tuned("fresh_graph_sage", sampled, ring_nodes, tokenwise),
    tuned("fresh_egnn", equivariant, molecules, "mse_loss"),
    tuned("fresh_schnet", filtered, atoms, "mse_loss"),
    tuned("fresh_dgcnn", edges, shapes),
    held_out("last_bag_of_parts", bag, lambda: classed(normal(24, 12, 32), 4)),
    held_out("last_gcn_ii_16", gcn_ii, linked),
)
