"""Every way in which torch's models use a weight: in which role, and how many inputs and outputs it connects."""

import warnings
from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from torch.nn.utils import prune  # noqa: E402

from ..traced import Wrapped, normal, traced  # noqa: E402

P = normal


@dataclass(frozen=True)
class Case:
    """A model, its inputs, and what is known of its parameters: path -> (role, fans of every map)."""

    name: str
    build: Any
    inputs: tuple[Any, ...]
    uses: dict[str, tuple[Any, ...]]


def case(name, build, inputs, **uses):
    return Case(
        name,
        build,
        inputs if isinstance(inputs, tuple) else (inputs,),
        {k.replace("__", "."): v for k, v in uses.items()},
    )


def one(name, forward, inputs, shape, *fans, role="weight"):
    """A single parameter `w` of a shape, used by a function of (w, *inputs)."""
    return case(name, lambda: Wrapped(lambda m, *x: forward(m.w, *x), w=P(*shape)), inputs, w=(role, *fans))


def conv(name, layer, inputs, *fans):
    return case(name, lambda: layer, inputs, weight=("weight", *fans), bias=("bias",))


X = P(8, 6)
IDS = torch.tensor([[1, 2, 0], [3, 3, 1]])

DENSE = [
    case("Linear", lambda: nn.Linear(6, 10), X, weight=("weight", (6, 10)), bias=("bias",)),
    case(
        "addmm",
        lambda: Wrapped(lambda m, x: torch.addmm(m.b, x, m.w), b=P(10), w=P(6, 10)),
        X,
        w=("weight", (6, 10)),
        b=("bias",),
    ),
    case(
        "addmm W x",
        lambda: Wrapped(lambda m, x: torch.addmm(m.b, m.w, x.T), b=P(10, 1), w=P(10, 6)),
        X,
        w=("weight", (6, 10)),
        b=("bias",),
    ),
    case(
        "addmv",
        lambda: Wrapped(lambda m, x: torch.addmv(m.b, m.w, x), b=P(10), w=P(10, 6)),
        P(6),
        w=("weight", (6, 10)),
        b=("bias",),
    ),
    case(
        "baddbmm",
        lambda: Wrapped(lambda m, x: torch.baddbmm(m.b, x, m.w), b=P(4, 1, 10), w=P(4, 6, 10)),
        P(4, 8, 6),
        w=("weight", (6, 10)),
        b=("bias",),
    ),
    one("x @ W", lambda w, x: x @ w, X, (6, 10), (6, 10)),
    one("W @ x", lambda w, x: w @ x.T, X, (10, 6), (6, 10)),
    one("rmatmul", lambda w, x: x.__rmatmul__(w.T), X.T, (6, 10), (6, 10)),
    one("mm", lambda w, x: torch.mm(x, mat2=w), X, (6, 10), (6, 10)),
    one("mv", torch.mv, P(6), (10, 6), (6, 10)),
    one("vector", lambda w, x: x @ w, X, (6,), (6, 1)),
    one("inner", lambda w, x: torch.inner(x, w), X, (10, 6), (6, 10)),
    one("tensordot", lambda w, x: torch.tensordot(x, w, dims=1), X, (6, 2, 5), (6, 10)),
    one("tensordot axes", lambda w, x: torch.tensordot(w, x, dims=([1], [1])), X, (10, 6), (6, 10)),
    one("matmul stacked", lambda w, x: x @ w, P(4, 8, 6), (4, 6, 10), (6, 10)),
    one("matmul stacked W x", lambda w, x: w @ x, P(4, 6, 8), (4, 10, 6), (6, 10)),
    one("bmm", lambda w, x: torch.bmm(x, w), P(4, 8, 6), (4, 6, 10), (6, 10)),
    one("einsum", lambda w, x: torch.einsum("bi,io->bo", x, w), X, (6, 10), (6, 10)),
    one("einsum weight first", lambda w, x: torch.einsum("oi,...i->...o", w, x), P(2, 8, 6), (10, 6), (6, 10)),
    one("einsum heads", lambda w, x: torch.einsum("bsd,dhk->bshk", x, w), P(2, 8, 6), (6, 2, 5), (6, 10)),
    one("einsum merged heads", lambda w, x: torch.einsum("bshk,hkd->bsd", x, w), P(2, 8, 3, 2), (3, 2, 10), (6, 10)),
    one("einsum stack", lambda w, x: torch.einsum("ebi,eio->ebo", x, w), P(4, 8, 6), (4, 6, 10), (6, 10)),
    one("einsum implicit", lambda w, x: torch.einsum("bi,ij", x, w), X, (6, 10), (6, 10)),
    one(
        "einsum stacked ellipsis",
        lambda w, x: torch.einsum("...bi,...io->...bo", x, w),
        P(4, 8, 6),
        (4, 6, 10),
        (6, 10),
    ),
    one("einsum ellipsis last", lambda w, x: torch.einsum("bi...,io->bo...", x, w), P(8, 6, 3), (6, 10), (6, 10)),
    one("einsum weighs", lambda w, x: torch.einsum("bi,i->bi", x, w), X, (6,), role="scale"),
    case(
        "einsum two weights",
        lambda: Wrapped(lambda m, x: torch.einsum("bi,ir,ro->bo", x, m.a, m.b), a=P(6, 3), b=P(3, 10)),
        X,
        a=("weight", (6, 3)),
        b=("weight", (3, 10)),
    ),
    case(
        "einsum router",
        lambda: Wrapped(lambda m, x, g: torch.einsum("ebi,eio,be->bo", x, m.w, g), w=P(4, 6, 10)),
        (P(4, 8, 6), P(8, 4)),
        w=("weight", (6, 10)),
    ),
    case("Bilinear", lambda: nn.Bilinear(3, 4, 5), (P(8, 3), P(8, 4)), weight=("weight", (12, 5)), bias=("bias",)),
]

