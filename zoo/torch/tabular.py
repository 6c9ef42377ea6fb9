"""Models of tables, of users and of items that no rule of the check was chosen on."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.batches import BINARY, bounded, curve, laid, own, rows, subject
from zoo.torch.layers import Net, drawn, filled, ids, mlp, normal, targets, zeroed

# Tables


def heads_of(tables: nn.ModuleList, chosen: Tensor) -> Tensor:
    return torch.stack([table(chosen[:, i]) for i, table in enumerate(tables)], 1)


def tables(count: int, width: int, std: float) -> nn.ModuleList:
    return nn.ModuleList(laid(nn.Embedding(100, width), partial(init.normal_, std=std)) for _ in range(count))


def wide_and_deep() -> nn.Module:
    """Keras's laws: tables uniform in 0.05, Glorot uniform; the wide part starts at zero."""

    def run(net: Any, numbers: Tensor, chosen: Tensor) -> Tensor:
        wide = heads_of(net.wide, chosen).sum(1)
        return wide + net.deep(torch.cat([heads_of(net.tables, chosen).flatten(1), numbers], 1))

    parts = {"wide": nn.ModuleList(zeroed(nn.Embedding(100, 1)) for _ in range(6)), "tables": tables(6, 16, 1.0)}
    laid(parts["tables"], bounded(0.05))
    return Net(run, **parts, deep=drawn(mlp(104, 128, 64, 32, 1), init.xavier_uniform_))


def factor_machine() -> nn.Module:
    """DeepFM with FuxiCTR's laws: tables N(0, 1e-4), Xavier normal."""

    def run(net: Any, _: Tensor, chosen: Tensor) -> Tensor:
        rows = heads_of(net.tables, chosen)
        pairs = (rows.sum(1) ** 2 - (rows**2).sum(1)).sum(1, keepdim=True) / 2
        return heads_of(net.wide, chosen).sum(1) + pairs + net.deep(rows.flatten(1))

    deep = drawn(mlp(96, 128, 128, 1), init.xavier_normal_)
    return Net(run, tables=tables(6, 16, 1e-4), wide=tables(6, 1, 1e-4), deep=deep)


def crossed() -> nn.Module:
    """DCN-v2: three cross layers beside a perceptron, Xavier normal."""

    def run(net: Any, numbers: Tensor, chosen: Tensor) -> Tensor:
        first = torch.cat([heads_of(net.tables, chosen).flatten(1), numbers], 1)
        x = first
        for layer in net.cross:
            x = first * layer(x) + x
        return net.head(torch.cat([x, net.deep(first)], 1))

    cross = nn.ModuleList(nn.Linear(104, 104) for _ in range(3))
    parts = {"cross": cross, "deep": nn.Sequential(mlp(104, 128, 64), nn.ReLU()), "head": nn.Linear(168, 1)}
    return drawn(Net(run, tables=tables(6, 16, 0.1), **parts), init.xavier_normal_)


def collaborative() -> nn.Module:
    """NeuMF: tables N(0, 0.01), Xavier uniform (He 2017)."""

    def run(net: Any, user: Tensor, item: Tensor) -> Tensor:
        product = net.user_factors(user) * net.item_factors(item)
        deep = net.deep(torch.cat([net.user(user), net.item(item)], 1)).relu()
        return net.head(torch.cat([product, deep], 1))[:, 0]

    names = ("user", "item", "user_factors", "item_factors")
    parts = {name: laid(nn.Embedding(150, 32), partial(init.normal_, std=0.01)) for name in names}
    deep = drawn(mlp(64, 64, 32, 32), init.xavier_uniform_)
    return Net(run, **parts, deep=deep, head=filled(nn.Linear(64, 1), partial(init.kaiming_uniform_, a=1)))


def towers() -> nn.Module:
    """Users and items each through a tower; the others of the batch are the wrong items."""

    def tower() -> nn.Module:
        return nn.Sequential(nn.Embedding(100, 64), mlp(64, 128, 64))

    def run(net: Any, user: Tensor, item: Tensor) -> Tensor:
        a, b = functional.normalize(net.user(user), dim=1), functional.normalize(net.item(item), dim=1)
        return a @ b.T / 0.1

    return Net(run, user=tower(), item=tower())


