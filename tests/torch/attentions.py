"""One attention in every spelling: what differs is how the scores are computed, and by what they are multiplied."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

F = nn.functional

WIDTH, HEADS, SIZE = 64, 4, 16
SCALE = SIZE**-0.5


class Attention(nn.Module):
    """Query, key, value and output maps; `attend` is the spelling.

    Args:
        attend: from the module and its input to what the output map reads.
        maps: by name; four dense ones by default.
        values: parameters that are no maps, by name.
    """

    def __init__(self, attend, maps=None, values=None):
        super().__init__()
        self.attend = attend
        names = ("q", "k", "v", "out")
        dense = {name: nn.Linear(WIDTH, WIDTH, bias=False) for name in names}
        self.maps = nn.ModuleDict(dense if maps is None else maps())
        self.values = nn.ParameterDict({name: nn.Parameter(value.clone()) for name, value in (values or {}).items()})
        self.register_buffer("factor", torch.tensor(SCALE))

    def forward(self, *inputs):
        return self.maps["out"](self.attend(self, *inputs))


@dataclass(frozen=True)
class Spelling:
    """A way to write attention.

    Args:
        name: of it.
        attend: as of `Attention`.
        maps: as of `Attention`.
        values: as of `Attention`.
        std: of the scores of queries and keys of unit second moment: 1 where they are scaled, sqrt(16) where not.
        form: of the input, by how many places it has.
        query: the map of the queries, and the share of its rows that is theirs.
    """

    name: str
    attend: Callable[..., Any]
    std: float = 1.0
    maps: Callable[[], dict[str, nn.Module]] | None = None
    values: dict[str, torch.Tensor] | None = None
    form: Callable[[int], tuple[int, ...]] = lambda places: (4, places, WIDTH)
    query: str = "q"

    def build(self):
        return Attention(self.attend, self.maps, self.values)

    def batch(self, places=24, seed=0):
        return torch.randn(self.form(places), generator=torch.Generator().manual_seed(seed))


class Scores(TorchFunctionMode):
    """Collects the variance of what each softmax over scores reads."""

    def __init__(self):
        super().__init__()
        self.variances = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, named = getattr(function, "__name__", ""), kwargs or {}
        if name in ("softmax", "log_softmax", "special_softmax"):
            self._see(args[0])
        if name == "scaled_dot_product_attention":
            scale = named.get("scale") or args[0].shape[-1] ** -0.5
            group = args[0].shape[1] // args[1].shape[1]
            self._see(args[0] @ args[1].repeat_interleave(group, 1).transpose(-1, -2) * scale)
        return function(*args, **named)

    def _see(self, scores):
        kept = scores[scores > -1e4]
        self.variances.append(float(kept.var()))


# Parts


def maps(**rows):
    """Dense maps by name, with so many outputs each."""
    return lambda: {name: nn.Linear(WIDTH, count, bias=False) for name, count in rows.items()}


def fused(kind=nn.Linear, *more):
    return lambda: {
        "qkv": kind(WIDTH, 3 * WIDTH, *more, bias=False),
        "out": kind(WIDTH, WIDTH, *more, bias=False),
    }


def split(m, x):
    """Query, key and value as (batch, heads, places, 16)."""
    return tuple(m.maps[name](x).unflatten(-1, (-1, SIZE)).transpose(1, 2) for name in "qkv")


def joined(weights, v):
    return (weights @ v).transpose(1, 2).flatten(2)


def by_scores(scores, parts=split):
    """The spelling whose scores are a function of query and key."""

    def attend(m, x):
        q, k, v = parts(m, x)
        return joined(scores(m, q, k).softmax(-1), v)

    return attend


def of(function):
    """Scores by a function of query and key alone."""
    return by_scores(lambda m, q, k: function(q, k))


def pairs(q, k):
    return q @ k.transpose(-1, -2)


def rotated(x):
    angles = torch.arange(x.shape[-2])[:, None] / 10 ** torch.linspace(0, 2, SIZE // 2)
    cos, sin = (torch.cat([f(angles)] * 2, -1) for f in (torch.cos, torch.sin))
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


# Spellings of the product


def bmm(q, k):
    return torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)).unflatten(0, q.shape[:2]) * SCALE


def baddbmm(q, k):
    q, k = q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)
    start = torch.empty(q.shape[0], q.shape[1], k.shape[2])
    return torch.baddbmm(start, q, k, beta=0, alpha=SCALE).unflatten(0, (-1, HEADS))


def matmul_function(q, k):
    return torch.matmul(q, k.mT) / math.sqrt(SIZE)


def matmul_method(q, k):
    return q.matmul(k.permute(0, 1, 3, 2)).div(SIZE**0.5)


def einsum_heads_first(q, k):
    return torch.einsum("bhid,bhjd->bhij", q, k) * SCALE


def einsum_keys_first(q, k):
    return torch.einsum("bhjd,bhid->bhij", k, q) * SCALE


def einsum_dots(q, k):
    return torch.einsum("...id,...jd->...ij", q, k) * SCALE


def einsum_numbers(q, k):
    return torch.einsum(q, [0, 1, 2, 4], k, [0, 1, 3, 4], [0, 1, 2, 3]) * SCALE


def einsum_grouped(q, k):
    q, k = q.unflatten(1, (2, 2)), k.unflatten(1, (2, 2))
    return torch.einsum("b g h q d, b g h k d -> b g h q k", q, k).flatten(1, 2) * SCALE


def einsum_unscaled(q, k):
    return torch.einsum("bhid,bhjd->bhij", q, k)


def summed(q, k):
    return (q[:, :, :, None] * k[:, :, None]).sum(-1) * SCALE


def summed_unscaled(q, k):
    return (q.unsqueeze(3) * k.unsqueeze(2)).sum(dim=-1)


# Spellings of whole modules


def heads_later(m, x):
    q, k, v = (m.maps[name](x).unflatten(-1, (HEADS, SIZE)) for name in "qkv")
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k) * SCALE
    return torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), v).flatten(2)


def heads_later_unscaled(m, x):
    q, k, v = (m.maps[name](x).unflatten(-1, (HEADS, SIZE)) for name in "qkv")
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k)
    return torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), v).flatten(2)


def turned(m, x):
    """Scores with the keys before the queries, and a softmax over the axis before the last."""
    q, k, v = split(m, x)
    weights = (k @ q.transpose(-1, -2) * SCALE).softmax(-2)
    return joined(weights.transpose(-1, -2), v)


def interleaved(scale):
    def attend(m, x):
        q, k, v = m.maps["qkv"](x).unflatten(-1, (HEADS, 3 * SIZE)).transpose(1, 2).chunk(3, -1)
        return joined((pairs(q, k) * scale).softmax(-1), v)

    return attend


def fused_rotary(m, x):
    """The values reach their product before the rotated queries do."""
    q, k, v = (part.unflatten(-1, (HEADS, SIZE)).transpose(1, 2) for part in m.maps["qkv"](x).chunk(3, -1))
    return joined(pairs(rotated(q), rotated(k)).softmax(-1), v)


def channels_first(m, x):
    q, k, v = (part.reshape(x.shape[0], HEADS, SIZE, -1) for part in m.maps["qkv"](x).chunk(3, 1))
    scores = torch.einsum("bhdi,bhdj->bhij", q * SCALE, k)
    return torch.einsum("bhij,bhdj->bhid", scores.softmax(-1), v).transpose(2, 3).reshape(x.shape)


def channels_first_unscaled(m, x):
    q, k, v = (part.reshape(x.shape[0], HEADS, SIZE, -1) for part in m.maps["qkv"](x).chunk(3, 1))
    weights = torch.einsum("bhdi,bhdj->bhij", q, k).softmax(-1)
    return torch.einsum("bhij,bhdj->bhdi", weights, v).reshape(x.shape)


def channels_in_batch(m, x):
    q, k, v = (part.reshape(x.shape[0] * HEADS, SIZE, -1) for part in m.maps["qkv"](x).chunk(3, 1))
    scores = torch.einsum("bct,bcs->bts", q * SIZE**-0.25, k * SIZE**-0.25)
    return torch.einsum("bts,bcs->bct", scores.softmax(-1), v).reshape(x.shape)


def channels_bmm(m, x):
    q, k, v = (part.reshape(x.shape[0] * HEADS, SIZE, -1) for part in m.maps["qkv"](x).chunk(3, 1))
    scores = torch.bmm(q.permute(0, 2, 1), k) * SIZE**-0.5
    return torch.bmm(v, scores.softmax(2).permute(0, 2, 1)).reshape(x.shape)


def channels_matmul(m, x):
    """As self-attention in adversarial networks: queries of 8 channels, no scale."""
    q, k, v = (m.maps[name](x).flatten(2) for name in "qkv")
    weights = torch.softmax(q.transpose(1, 2) @ k, dim=-1)
    return (v @ weights.transpose(1, 2)).view(x.shape)


def ready(scale=None, before=1.0):
    def attend(m, x):
        q, k, v = split(m, x)
        return F.scaled_dot_product_attention(q * before, k, v, scale=scale).transpose(1, 2).flatten(2)

    return attend


def ready_masked(m, x):
    q, k, v = split(m, x)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def ready_grouped(m, x):
    q, k, v = split(m, x)
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2)


def grouped(m, x):
    q, k, v = split(m, x)
    k, v = (part.repeat_interleave(2, 1) for part in (k, v))
    return joined((pairs(q, k) * SCALE).softmax(-1), v)


def multi_query(m, x):
    q, k, v = m.maps["q"](x).unflatten(-1, (HEADS, SIZE)), m.maps["k"](x), m.maps["v"](x)
    weights = torch.einsum("bqhd,bkd->bhqk", q, k).softmax(-1)
    return torch.einsum("bhqk,bkd->bqhd", weights, v).flatten(2)


def latent(m, x):
    """Keys and values from a normed bottleneck."""
    q = m.maps["q"](x).unflatten(-1, (HEADS, SIZE)).transpose(1, 2)
    small = F.rms_norm(m.maps["down"](x), (WIDTH // 4,))
    k, v = m.maps["up"](small).unflatten(-1, (HEADS, 2 * SIZE)).transpose(1, 2).chunk(2, -1)
    return joined(pairs(q, k).softmax(-1), v)


def cross(m, x):
    context = x.flip(1)[:, ::2]
    q, k, v = (m.maps[n](y).unflatten(-1, (HEADS, SIZE)) for n, y in zip("qkv", (x, context, context), strict=True))
    weights = torch.einsum("bihd,bjhd->bhij", q, k).div(SIZE**0.5).softmax(-1)
    return torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2)


def relative(m, x):
    """As Transformer-XL: content and position, each with a bias of its own, of one variance together."""
    q, k, v = (m.maps[name](x).unflatten(-1, (HEADS, SIZE)) for name in "qkv")
    r = m.maps["r"](positions(x)).unflatten(-1, (HEADS, SIZE))
    content = torch.einsum("bihd,bjhd->bhij", q + m.values["u"], k)
    position = torch.einsum("bihd,jhd->bhij", q + m.values["w"], r)
    weights = ((content + position) * SCALE).softmax(-1)
    return torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2)


def positions(x):
    """Sines of unit second moment, (places, 64)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(x.shape[1], WIDTH, generator=generator) + 0 * x[0]