CONV = [
    conv("Conv1d", nn.Conv1d(4, 6, 5, stride=2), P(2, 4, 16), (20, 15)),
    conv("Conv2d", nn.Conv2d(16, 32, 3), P(2, 16, 5, 5), (144, 288)),
    conv("Conv2d grouped", nn.Conv2d(16, 32, 3, groups=4), P(2, 16, 5, 5), (36, 72)),
    conv("Conv2d strides", nn.Conv2d(4, 6, 3, stride=(2, 1), padding="valid"), P(2, 4, 7, 7), (36, 27)),
    conv("Conv2d depthwise", nn.Conv2d(32, 32, 3, groups=32), P(2, 32, 5, 5), (9, 9)),
    conv("Conv2d multiplier", nn.Conv2d(8, 16, 3, groups=8), P(2, 8, 5, 5), (9, 18)),
    conv("Conv2d circular", nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), P(2, 4, 5, 5), (36, 54)),
    conv("Conv3d", nn.Conv3d(4, 6, 2), P(2, 4, 4, 4, 4), (32, 48)),
    conv("ConvTranspose1d", nn.ConvTranspose1d(4, 6, 4, stride=2), P(2, 4, 8), (8, 24)),
    conv("ConvTranspose2d", nn.ConvTranspose2d(64, 16, 4, stride=2), P(2, 64, 5, 5), (256, 256)),
    conv("ConvTranspose2d grouped", nn.ConvTranspose2d(8, 12, 4, stride=2, groups=4), P(2, 8, 5, 5), (8, 48)),
    conv("ConvTranspose3d", nn.ConvTranspose3d(4, 6, 2), P(2, 4, 4, 4, 4), (32, 48)),
    case(
        "aten convolution",
        lambda: Wrapped(
            lambda m, x: torch.convolution(x, m.w, None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1), w=P(64, 16, 4, 4)
        ),
        P(2, 64, 5, 5),
        w=("weight", (256, 256)),
    ),
    case(
        "unfolded",
        lambda: Wrapped(lambda m, x: m.w.view(6, -1) @ F.unfold(x, 3), w=P(6, 4, 3, 3)),
        P(2, 4, 5, 5),
        w=("weight", (36, 6)),
    ),
]

