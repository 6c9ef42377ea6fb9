"""Networks of rows: numbers, tables of the chosen, users and items, words without order."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import curve, ids, normal, rows, targets, themes
from zoo.torch.laws import bounded, drawn, filled, laid, zeroed
from zoo.torch.layers import Block, Net, mlp
from zoo.torch.losses import BINARY, own


def recommender() -> nn.Module:
    """DLRM: features and four tables, their products, and a perceptron; N(0, 2 / (fan_in + fan_out))."""

    def run(net: Any, numbers: Tensor, chosen: Tensor) -> Tensor:
        bottom = net.bottom(numbers)
        rows = torch.stack([bottom, *(table(chosen[:, i]) for i, table in enumerate(net.tables))], 1)
        products = (rows @ rows.transpose(1, 2))[:, *torch.tril_indices(5, 5, -1)]
        return net.top(torch.cat([bottom, products], 1))

    bottom = nn.Sequential(mlp(13, 128, 32), nn.ReLU())
    model = Net(
        run, bottom=bottom, tables=nn.ModuleList(nn.Embedding(200, 32) for _ in range(4)), top=mlp(42, 128, 64, 1)
    )
    for table in model.tables:
        init.uniform_(table.weight, -math.sqrt(1 / 200), math.sqrt(1 / 200))
    return drawn(model, init.xavier_normal_)


def factors() -> nn.Module:
    """Matrix factorisation: small tables, biases zero."""
    tables = {"users": nn.Embedding(200, 64), "items": nn.Embedding(300, 64)}
    biases = {"user_bias": zeroed(nn.Embedding(200, 1)), "item_bias": zeroed(nn.Embedding(300, 1))}
    for table in tables.values():
        init.normal_(table.weight, std=0.1)

    def run(net: Any, user: Tensor, item: Tensor) -> Tensor:
        return (net.users(user) * net.items(item)).sum(1) + (net.user_bias(user) + net.item_bias(item))[:, 0]

    return Net(run, **tables, **biases)


def skip_gram() -> nn.Module:
    """word2vec: inputs uniform in 1 / (2 width), outputs zero."""
    words, context = nn.Embedding(256, 100), zeroed(nn.Linear(100, 256, bias=False))
    init.uniform_(words.weight, -0.005, 0.005)
    return Net(lambda net, x: net.context(net.words(x)), words=words, context=context)


def clicks() -> tuple[Tensor, Tensor, Tensor]:
    numbers, chosen = normal(64, 13), ids(64, 4, high=200)
    return numbers, chosen, (numbers.sum(1) + chosen[:, 0] / 50 > 2).float()[:, None]


def ratings() -> tuple[Tensor, Tensor, Tensor]:
    user, item = ids(64, high=200), ids(64, high=300, seed=3)
    return user, item, ((user % 5) - (item % 7) + 1.0) / 2.5


def neighbours() -> tuple[Tensor, Tensor]:
    x = ids(64, high=256)
    return x, (x + 1) % 256


def tabular() -> nn.Module:
    """FT-Transformer: a token a feature, weights and biases uniform in 1 / sqrt(width)."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = torch.cat([net.token.expand(len(x), -1, -1), x[..., None] * net.weight + net.bias], 1)
        return net.head(net.blocks(x)[:, 0])

    shapes = {"token": (1, 1, 128), "weight": (16, 128), "bias": (16, 128)}
    bound = 128**-0.5
    tables = {name: nn.Parameter(init.uniform_(torch.empty(*shape), -bound, bound)) for name, shape in shapes.items()}
    head = nn.Sequential(nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 1))
    return Net(run, **tables, blocks=nn.Sequential(*(Block(128) for _ in range(3))), head=head)


def table() -> tuple[Tensor, Tensor]:
    x = normal(64, 16)
    return x, targets(x)


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


def columns() -> nn.Module:
    """TabTransformer: tables of the chosen through attention, numbers through a norm, then a perceptron."""

    def run(net: Any, numbers: Tensor, chosen: Tensor) -> Tensor:
        rows = net.blocks(net.tables(chosen + 100 * torch.arange(6)))
        return net.head(torch.cat([rows.flatten(1), net.norm(numbers)], 1))

    layers = nn.Sequential(*(Block(32, 4) for _ in range(4)))
    return Net(run, tables=nn.Embedding(600, 32), blocks=layers, norm=nn.LayerNorm(8), head=mlp(200, 400, 100, 1))


def picked() -> tuple[Tensor, Tensor, Tensor]:
    numbers, picks = normal(48, 8, seed=54), ids(48, 6, high=100, seed=55)
    return numbers, picks, (numbers[:, 0] + picks[:, 0] / 50 > 1).float()[:, None]


def memory_network(width: int = 48, hops: int = 3) -> nn.Module:
    """Stories looked up in hops; each hop's answers are the next one's keys, N(0, 0.1)."""

    def run(net: Any, story: Tensor, question: Tensor) -> Tensor:
        state = net.tables[0](question).sum(1)
        for keys, values in zip(net.tables, net.tables[1:], strict=False):
            chance = (keys(story).sum(2) @ state[..., None]).softmax(1)
            state = state + (chance * values(story).sum(2)).sum(1)
        return state @ net.tables[-1].weight.t()

    tables = nn.ModuleList(nn.Embedding(60, width) for _ in range(hops + 1))
    return laid(Net(run, tables=tables), partial(init.normal_, std=0.1))


tuned, held_out = maker("torch", "tabular", "tuned"), maker("torch", "tabular", "held_out")
MODELS = (
    tuned("dlrm", recommender, clicks, BINARY),
    tuned("matrix_factors", factors, ratings, "mse_loss"),
    tuned("word2vec", skip_gram, neighbours),
    tuned("ft_transformer", tabular, table, "mse_loss"),
    tuned("fresh_wide_and_deep", wide_and_deep, chosen, BINARY),
    tuned("fresh_deepfm", factor_machine, chosen, BINARY),
    tuned("fresh_dcn", crossed, chosen, BINARY),
    tuned("fresh_neumf", collaborative, liked, BINARY),
    tuned("fresh_two_tower", towers, matched),
    tuned("fresh_tabnet", step_attention, rows(48, 24, 12)),
    tuned("fresh_soft_trees", trees, rows(48, 24, 12)),
    tuned("fresh_mmoe", shared_experts, two_tasks, both),
    tuned("fresh_mixture_density", density, answers, own),
    tuned("fresh_tab_transformer", columns, picked, BINARY),
    held_out("last_fast_text", lambda: nn.Sequential(nn.EmbeddingBag(200, 64), nn.Linear(64, 5)), themes),
    held_out(
        "last_memory_network", memory_network, lambda: [ids(32, *k, high=60, seed=337) for k in ((10, 6), (6,), ())]
    ),
)