def softmax_by_hand(m, x):
    q, k, v = split(m, x)
    scores = pairs(q, k)
    powers = torch.exp(scores - scores.amax(-1, keepdim=True))
    return joined(powers / powers.sum(-1, keepdim=True), v)


def cosine(m, q, k):
    return pairs(F.normalize(q, dim=-1), F.normalize(k, dim=-1)) * m.values["tau"].clamp(max=4.6).exp()


def linear(m, x):
    q, k, v = split(m, x)
    q, k = F.elu(q) + 1, F.elu(k) + 1
    out = q @ (k.transpose(-1, -2) @ v) / (q @ k.sum(-2)[..., None])
    return out.transpose(1, 2).flatten(2)


def linear_by_softmax(m, x):
    q, k, v = split(m, x)
    out = q.softmax(-1) @ (k.softmax(-2).transpose(-1, -2) @ v)
    return out.transpose(1, 2).flatten(2)


FOUR = math.sqrt(SIZE)
IMAGE = {"form": lambda places: (2, WIDTH, places // 4, 4)}
SERIES = {"form": lambda places: (4, WIDTH, places)}
GROUPED = maps(q=WIDTH, k=WIDTH // 2, v=WIDTH // 2, out=WIDTH)
SINGLE = maps(q=WIDTH, k=SIZE, v=SIZE, out=WIDTH)


def convolutions():
    return {name: nn.Conv2d(WIDTH, count, 1) for name, count in (("q", 8), ("k", 8), ("v", WIDTH), ("out", WIDTH))}


def bottleneck():
    dense = {"q": nn.Linear(WIDTH, WIDTH), "down": nn.Linear(WIDTH, WIDTH // 4), "up": nn.Linear(WIDTH // 4, 2 * WIDTH)}
    return dense | {"out": nn.Linear(WIDTH, WIDTH)}


FUNCTIONS = (
    *(bmm, baddbmm, matmul_function, matmul_method, einsum_heads_first, einsum_keys_first, einsum_dots),
    *(einsum_numbers, einsum_grouped, summed),
)
SPELLINGS = (
    *(Spelling(function.__name__, of(function)) for function in FUNCTIONS),
    Spelling("at", of(lambda q, k: pairs(q, k) * SCALE)),
    Spelling("unscaled", of(pairs), FOUR),
    Spelling("einsum unscaled", of(einsum_unscaled), FOUR),
    Spelling("summed unscaled", of(summed_unscaled), FOUR),
    # where the scale stands
    Spelling("scale in q", of(lambda q, k: pairs(q * SCALE, k))),
    Spelling("q divided", of(lambda q, k: pairs(q / math.sqrt(SIZE), k))),
    Spelling("scale in k", of(lambda q, k: pairs(q, SCALE * k))),
    Spelling("scale in both", of(lambda q, k: pairs(q * SIZE**-0.25, k * SIZE**-0.25))),
    Spelling("scale in k as the first operand", of(lambda q, k: (SCALE * k @ q.mT).mT)),
    Spelling("half of the scale", of(lambda q, k: pairs(q * SIZE**-0.25, k)), 2.0),
    Spelling("temperature", by_scores(lambda m, q, k: pairs(q, k) / 4.0)),
    Spelling("temperature of one", by_scores(lambda m, q, k: pairs(q, k) / 1.0), FOUR),
    Spelling("in place", of(lambda q, k: pairs(q, k).mul_(SCALE))),
    Spelling("buffer", by_scores(lambda m, q, k: pairs(q, k) * m.factor)),
    Spelling("buffer in q", by_scores(lambda m, q, k: pairs(m.factor * q, k))),
    Spelling("root of a tensor", of(lambda q, k: pairs(q, k) / torch.sqrt(torch.tensor(float(k.shape[-1]))))),
    Spelling("tensor of one value", of(lambda q, k: pairs(q, k) * torch.full((1,), SCALE))),
    Spelling(
        "learned scale",
        by_scores(lambda m, q, k: pairs(q, k) * m.values["s"]),
        values={"s": torch.tensor(SCALE)},
    ),
    Spelling(
        "learned log of the scale",
        by_scores(lambda m, q, k: pairs(q, k) * m.values["s"].exp()),
        values={"s": torch.tensor(math.log(SCALE))},
    ),
    Spelling(
        "learned temperature of each head",
        by_scores(lambda m, q, k: pairs(q, k) / m.values["t"]),
        values={"t": torch.full((HEADS, 1, 1), 4.0)},
    ),
    # masks and biases
    Spelling("masked", of(lambda q, k: (pairs(q, k) * SCALE).masked_fill(torch.eye(q.shape[2]) > 0, -torch.inf))),
    Spelling("masked first", of(lambda q, k: pairs(q, k).masked_fill(torch.eye(q.shape[2]) > 0, -1e9) * SCALE)),
    Spelling("where", of(lambda q, k: torch.where(torch.eye(q.shape[2]) > 0, -1e9, pairs(q, k)).mul(SCALE))),
    Spelling("added mask", of(lambda q, k: pairs(q, k) * SCALE - 1e9 * torch.eye(q.shape[2]))),
    Spelling("added mask, unscaled", of(lambda q, k: pairs(q, k) + torch.eye(q.shape[2]) * -1e9), FOUR),
    Spelling("sloped", of(lambda q, k: pairs(q, k) / 4 - 1e-3 * torch.arange(q.shape[2])), 1.0),
    Spelling(
        "learned bias of places",
        by_scores(lambda m, q, k: pairs(q, k) * SCALE + m.values["b"][:, : q.shape[2], : q.shape[2]]),
        values={"b": torch.zeros(HEADS, 96, 96)},
    ),
    Spelling("soft cap", of(lambda q, k: torch.tanh(pairs(q, k) / 50) * 50), FOUR),
    Spelling("rotary", of(lambda q, k: pairs(rotated(q), rotated(k)) * SCALE)),
    # kinds
    Spelling("heads later", heads_later),
    Spelling("heads later, unscaled", heads_later_unscaled, FOUR),
    Spelling("turned", turned),
    Spelling("interleaved", interleaved(SCALE), maps=fused(), query="qkv"),
    Spelling("interleaved, unscaled", interleaved(1.0), FOUR, fused(), query="qkv"),
    Spelling("fused, rotary, unscaled", fused_rotary, FOUR, fused(), query="qkv"),
    Spelling("channels first", channels_first, maps=fused(nn.Conv1d, 1), query="qkv", **SERIES),
    Spelling("channels first, unscaled", channels_first_unscaled, FOUR, fused(nn.Conv1d, 1), query="qkv", **SERIES),
    Spelling("channels, heads in the batch", channels_in_batch, maps=fused(nn.Conv1d, 1), query="qkv", **SERIES),
    Spelling("channels, images", channels_in_batch, maps=fused(nn.Conv2d, 1), query="qkv", **IMAGE),
    Spelling("channels, bmm", channels_bmm, maps=fused(nn.Conv2d, 1), query="qkv", **IMAGE),
    Spelling("channels, unscaled", channels_matmul, math.sqrt(8), convolutions, **IMAGE),
    Spelling("ready", ready()),
    Spelling("ready, causal", ready_masked),
    Spelling("ready, scale given", ready(SCALE)),
    Spelling("ready, scale in q", ready(1.0, SCALE)),
    Spelling("ready, unscaled", ready(1.0), FOUR),
    Spelling("ready, grouped", ready_grouped, maps=GROUPED),
    Spelling("grouped", grouped, maps=GROUPED),
    Spelling("multi-query, unscaled", multi_query, FOUR, SINGLE),
    Spelling("latent, unscaled", latent, FOUR, bottleneck),
    Spelling("cross", cross),
    Spelling(
        "relative",
        relative,
        math.sqrt(2),
        maps(q=WIDTH, k=WIDTH, v=WIDTH, r=WIDTH, out=WIDTH),
        {name: torch.zeros(HEADS, SIZE) for name in "uw"},
    ),
)  # fmt: skip
WITHOUT_LAW = (
    Spelling("cosine", by_scores(cosine), values={"tau": torch.full((HEADS, 1, 1), math.log(10.0))}),
    Spelling("linear", linear),
    Spelling("linear by softmax", linear_by_softmax),
)
"""Attention in which the size of the queries does not set that of the scores."""
HAND = Spelling("softmax by hand", softmax_by_hand, FOUR)