TABLES = [
    case("Embedding", lambda: nn.Embedding(5, 7), IDS, weight=("table", (1, 7))),
    case("EmbeddingBag", lambda: nn.EmbeddingBag(5, 7), IDS, weight=("table", (1, 7))),
    one("table[index]", lambda w, i: w[i], IDS, (5, 7), (1, 7), role="table"),
    one("table[:, index]", lambda w, i: w[:, i], IDS, (7, 5), (1, 7), role="table"),
    one("index_select", lambda w, i: torch.index_select(w, 1, i.flatten()), IDS, (7, 5), (1, 7), role="table"),
    one("torch.embedding", lambda w, i: torch.embedding(w, i), IDS, (5, 7), (1, 7), role="table"),
    one("one-hot", lambda w, i: F.one_hot(i, 5).float() @ w, IDS, (5, 7), (5, 7)),
    one("two indices", lambda w, i: w[i, i], IDS, (5, 5, 7), (1, 7), role="table"),
]

VIEWS = [
    one("p[0]", lambda w, x: x @ w[0] + x @ w[1], X, (2, 6, 10), (6, 10)),
    one("p.T", lambda w, x: x @ w.T, X, (10, 6), (6, 10)),
    one("expand", lambda w, x: torch.bmm(x, w.expand(4, -1, -1)), P(4, 8, 6), (1, 6, 10), (6, 10)),
    one("unsqueeze", lambda w, x: torch.bmm(x[None], w[None]), X, (6, 10), (6, 10)),
    one("chunk of out", lambda w, x: x @ w.chunk(2, -1)[0] + x @ w.chunk(2, -1)[1], X, (6, 20), (6, 10), (6, 10)),
    one("chunk of in", lambda w, x: x @ w.chunk(2)[0] + x @ w.chunk(2)[1], X, (12, 10), (6, 10), (6, 10)),
    one("split of out", lambda w, x: sum(p.sum() for p in (x @ w[:, :15], x @ w[:, 15:])), X, (6, 20), (6, 15), (6, 5)),
    one("view to heads", lambda w, x: torch.einsum("bi,hoi->bho", x, w.view(2, 5, 6)), X, (10, 6), (6, 10)),
    one("merged heads", lambda w, x: F.linear(x, w.view(10, 6)), X, (2, 5, 6), (6, 10)),
    one("stack in one axis", lambda w, x: torch.bmm(x, w.view(4, 6, 10)), P(4, 8, 6), (24, 10), *[(6, 10)] * 4),
    one("weight * mask", lambda w, x: x @ (w * torch.ones(6, 10).tril()), X, (6, 10), (6, 10)),
    one("weight.double()", lambda w, x: x.double() @ w.double().T, X, (10, 6), (6, 10)),
    one("transposed copy", lambda w, x: x @ w.t().contiguous(), X, (10, 6), (6, 10)),
    one("1 + weight", lambda w, x: F.layer_norm(x, (6,)) * (1 + w), X, (6,), role="scale"),
    one(
        "standardised",
        lambda w, x: F.conv2d(x, F.batch_norm(w.reshape(1, 6, -1), None, None, training=True).reshape_as(w)),
        P(2, 4, 5, 5),
        (6, 4, 3, 3),
        (36, 54),
    ),
    case(
        "two layers in one product",
        lambda: Wrapped(lambda m, x: F.linear(x, torch.cat([m.a, m.b])), a=P(10, 6), b=P(4, 6)),
        X,
        a=("weight", (6, 10)),
        b=("weight", (6, 4)),
    ),
    case(
        "low rank",
        lambda: Wrapped(lambda m, x: F.linear(x, m.a @ m.b.T), a=P(10, 2), b=P(6, 2)),
        X,
        a=("weight", (2, 10)),
        b=("weight", (6, 2)),
    ),
]