def step_attention() -> nn.Module:
    """TabNet in small: masks over the features at three steps, batch norms, its authors' gains."""

    def glu_law(weight: Tensor) -> None:
        init.xavier_normal_(weight, gain=math.sqrt(sum(weight.shape) / math.sqrt(weight.shape[1])))

    def mask_law(weight: Tensor) -> None:
        init.xavier_normal_(weight, gain=math.sqrt(sum(weight.shape) / math.sqrt(4 * weight.shape[1])))

    def glu(fan_in: int) -> nn.Module:
        return nn.Sequential(filled(nn.Linear(fan_in, 64, bias=False), glu_law), nn.BatchNorm1d(64), nn.GLU())

    def step() -> nn.Module:
        parts = {"first": glu(24), "second": glu(32)}
        mask = nn.Sequential(filled(nn.Linear(16, 24, bias=False), mask_law), nn.BatchNorm1d(24), nn.Softmax(1))
        return Net(lambda net, x: (net.first(x) + net.second(net.first(x))) * math.sqrt(0.5), **parts | {"mask": mask})

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.norm(x)
        total, prior = x.new_zeros(len(x), 16), torch.ones_like(x)
        told = net.start(x)[:, 16:]
        for part in net.steps:
            mask = part.mask(told) * prior
            prior = prior * (1.3 - mask)
            made = part(mask * x)
            total, told = total + made[:, :16].relu(), made[:, 16:]
        return net.head(total)

    parts = {"norm": nn.BatchNorm1d(24), "start": glu(24), "steps": nn.ModuleList(step() for _ in range(3))}
    return Net(run, **parts, head=filled(nn.Linear(16, 12, bias=False), mask_law))


def trees() -> nn.Module:
    """Soft oblivious trees (NODE): 64 trees of depth 4; choices U(0, 1), answers N(0, 1)."""

    def run(net: Any, x: Tensor) -> Tensor:
        seen = torch.einsum("bf,fnd->bnd", x, net.choice.softmax(0))
        right = ((seen - net.threshold) * (-net.temperature).exp()).sigmoid()
        both = torch.stack([right, 1 - right], -1)
        leaves = both[:, :, 0]
        for level in range(1, 4):
            leaves = (leaves[..., None] * both[:, :, level, None]).flatten(2)
        return torch.einsum("bnl,nlc->bc", leaves, net.answer) / 64

    parts = {"choice": torch.rand(24, 64, 4), "threshold": torch.randn(64, 4) * 0.5}
    parts |= {"temperature": torch.zeros(64, 4), "answer": torch.randn(64, 16, 12)}
    return Net(run, **{name: nn.Parameter(value) for name, value in parts.items()})


def shared_experts() -> nn.Module:
    """MMoE: six experts, a gate and a tower a task; torch's own weights."""

    def run(net: Any, x: Tensor) -> tuple[Tensor, ...]:
        found = torch.stack([expert(x) for expert in net.experts], 1).relu()
        mixed = [(gate(x).softmax(1)[..., None] * found).sum(1) for gate in net.gates]
        return tuple(tower(one) for tower, one in zip(net.towers, mixed, strict=True))

    experts = nn.ModuleList(mlp(24, 64, 64) for _ in range(6))
    gates, ends = nn.ModuleList(nn.Linear(24, 6) for _ in range(2)), nn.ModuleList(mlp(64, 32, n) for n in (5, 1))
    return Net(run, experts=experts, gates=gates, towers=ends)


def density() -> nn.Module:
    """A mixture density network of eight Gaussians (Bishop 1994)."""

    def run(net: Any, x: Tensor, y: Tensor) -> Tensor:
        weight, mean, log_sigma = net.body(x).chunk(3, 1)
        near = -0.5 * ((y - mean) / log_sigma.exp()) ** 2 - log_sigma
        return -torch.logsumexp(weight.log_softmax(1) + near, 1).mean()

    return Net(run, body=mlp(24, 128, 128, 24, act=nn.Tanh))


# Batches and losses


def chosen() -> tuple[Tensor, Tensor, Tensor]:
    numbers, picks = normal(48, 8, seed=13), ids(48, 6, high=100, seed=14)
    return numbers, picks, (numbers[:, 0] + picks[:, 0] / 50 > 1).float()[:, None]


def liked() -> tuple[Tensor, Tensor, Tensor]:
    user, item = ids(64, high=150, seed=15), ids(64, high=150, seed=16)
    return user, item, ((user + item) % 2).float()


def matched() -> tuple[Tensor, Tensor, Tensor]:
    user = ids(32, high=100, seed=17)
    return user, (user + 7) % 100, torch.arange(32)


def two_tasks() -> tuple[Tensor, Tensor]:
    x, y = rows(48, 24, 5)()
    return x, torch.stack([y, targets(x)[:, 0]], 1)


def both(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    away = functional.mse_loss(output[1][:, 0], target[:, 1])
    return functional.cross_entropy(output[0], target[:, 0].long()) + away


def answers() -> tuple[Tensor, Tensor, Tensor]:
    x, y = curve(64, 24)()
    return x, y, torch.zeros(64)


# The collection

table = subject("other")

TABLES = (
    table("wide_and_deep", wide_and_deep, chosen, BINARY),
    table("deepfm", factor_machine, chosen, BINARY),
    table("dcn", crossed, chosen, BINARY),
    table("neumf", collaborative, liked, BINARY),
    table("two_tower", towers, matched),
    table("tabnet", step_attention, rows(48, 24, 12)),
    table("soft_trees", trees, rows(48, 24, 12)),
    table("mmoe", shared_experts, two_tasks, both),
    table("mixture_density", density, answers, own),
)