def recurrent(module, inputs, **uses):
    return case(type(module).__name__, lambda: module, inputs, **uses)


SERIES = P(2, 5, 6)
GATES_4, GATES_3 = ("weight", *[(6, 8)] * 4), ("weight", *[(6, 8)] * 3)
PACKED = nn.utils.rnn.pack_padded_sequence(SERIES, torch.tensor([5, 3]), batch_first=True)

RECURRENT = [
    recurrent(
        nn.LSTM(6, 8, 2, bidirectional=True, batch_first=True),
        SERIES,
        weight_ih_l0=GATES_4,
        weight_hh_l0=("recurrent", *[(8, 8)] * 4),
        bias_ih_l0=("bias",),
        bias_hh_l0=("state_bias",),
        weight_ih_l0_reverse=GATES_4,
        weight_hh_l0_reverse=("recurrent", *[(8, 8)] * 4),
        weight_ih_l1=("weight", *[(16, 8)] * 4),
        weight_hh_l1_reverse=("recurrent", *[(8, 8)] * 4),
        bias_hh_l1_reverse=("state_bias",),
    ),
    recurrent(
        nn.LSTM(6, 8, 2, proj_size=3, batch_first=True, bias=False),
        SERIES,
        weight_ih_l0=GATES_4,
        weight_hh_l0=("recurrent", *[(3, 8)] * 4),
        weight_hr_l0=("weight", (8, 3)),
        weight_ih_l1=("weight", *[(3, 8)] * 4),
        weight_hh_l1=("recurrent", *[(3, 8)] * 4),
        weight_hr_l1=("weight", (8, 3)),
    ),
    recurrent(
        nn.LSTM(6, 8, batch_first=True), (PACKED,), weight_ih_l0=GATES_4, weight_hh_l0=("recurrent", *[(8, 8)] * 4)
    ),
    recurrent(
        nn.GRU(6, 8),
        SERIES,
        weight_ih_l0=GATES_3,
        weight_hh_l0=("recurrent", *[(8, 8)] * 3),
        bias_hh_l0=("state_bias",),
    ),
    recurrent(nn.GRU(6, 8), (PACKED,), weight_ih_l0=GATES_3, weight_hh_l0=("recurrent", *[(8, 8)] * 3)),
    recurrent(nn.RNN(6, 8), SERIES, weight_ih_l0=("weight", (6, 8)), weight_hh_l0=("recurrent", (8, 8))),
    recurrent(nn.RNN(6, 8, nonlinearity="relu"), SERIES, weight_ih_l0=("weight", (6, 8))),
    recurrent(
        nn.LSTMCell(6, 8),
        X,
        weight_ih=GATES_4,
        weight_hh=("recurrent", *[(8, 8)] * 4),
        bias_ih=("bias",),
        bias_hh=("state_bias",),
    ),
    recurrent(nn.GRUCell(6, 8), X, weight_ih=GATES_3, weight_hh=("recurrent", *[(8, 8)] * 3)),
    recurrent(nn.RNNCell(6, 8), X, weight_ih=("weight", (6, 8)), weight_hh=("recurrent", (8, 8))),
    case(
        "learned state",
        lambda: Wrapped(
            lambda m, x: m.r(x, (m.h, m.c))[0], r=nn.LSTM(6, 8, batch_first=True), h=P(1, 2, 8), c=P(1, 2, 8)
        ),
        SERIES,
        r__weight_ih_l0=GATES_4,
        r__weight_hh_l0=("recurrent", *[(8, 8)] * 4),
        h=("operand",),
        c=("operand",),
    ),
]

ATTENTION = [
    case(
        "MultiheadAttention",
        lambda: Wrapped(lambda m, x: m.a(x, x, x)[0], a=nn.MultiheadAttention(6, 2, add_bias_kv=True)),
        SERIES,
        a__in_proj_weight=("weight", *[(6, 6)] * 3),
        a__in_proj_bias=("bias",),
        a__bias_k=("operand",),
        a__bias_v=("operand",),
        a__out_proj__weight=("output", (6, 6)),
        a__out_proj__bias=("bias",),
    ),
    case(
        "MultiheadAttention apart",
        lambda: Wrapped(lambda m, x, k, v: m.a(x, k, v)[0], a=nn.MultiheadAttention(6, 2, kdim=4, vdim=3)),
        (SERIES, P(2, 5, 4), P(2, 5, 3)),
        a__q_proj_weight=("query", (6, 6)),
        a__k_proj_weight=("key", (4, 6)),
        a__v_proj_weight=("value", (3, 6)),
        a__out_proj__weight=("output", (6, 6)),
    ),
    case(
        "TransformerEncoder with a padding mask",
        lambda: Wrapped(
            lambda m, x, mask: m.e(x, src_key_padding_mask=mask),
            e=nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 9, batch_first=True), 1),
        ),
        (SERIES, torch.tensor([[False] * 5, [False] * 3 + [True] * 2])),
        e__layers__0__self_attn__in_proj_weight=("weight", *[(6, 6)] * 3),
        e__layers__0__self_attn__out_proj__weight=("output", (6, 6)),
        e__layers__0__linear1__weight=("weight", (6, 9)),
        e__layers__0__norm2__weight=("scale",),
    ),
]

EXPERTS = [
    one(
        "grouped_mm (e, in, out)",
        lambda w, x: F.grouped_mm(x, w, offs=torch.tensor([8, 16], dtype=torch.int32)),
        P(16, 16).bfloat16(),
        (2, 16, 32),
        (16, 32),
    ),
    one(
        "grouped_mm (e, out, in)",
        lambda w, x: F.grouped_mm(x, w.transpose(-2, -1), offs=torch.tensor([8, 16], dtype=torch.int32)),
        P(16, 16).bfloat16(),
        (2, 32, 16),
        (16, 32),
    ),
    one("experts[i] (e, out, in)", lambda w, x: sum(F.linear(x, w[i]) for i in range(4)), X, (4, 10, 6), (6, 10)),
    one("experts[i] (e, in, out)", lambda w, x: sum(x @ w[i] for i in range(4)), X, (4, 6, 10), (6, 10)),
    one("experts unbound", lambda w, x: sum(x @ one for one in w.unbind()), X, (4, 6, 10), (6, 10)),
    one("experts chosen", lambda w, x: torch.bmm(x[:, None], w[torch.arange(8) % 4]), X, (4, 6, 10), (6, 10)),
]


def old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(nn.Linear(6, 10))


class Skew(nn.Module):
    def forward(self, w):
        return w.triu(1) - w.triu(1).T


def parametrized(shape, parametrization):
    layer = nn.Linear(*shape)
    nn.utils.parametrize.register_parametrization(layer, "weight", parametrization)
    return layer


WN, SN = nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm

DERIVED = [
    case(
        "weight_norm",
        lambda: WN(nn.Linear(6, 10)),
        X,
        parametrizations__weight__original0=("scale",),
        parametrizations__weight__original1=("weight", (6, 10)),
        bias=("bias",),
    ),
    case(
        "weight_norm conv",
        lambda: WN(nn.Conv1d(8, 8, 3, groups=2), dim=2),
        P(2, 8, 9),
        parametrizations__weight__original0=("scale",),
        parametrizations__weight__original1=("weight", (12, 12)),
    ),
    case(
        "weight_norm by a hook", old_weight_norm, X, weight_g=("scale",), weight_v=("weight", (6, 10)), bias=("bias",)
    ),
    case(
        "spectral_norm",
        lambda: SN(nn.Linear(6, 10)),
        X,
        parametrizations__weight__original=("weight", (6, 10)),
        bias=("bias",),
    ),
    case(
        "spectral_norm by a hook",
        lambda: nn.utils.spectral_norm(nn.Conv2d(4, 6, 3)),
        P(2, 4, 5, 5),
        weight_orig=("weight", (36, 54)),
        bias=("bias",),
    ),
    case(
        "orthogonal",
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(6, 6)),
        X,
        parametrizations__weight__original=("weight", (6, 6)),
    ),
    case(
        "parametrized", lambda: parametrized((6, 6), Skew()), X, parametrizations__weight__original=("weight", (6, 6))
    ),
    case(
        "pruned", lambda: prune.random_unstructured(nn.Linear(6, 10), "weight", 0.5), X, weight_orig=("weight", (6, 10))
    ),
]


class Calls(nn.Module):
    """A linear layer, called in another way than by its name."""

    def __init__(self, call):
        super().__init__()
        self.inner, self.call = nn.Linear(6, 6), call

    def forward(self, x):
        return self.call(self.inner, x)


def rechecked(inner, x):
    return torch.utils.checkpoint.checkpoint(inner, x, use_reentrant=False)


def rechecked_reentrant(inner, x):
    return torch.utils.checkpoint.checkpoint(inner, x, use_reentrant=True)


def functional(inner, x):
    return torch.func.functional_call(inner, dict(inner.named_parameters()), (x,))


def functional_halved(inner, x):
    return torch.func.functional_call(inner, {"weight": inner.weight * 0.5}, (x,))


INNER = {"inner__weight": ("weight", (6, 6)), "inner__bias": ("bias",)}

CALLED = [
    case("checkpoint", lambda: Calls(rechecked), X, **INNER),
    case("checkpoint reentrant", lambda: Calls(rechecked_reentrant), X, **INNER),
    case("functional_call", lambda: Calls(functional), X, **INNER),
    case("functional_call of a function", lambda: Calls(functional_halved), X, **INNER),
    case("called twice", lambda: Calls(lambda inner, x: inner(inner(x))), X, **INNER),
    case("forward called", lambda: Calls(lambda inner, x: inner.forward(x)), X, **INNER),
    case("vmap", lambda: Calls(lambda inner, x: torch.func.vmap(inner)(x)), X, **INNER),
    case(
        "compiled",
        lambda: torch.compile(nn.Linear(6, 6)),
        X,
        _orig_mod__weight=("weight", (6, 6)),
        _orig_mod__bias=("bias",),
    ),
    case("tied", lambda: tied(), IDS, e__weight=("table", (1, 6)), h__bias=("bias",)),
]


def tied():
    model = Wrapped(lambda m, i: m.h(m.e(i)), e=nn.Embedding(5, 6), h=nn.Linear(6, 5))
    model.h.weight = model.e.weight
    return model


CASES = DENSE + CONV + TABLES + VIEWS + RECURRENT + ATTENTION + EXPERTS + DERIVED + CALLED


def blocks(trace, path):
    """Every use of a parameter, as its role and the fans of the maps that it holds."""
    shape = trace.by_path[path].shape
    for _, use in trace.uses[path]:
        fans = use.layout.block_fans(shape) if use.layout else ()
        yield use.role, *((fan.fan_in, fan.fan_out) for fan in fans)


def told(trace, path, wanted):
    return all(found == wanted for found in blocks(trace, path)) and bool(trace.uses[path])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_roles_and_fans(case):
    model = case.build()
    if any(isinstance(x, torch.Tensor) and x.dtype == torch.bfloat16 for x in case.inputs):
        model = model.bfloat16()
    trace = traced(model, *case.inputs)
    if case.name == "tied":
        assert list(blocks(trace, "e.weight")) == [("table", (1, 6)), ("weight", (6, 5))]
        assert trace.by_path["e.weight"].aliases == ("h.weight",)
        return
    assert not trace.unused
    for path, wanted in case.uses.items():
        assert list(dict.fromkeys(blocks(trace, path))) == [wanted], path
