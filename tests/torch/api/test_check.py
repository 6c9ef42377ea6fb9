"""`check`: every rule speaks on a model that has its disease and is silent on one that has not; what it refuses."""

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")


import numpy as np  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from fanwise.check.rules.causes import CAUSES  # noqa: E402
from fanwise.check.rules.registry import RULES  # noqa: E402
from fanwise.torch import ModelError, apply, check, plan  # noqa: E402

from ..traced import Wrapped  # noqa: E402

FEATURES, WIDTH, CLASSES, BATCH = 64, 96, 10, 64
MANY = 8192


def he(layer: Any) -> Any:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


def spread(std: float) -> Callable[[Any], Any]:
    """A layer whose weight has this std and whose bias is 0."""

    def change(layer: Any) -> Any:
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)
        return layer

    return change


def by_fan(gain: float) -> Callable[[Any], Any]:
    """A layer of std gain / sqrt(fan_in) and bias 0."""
    return lambda layer: spread(gain / math.sqrt(layer.in_features))(layer)


def stack(depth: int, law: Callable[[Any], Any] = he, act: Any = nn.ReLU, head: Any = None) -> Any:
    """Dense layers by a law, and a quiet head."""
    sizes = [FEATURES] + [WIDTH] * depth
    layers = [part for n, m in itertools.pairwise(sizes) for part in (law(nn.Linear(n, m)), act())]
    return nn.Sequential(*layers, head or by_fan(0.1)(nn.Linear(sizes[-1], CLASSES)))


def data(factor: float = 1.0) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BATCH, FEATURES, generator=generator) * factor
    return x, torch.randint(0, CLASSES, (BATCH,), generator=generator)


def points() -> tuple[Any, Any]:
    """Places in the plane."""
    return torch.rand(BATCH, 2, generator=torch.Generator().manual_seed(5)) * 2 - 1, data()[1]


def numbers(shape: tuple[int, ...], size: float = 1.0) -> tuple[Any, Any]:
    return data()[0], torch.randn(shape, generator=torch.Generator().manual_seed(4)) * size


def changed(model: Any, path: str, change: Callable[[Any], Any]) -> Any:
    with torch.no_grad():
        change(model.get_parameter(path))
    return model


class Residual(nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        self.first, self.second = he(nn.Linear(WIDTH, WIDTH)), by_fan(gain)(nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Any) -> Any:
        return x + self.second(torch.relu(self.first(x)))


def residual(gain: float, depth: int = 32) -> Any:
    stem = by_fan(1.0)(nn.Linear(FEATURES, WIDTH))
    return nn.Sequential(stem, *(Residual(gain) for _ in range(depth)), by_fan(0.1)(nn.Linear(WIDTH, CLASSES)))


def small(std: float) -> Any:
    """A residual network whose branches are drawn at one std."""
    model = residual(1.0, depth=4)
    for block in list(model)[1:-1]:
        for layer in (block.first, block.second):
            spread(std)(layer)
    return model


def attending(std: float) -> Any:
    def forward(m: Any, x: Any) -> Any:
        tokens = m.stem(x).view(BATCH, 8, 12 * 8).view(BATCH, 8, 96)
        q, k, v = (part(tokens).view(BATCH, 8, 4, 24).transpose(1, 2) for part in (m.q, m.k, m.v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(BATCH, 8, 96)
        return m.head(m.o(mixed).mean(1))

    maps = {name: by_fan(std if name in "qk" else 1.0)(nn.Linear(96, 96)) for name in "qkvo"}
    return Wrapped(forward, stem=by_fan(1.0)(nn.Linear(FEATURES, 8 * 96)), head=by_fan(0.1)(nn.Linear(96, 10)), **maps)


def frozen(model: Any, *paths: str) -> Any:
    for path in paths:
        model.get_parameter(path).requires_grad_(False)
    return model


def cut() -> Any:
    model = stack(4)
    return Wrapped(lambda m, x: m.rest(m.start(x).detach()), start=model[:4], rest=model[4:])


def shared() -> Any:
    layer = he(nn.Linear(WIDTH, WIDTH))
    return nn.Sequential(he(nn.Linear(FEATURES, WIDTH)), nn.ReLU(), *[layer, nn.ReLU()] * 3, nn.Linear(WIDTH, CLASSES))


def copied() -> Any:
    layer = he(nn.Linear(WIDTH, WIDTH))
    copies = [part for _ in range(3) for part in (copy.deepcopy(layer), nn.ReLU())]
    return nn.Sequential(he(nn.Linear(FEATURES, WIDTH)), nn.ReLU(), *copies, nn.Linear(WIDTH, CLASSES))


class OneBlock(nn.Module):
    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.stem = he(nn.Linear(FEATURES, WIDTH))
        self.blocks = nn.ModuleList([he(nn.Linear(WIDTH, WIDTH))] * 4 if tied else [he(nn.Linear(WIDTH, WIDTH))])
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any) -> Any:
        x = self.stem(x).relu()
        for _ in range(4):
            x = self.blocks[0](x).relu()
        return self.head(x)


def infinite_slope() -> Any:
    model = stack(2)
    return Wrapped(lambda m, x: m.body(x) + (m.offset * 0.0).sqrt(), body=model, offset=torch.ones(CLASSES))


@dataclass(frozen=True)
class Case:
    """A model with the disease that a rule looks for, and one that only resembles it."""

    sick: Callable[[], Any]
    well: Callable[[], Any]
    kind: str = ""
    place: str | None = None
    batch: Callable[[], Any] = data
    well_batch: Callable[[], Any] = data
    options: Any = None
    loss: Any = "cross_entropy"


def per_place() -> tuple[Any, Any]:
    """A class for each of 8 places."""
    return data()[0], torch.randint(0, CLASSES, (BATCH, 8), generator=torch.Generator().manual_seed(5))


def pairs() -> tuple[Any, Any]:
    """The example itself is what each is to be matched with."""
    return data()[0], torch.arange(BATCH)


def one_direction() -> tuple[Any, Any]:
    """Inputs of many features that differ little."""
    generator = torch.Generator().manual_seed(6)
    centre = torch.where(torch.randn(MANY, generator=generator) > 0, 1.0, -1.0)
    return centre + 0.1 * torch.randn(BATCH, MANY, generator=generator), data()[1]


def double_rows(weight: Any) -> None:
    weight[: len(weight) // 2] = weight[len(weight) // 2 :]


CASES = {
    "NAN001": Case(
        lambda: changed(stack(3), "2.weight", lambda w: w[3].fill_(math.nan)),
        lambda: changed(stack(3), "2.weight", lambda w: w[3].mul_(2)),
        "nan",
        "2.weight",
    ),
    "INP002": Case(lambda: stack(3), lambda: stack(3), "input", batch=lambda: data(math.inf)),
    "ZER001": Case(
        lambda: changed(stack(3), "2.weight", lambda w: w.zero_()),
        lambda: changed(stack(3), "6.weight", lambda w: w.zero_()),
        "zeros",
        "2.weight",
    ),
    "CON001": Case(
        lambda: filled(0.1, "2.weight", "4.weight"),
        lambda: changed(stack(3), "2.bias", lambda b: b.fill_(0.1)),
        "constant",
        "2.weight",
    ),
    "EQU001": Case(
        lambda: changed(stack(3), "2.weight", lambda w: w.copy_(w[:1].expand_as(w))),
        lambda: changed(stack(3), "2.weight", lambda w: w[: WIDTH // 2].neg_()),
        "equal_units",
        "2.weight",
    ),
    "COP001": Case(copied, lambda: stack(4), "copies", "4.weight"),
    "TIE001": Case(lambda: OneBlock(tied=True), lambda: OneBlock(tied=False), "tied", "blocks.0.weight"),
    "LAW003": Case(
        lambda: changed(stack(3), "2.weight", lambda w: w.abs_()),
        lambda: changed(stack(3), "2.weight", lambda w: w.add_(0.1 * w.std())),
        "mean",
        "2.weight",
    ),
    "SEE001": Case(lambda: factory(same=True), lambda: factory(same=False), "seed", "0.weight"),
    "FAC001": Case(
        lambda: changed(normed(2), "1.weight", lambda w: w.mul_(1e3)),
        lambda: changed(normed(2), "1.weight", lambda w: w.mul_(2)),
        "factor",
        "1.weight",
    ),
    "FAC002": Case(
        lambda: changed(normed(2), "1.weight", lambda w: w.normal_(0, 0.02)),
        lambda: changed(normed(2), "1.weight", lambda w: w.normal_(1, 0.02)),
        "norm_factor",
        "1.weight",
    ),
    "ADD001": Case(lambda: placed(1.0), lambda: placed(0.05), "drowned", "positions"),
    "ADP001": Case(lambda: side_path(0.1), lambda: side_path(0.0), "adapter", "up.weight"),
    "GAT001": Case(lambda: gated(-20.0), lambda: gated(-2.0), "shut_gate", "gate.bias"),
    "FAN001": Case(
        lambda: convolved(lambda layer: 9),
        lambda: convolved(lambda layer: 9 * layer.in_channels),
        "wrong_fan",
    ),
    "GRD003": Case(lambda: silent(-30.0), lambda: silent(0.0), "no_gradient"),
    "GRD004": Case(lambda: queried(zeros=True), lambda: queried(zeros=False), "zero_stream"),
    "INP001": Case(lambda: stack(3), lambda: stack(3), "input", "0.weight", lambda: data(80.0), lambda: data(2.0)),
    "BIA001": Case(
        lambda: changed(stack(3), "2.bias", lambda b: b.fill_(-4.0)),
        lambda: changed(stack(3), "2.bias", lambda b: b.fill_(-0.5)),
        "bias",
        "2.bias",
    ),
    "LAY001": Case(
        lambda: changed(stack(8), "6.weight", lambda w: w.mul_(50)),
        lambda: changed(stack(8), "6.weight", lambda w: w.mul_(2)),
        "one_layer_up",
        "6.weight",
    ),
    "NRM001": Case(
        lambda: changed(normed(8), "9.weight", lambda w: w.mul_(50)),
        lambda: changed(normed(8), "9.weight", lambda w: w.mul_(2)),
        "one_layer_up",
        "9.weight",
    ),
    "RES001": Case(lambda: residual(1.4), lambda: residual(1.4 / math.sqrt(32)), "no_residual_scale"),
    "FWD001": Case(lambda: stack(16, by_fan(0.8)), lambda: stack(16), "wrong_gain", "2.weight"),
    "FWD002": Case(lambda: stack(16, by_fan(2.5)), lambda: stack(16), "wrong_gain", "2.weight"),
    "LAW001": Case(lambda: stack(3, by_fan(2.0)), lambda: stack(3, by_fan(2.2)), "slip", "0.weight"),
    "LAW002": Case(
        lambda: Wrapped(lambda m, x: m.a(x[:, None], x[:, None], x[:, None])[0][:, 0], a=mha(fused=True)),
        lambda: Wrapped(lambda m, x: m.a(x[:, None], x[:, None], x[:, None])[0][:, 0], a=mha(fused=False)),
        "fused",
    ),
    "WGT001": Case(lambda: small(1e-3), lambda: small(0.02), "tiny"),
    "WGT002": Case(lambda: normed(4, 1.0), lambda: normed(4, 0.2), "huge"),
    "ATT001": Case(lambda: attending(6.0), lambda: attending(1.0)),
    "SAT001": Case(lambda: stack(3, by_fan(40.0), nn.Tanh), lambda: stack(3, by_fan(1.0), nn.Tanh), "wrong_gain"),
    "DEA001": Case(lambda: shifted(-0.5), lambda: shifted(0.0), "dead"),
    "NAN002": Case(
        lambda: Wrapped(lambda m, x: m.body(x) / (x[:, :1] * 0.0), body=stack(2)), lambda: stack(2), "overflow"
    ),
    "OUT001": Case(lambda: stack(12, by_fan(1.0), nn.Sigmoid), lambda: stack(12, by_fan(1.0), nn.Tanh), "alike"),
    "LOS001": Case(
        lambda: stack(2, head=by_fan(20.0)(nn.Linear(WIDTH, CLASSES))),
        lambda: stack(2, head=by_fan(1.0)(nn.Linear(WIDTH, CLASSES))),
        "head",
        "4.weight",
    ),
    "LOS002": Case(
        lambda: stack(2, head=by_fan(1.0)(nn.Linear(WIDTH, 1))),
        lambda: stack(2, head=by_fan(1.0)(nn.Linear(WIDTH, 1))),
        "broadcast",
        batch=lambda: numbers((BATCH,)),
        well_batch=lambda: numbers((BATCH, 1)),
        loss="mse_loss",
    ),
    "LOS003": Case(
        lambda: stack(2),
        lambda: stack(2),
        "targets",
        batch=lambda: numbers((BATCH, CLASSES), 100.0),
        well_batch=lambda: numbers((BATCH, CLASSES)),
        loss="mse_loss",
    ),
    "FRZ001": Case(lambda: frozen(stack(6), "4.weight"), lambda: frozen(stack(6), "0.weight"), "frozen", "4.weight"),
    "GRD001": Case(cut, lambda: stack(4), "detached", "start.2.weight"),
    "GRD002": Case(infinite_slope, lambda: stack(2), "overflow", "offset"),
    "BWD001": Case(lambda: stack(12, by_fan(1.0), nn.Sigmoid), lambda: stack(12)),
    "BWD002": Case(lambda: stack(24, by_fan(2.5), nn.Tanh), lambda: stack(24, by_fan(1.0), nn.Tanh)),
    "UPD001": Case(
        lambda: stack(3),
        lambda: stack(3),
        "learning_rate",
        options=({"optimizer": "adam:1"}, {"optimizer": "adam:1e-3"}),
    ),
    "UPD002": Case(
        lambda: stack(3),
        lambda: stack(3),
        "learning_rate",
        options=({"optimizer": "sgd:1e-9"}, {"optimizer": "sgd:1e-2"}),
    ),
    "UNU001": Case(
        lambda: Wrapped(lambda m, x: m.body(x), body=stack(2), spare=nn.Linear(3, 3)),
        lambda: stack(2),
        "",
        "spare.weight",
    ),
    "TWI001": Case(shared, lambda: stack(3), "", "2.weight"),
    "PLN001": Case(lambda: stack(3), lambda: stack(3), "plan"),
    "REC001": Case(lambda: iterated(1.5), lambda: iterated(0.5), "recurrence", "step.weight"),
    "GEN001": Case(lambda: generated(4.0), lambda: generated(0.1), "huge", "maker.weight"),
    "SIN002": Case(lambda: waves(0.01), lambda: waves(0.5), "still", "first.weight", batch=points, well_batch=points),
    "SIN001": Case(lambda: sines(30.0), lambda: sines(1.0), "wrapped", "second.weight"),
    "CHO001": Case(lambda: routed(20.0), lambda: routed(0.0), "one_choice", "router.bias"),
    "OUT002": Case(
        lambda: averaged(past=False), lambda: averaged(past=True), "alike", batch=per_place, well_batch=per_place
    ),
    "SUR001": Case(
        lambda: stack(2, head=by_fan(60.0)(nn.Linear(WIDTH, CLASSES))),
        lambda: stack(2, head=by_fan(0.1)(nn.Linear(WIDTH, CLASSES))),
        "head",
        "4.weight",
        loss=lambda output, action: -(output.log_softmax(-1) * functional.one_hot(action, CLASSES) * 0.5).mean(),
    ),
    "TMP001": Case(lambda: compared(1e-3), lambda: compared(1 / 0.07), "temperature", "factor", batch=pairs),
    "BND001": Case(
        lambda: aligned(0.0055),
        lambda: aligned(0.0),
        "off_band",
        "0.weight",
        batch=one_direction,
        well_batch=one_direction,
    ),
}


def filled(value: float, *paths: str, act: Any = nn.ReLU) -> Any:
    """A stack with some weights of one value."""
    model = stack(3, act=act)
    for path in paths:
        changed(model, path, lambda w: w.fill_(value))
    return model


def factory(*, same: bool) -> Any:
    """What builds a model under a seed of its own, or under the one it is given."""

    def build() -> Any:
        if same:
            torch.manual_seed(0)
        return stack(3)

    return build


def iterated(gain: float) -> Any:
    """One map, 20 times, with the input added."""

    def forward(m: Any, x: Any) -> Any:
        start = state = m.read(x)
        for _ in range(20):
            state = (m.step(state) + start).relu()
        return m.head(state)

    maps = {"read": by_fan(1.0)(nn.Linear(FEATURES, WIDTH)), "step": by_fan(2 * gain)(nn.Linear(WIDTH, WIDTH))}
    return Wrapped(forward, **maps, head=by_fan(0.1)(nn.Linear(WIDTH, CLASSES)))


def sines(factor: float) -> Any:
    """Two layers of sines with a factor in the second."""

    def forward(m: Any, x: Any) -> Any:
        return m.head(torch.sin(factor * m.second(torch.sin(m.first(x)))))

    maps = {"first": by_fan(1.0)(nn.Linear(FEATURES, WIDTH)), "second": by_fan(1.4)(nn.Linear(WIDTH, WIDTH))}
    return Wrapped(forward, **maps, head=by_fan(0.1)(nn.Linear(WIDTH, CLASSES)))


def waves(first: float) -> Any:
    """Two layers of sines of 30 times their maps, the first within a bound."""

    def forward(m: Any, x: Any) -> Any:
        return m.head(torch.sin(30 * m.second(torch.sin(30 * m.first(x)))))

    layers = {"first": nn.Linear(2, WIDTH), "second": nn.Linear(WIDTH, WIDTH)}
    for layer, bound in zip(layers.values(), (first, math.sqrt(6 / WIDTH) / 30), strict=True):
        nn.init.uniform_(layer.weight, -bound, bound)
    return Wrapped(forward, **layers, head=by_fan(0.1)(nn.Linear(WIDTH, CLASSES)))


def generated(gain: float) -> Any:
    """A map whose weights another one makes of half of the input."""

    def forward(m: Any, x: Any) -> Any:
        weight = m.maker(x[:, 32:]).view(BATCH, 32, 32)
        return m.head(torch.bmm(weight, x[:, :32, None])[..., 0].relu())

    maker, head = by_fan(gain)(nn.Linear(32, 32 * 32)), by_fan(0.1)(nn.Linear(32, CLASSES))
    return Wrapped(forward, maker=maker, head=head)


def routed(bias: float) -> Any:
    """Experts of which a router takes one for each example."""

    def forward(m: Any, x: Any) -> Any:
        weight, chosen = m.router(x).softmax(-1).max(-1)
        experts = torch.stack([expert(x) for expert in m.experts], 1)
        return m.head(experts[torch.arange(len(x)), chosen] * weight[:, None])

    router = by_fan(1.0)(nn.Linear(FEATURES, 8))
    with torch.no_grad():
        router.bias[0] = bias
    experts = nn.ModuleList(he(nn.Linear(FEATURES, WIDTH)) for _ in range(8))
    return Wrapped(forward, router=router, experts=experts, head=by_fan(0.1)(nn.Linear(WIDTH, CLASSES)))


def averaged(*, past: bool) -> Any:
    """Layers that average over 8 places, with or without a way past them."""

    def forward(m: Any, x: Any) -> Any:
        x = m.read(x.view(BATCH, 8, FEATURES // 8))
        for layer in m.layers:
            mixed = torch.softmax(x @ x.transpose(1, 2) / WIDTH, -1) @ layer(x)
            x = functional.layer_norm(x + mixed if past else mixed, (WIDTH,))
        return m.head(x).transpose(1, 2)

    layers = nn.ModuleList(by_fan(1.0)(nn.Linear(WIDTH, WIDTH)) for _ in range(6))
    read = by_fan(1.0)(nn.Linear(FEATURES // 8, WIDTH))
    return Wrapped(forward, read=read, layers=layers, head=by_fan(0.1)(nn.Linear(WIDTH, CLASSES)))


def compared(factor: float) -> Any:
    """Cosines of two views of each example, times a factor."""

    def forward(m: Any, x: Any) -> Any:
        first, second = (functional.normalize(part(x), dim=-1) for part in (m.first, m.second))
        return first @ second.T * m.factor

    maps = {name: by_fan(1.0)(nn.Linear(FEATURES, 16)) for name in ("first", "second")}
    return Wrapped(forward, **maps, factor=torch.tensor(factor))


def aligned(share: float) -> Any:
    """A weight whose rows hold a share of the direction in which all inputs lie, too small to be seen in the rows."""
    model = nn.Sequential(by_fan(1.0)(nn.Linear(MANY, WIDTH)), nn.ReLU(), spread(1e-3)(nn.Linear(WIDTH, CLASSES)))
    signs = torch.where(torch.randn(WIDTH) > 0, 1.0, -1.0)
    along = signs[:, None] * one_direction()[0].mean(0).sign() / math.sqrt(MANY)
    return changed(model, "0.weight", lambda w: w.mul_(math.sqrt(1 - share)).add_(along * math.sqrt(share)))


def placed(std: float) -> Any:
    """Rows of a table of std 0.05 and positions of another, added."""

    def forward(m: Any, x: Any) -> Any:
        return m.head(m.body(m.tokens((x[:, :8] > 0).long()) + m.positions).mean(1))

    tables = {"tokens": nn.Embedding(2, 32), "positions": torch.randn(8, 32) * std}
    nn.init.normal_(tables["tokens"].weight, std=0.05)
    body = nn.Sequential(nn.LayerNorm(32), by_fan(1.0)(nn.Linear(32, 32)))
    return Wrapped(forward, **tables, body=body, head=by_fan(0.1)(nn.Linear(32, CLASSES)))


def side_path(std: float) -> Any:
    """A frozen map with a low-rank path beside it."""
    base = frozen(by_fan(1.0)(nn.Linear(FEATURES, WIDTH)), "weight", "bias")
    down, up = nn.Linear(FEATURES, 8, bias=False), spread(std)(nn.Linear(8, WIDTH))
    head = by_fan(0.1)(nn.Linear(WIDTH, CLASSES))
    return Wrapped(lambda m, x: m.head((m.base(x) + m.up(m.down(x))).relu()), base=base, down=down, up=up, head=head)


def gated(bias: float) -> Any:
    """A signal times a sigmoid of another map."""
    gate = by_fan(1.0)(nn.Linear(FEATURES, WIDTH))
    nn.init.constant_(gate.bias, bias)
    parts = {"value": by_fan(1.0)(nn.Linear(FEATURES, WIDTH)), "head": nn.Linear(WIDTH, CLASSES), "gate": gate}
    return Wrapped(lambda m, x: m.head(m.value(x) * torch.sigmoid(m.gate(x))), **parts)


def convolved(fan: Callable[[Any], int]) -> Any:
    """Convolutions drawn by He's formula with a number in the place of the fan_in."""
    layers = [nn.Conv2d(n, 16, 3, padding=1) for n in (1, 16, 16, 16)]
    for layer in layers:
        spread(math.sqrt(2 / fan(layer)))(layer)
    body = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    return Wrapped(lambda m, x: m.head(m.body(x.view(-1, 1, 8, 8)).mean((2, 3))), body=body, head=nn.Linear(16, 10))


def silent(bias: float) -> Any:
    """A ReLU that ends the model."""
    model = stack(2)
    nn.init.constant_(model[-1].bias, bias)
    return nn.Sequential(*model, nn.ReLU())


def queried(*, zeros: bool) -> Any:
    """A stream that starts at zeros or at queries and is normalised before the input joins it."""

    def forward(m: Any, x: Any) -> Any:
        stream = m.queries * (0.0 if zeros else 1.0)
        return m.head(m.second(m.norm(stream + m.first(stream)) + m.read(x)))

    maps = {name: by_fan(1.0)(nn.Linear(WIDTH, WIDTH)) for name in ("first", "second")}
    rest = {"read": by_fan(1.0)(nn.Linear(FEATURES, WIDTH)), "norm": nn.LayerNorm(WIDTH)}
    return Wrapped(forward, queries=torch.randn(WIDTH), **maps, **rest, head=by_fan(0.1)(nn.Linear(WIDTH, CLASSES)))


def normed(depth: int, std: float | None = None) -> Any:
    """Layers with a layer norm each."""
    law = he if std is None else spread(std)
    sizes = [FEATURES] + [WIDTH] * depth
    pairs = itertools.pairwise(sizes)
    parts = [part for n, m in pairs for part in (law(nn.Linear(n, m)), nn.LayerNorm(m), nn.ReLU())]
    return nn.Sequential(*parts, by_fan(0.1)(nn.Linear(WIDTH, CLASSES)))


def mha(*, fused: bool) -> Any:
    made = nn.MultiheadAttention(FEATURES, 4, batch_first=True)
    if not fused:
        for part in made.in_proj_weight.detach().chunk(3):
            nn.init.xavier_uniform_(part)
    return made


def shifted(shift: float) -> Any:
    """Rows of one sign before a ReLU that reads what is positive."""
    model = stack(3)
    return changed(model, "2.weight", lambda w: w.copy_(w + shift) if shift else w)


def codes(report: Any) -> list[str]:
    """Of every finding, folded ones too."""
    return [finding.code for root in report.findings for finding in root.walk()]


def judged(case: Case, *, sick: bool) -> Any:
    torch.manual_seed(0)
    model = case.sick() if sick else case.well()
    batch = case.batch() if sick else case.well_batch()
    options = {} if case.options is None else case.options[not sick]
    return check(model, batch, case.loss, **options)


def test_every_rule_has_a_case():
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("code", [code for code in CASES if code != "PLN001"])
def test_a_rule_speaks_where_its_disease_is_and_nowhere_else(code):
    case = CASES[code]
    report = judged(case, sick=True)
    found = [finding for root in report.findings for finding in root.walk() if finding.code == code]
    assert found, codes(report)
    assert found[0].severity == RULES[code].severity or code in ("LAY001", "INP001", "BIA001", "FRZ001")
    assert case.place in (None, found[0].place)
    assert case.kind in ("", found[0].kind)
    assert found[0].kind in ("", *CAUSES)
    assert not [finding for finding in judged(case, sick=False).findings if finding.code == code and not finding.design]


@pytest.mark.parametrize(
    ("model", "code", "severity"),
    [
        (lambda: filled(0.0, "2.weight"), "ZER001", "error"),
        (lambda: filled(0.0, "2.weight", act=nn.Tanh), "ZER001", "warning"),
        (lambda: filled(0.0, "2.weight", act=nn.SiLU), "ZER001", "warning"),
        (lambda: filled(0.0, "2.weight", "4.weight", act=nn.Tanh), "ZER001", "error"),
        (lambda: filled(0.0, "0.weight", "2.weight", "4.weight", "6.weight", act=nn.Tanh), "ZER001", "error"),
        (lambda: filled(0.1, "2.weight"), "CON001", "warning"),
        (lambda: filled(0.1, "0.weight", "4.weight"), "CON001", "warning"),
        (lambda: filled(0.1, "0.weight", "2.weight"), "CON001", "error"),
        (lambda: filled(1e-41, "2.weight"), "CON001", "error"),
        (lambda: changed(stack(3), "2.weight", double_rows), "EQU001", "warning"),
        (lambda: stack(3, by_fan(3.5), nn.Tanh), "SAT001", "warning"),
        (lambda: stack(3, by_fan(40.0), nn.Tanh), "SAT001", "error"),
        (lambda: stack(12, by_fan(1.9)), "FWD002", "warning"),
        (lambda: stack(6, by_fan(0.87)), "FWD001", "warning"),
        (lambda: stack(8, by_fan(0.6)), "FWD001", "error"),
        (lambda: stack(16, by_fan(2.5)), "FWD002", "error"),
    ],
)
def test_what_a_training_makes_up_for_is_a_warning(model, code, severity):
    """Trained by `python -m bench proof`: it costs less than half of the steps, two in a row cost all."""
    torch.manual_seed(0)
    (finding,) = check(model(), data(), "cross_entropy", select=[code]).findings
    assert finding.severity == severity


@pytest.mark.parametrize("gain", [0.01, 0.001])
def test_a_head_near_zero_may_move_by_more_than_its_size(gain):
    """A training takes no longer with it (`python -m bench proof`)."""
    model = stack(3, head=by_fan(gain)(nn.Linear(WIDTH, CLASSES)))
    assert "UPD001" not in codes(check(model, data(), "cross_entropy", optimizer="adam:1e-3"))


def test_a_plan_is_compared_with_the_weights_and_drawn_under_other_seeds():
    model = stack(3)
    made = plan(model, data()[0])
    apply(model, made, key=0)
    before = {path: tensor.clone() for path, tensor in model.state_dict().items()}
    report = check(model, data(), "cross_entropy", plan=made, seeds=3)
    assert report.ok
    assert not report.findings
    assert [one.seed for one in report.observations] == [None, 1, 2]
    assert len({one.loss.value for one in report.observations}) == 3
    assert all(torch.equal(before[path], tensor) for path, tensor in model.state_dict().items())
    with torch.no_grad():
        model[2].weight.mul_(1.3)
    findings = check(model, data(), "cross_entropy", plan=made, seeds=1).findings
    assert [(finding.code, finding.place) for finding in findings] == [("PLN001", "2.weight")]
    assert findings[0].evidence["std"] == pytest.approx(1.3 * findings[0].evidence["planned"], rel=0.03)


def test_a_factory_is_built_under_each_seed_and_random_states_stay():
    made = []

    def factory() -> Any:
        made.append((torch.randn(1).item(), np.random.rand()))  # noqa: NPY002
        return stack(3)

    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    report = check(factory, data(), "cross_entropy", seeds=3)
    assert len(set(made)) == len(report.observations) == 3
    assert [one.seed for one in report.observations] == [0, 1, 2]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


def test_what_follows_from_one_cause_is_folded_under_it():
    report = check(stack(16, by_fan(2.5)), data(), "cross_entropy")
    assert [finding.code for finding in report.findings] == ["FWD002"]
    assert "LOS001" in [finding.code for finding in report.findings[0].follows]
    bias = changed(stack(4), "2.bias", lambda b: b.fill_(-4.0))
    root = check(bias, data(), "cross_entropy").findings[0]
    assert (root.code, root.severity) == ("BIA001", "error")  # as grave as the dead units that follow
    assert "DEA001" in [finding.code for finding in root.follows]


def test_two_causes_stay_two():
    model = changed(stack(8), "6.weight", lambda w: w.mul_(50))
    frozen(model, "10.weight")
    found = check(model, data(), "cross_entropy").findings
    assert sorted(finding.code for finding in found) == ["FRZ001", "LAY001"]


def zero_gamma() -> Any:
    model = residual(1.0, depth=4)
    return changed(model, "2.second.weight", lambda w: w.zero_())


def adapted() -> Any:
    base, down, up = he(nn.Linear(WIDTH, WIDTH)), nn.Linear(WIDTH, 4, bias=False), nn.Linear(4, WIDTH, bias=False)
    nn.init.zeros_(up.weight)
    frozen(base, "weight", "bias")
    body = Wrapped(lambda m, x: m.base(x) + m.up(m.down(x)), base=base, down=down, up=up)
    return nn.Sequential(he(nn.Linear(FEATURES, WIDTH)), nn.ReLU(), body, nn.ReLU(), nn.Linear(WIDTH, CLASSES))


def tied_head() -> Any:
    table = nn.Embedding(50, 32)
    nn.init.normal_(table.weight, std=0.1)
    return Wrapped(lambda m, x: functional.linear(m.table(x).mean(1), m.table.weight), table=table)


def frozen_trunk() -> Any:
    model = stack(6)
    return frozen(model, *(f"{2 * i}.{name}" for i in range(5) for name in ("weight", "bias")))


@pytest.mark.parametrize(
    "build", [zero_gamma, adapted, frozen_trunk, lambda: changed(stack(3), "6.weight", torch.zero_)]
)
def test_what_is_by_design_is_shown_as_such_and_raises_no_alarm(build):
    report = check(build(), data(), "cross_entropy", fail_on="warning")
    assert report.ok, [finding.message for finding in report.findings]
    assert any(finding.design for finding in report.findings)
    assert any(layer.design for layer in report.layers)


def test_tied_tables_are_no_accident():
    x = torch.randint(0, 50, (BATCH, 6), generator=torch.Generator().manual_seed(1))
    report = check(tied_head(), (x, x[:, 0]), "cross_entropy", fail_on="warning")
    assert report.ok
    assert "TWI001" in codes(report)


def test_a_zero_map_before_relu_never_learns_even_at_the_end_of_a_branch():
    def block(m: Any, x: Any) -> Any:
        return m.head(m.stem(x) + m.end(torch.relu(m.first(m.stem(x)))).relu())

    maps = {name: he(nn.Linear(WIDTH, WIDTH)) for name in ("first", "end")}
    model = Wrapped(block, stem=he(nn.Linear(FEATURES, WIDTH)), head=nn.Linear(WIDTH, CLASSES), **maps)
    nn.init.zeros_(model.end.weight)
    model(data()[0]).square().mean().backward()
    assert not model.end.weight.grad.any()  # torch's own word on it
    assert [f.code for f in check(model, data(), "cross_entropy").findings if f.severity == "error"] == ["ZER001"]


def test_parametrized_weights_whose_init_had_no_effect():
    def layer(n: int, m: int) -> Any:
        made = parametrizations.weight_norm(nn.Linear(n, m))
        nn.init.kaiming_normal_(made.weight)  # writes into a tensor that the next access computes anew
        return made

    sizes = [FEATURES] + [WIDTH] * 20
    parts = [part for n, m in itertools.pairwise(sizes) for part in (layer(n, m), nn.ReLU())]
    finding = check(nn.Sequential(*parts, nn.Linear(WIDTH, CLASSES)), data(), "cross_entropy").findings[0]
    assert (finding.code, finding.kind) == ("FWD001", "skipped_init")


# What is asked for


def test_select_and_ignore_take_beginnings_of_codes():
    model = stack(16, by_fan(2.5))
    assert codes(check(model, data(), "cross_entropy", select=["LOS"])) == ["LOS001"]
    assert "FWD002" not in codes(check(model, data(), "cross_entropy", ignore=["FWD"]))
    with pytest.raises(ValueError, match="'XYZ': expected the beginning of one of NAN001"):
        check(model, data(), "cross_entropy", select=["XYZ"])


def test_fail_on_decides_what_is_ok():
    model = changed(stack(8), "6.weight", lambda w: w.mul_(0.01))
    assert check(model, data(), "cross_entropy").ok
    assert not check(model, data(), "cross_entropy", fail_on="warning").ok
    with pytest.raises(ValueError, match="fail_on"):
        check(model, data(), "cross_entropy", fail_on="fatal")


def test_without_a_backward_pass_the_report_says_so():
    report = check(stack(16, by_fan(2.5)), data(), "cross_entropy", backward=False)
    assert [finding.code for finding in report.findings] == ["FWD002"]
    assert any("backward pass was left out" in note for note in report.notes)
    assert all(math.isnan(layer.gradient) for layer in report.layers)


def test_without_a_loss_gradients_are_those_of_a_projection():
    report = check(stack(12, by_fan(1.0), nn.Sigmoid), data()[0])
    assert "BWD001" in codes(report)
    assert any("No loss was given" in note for note in report.notes)


# What it cannot judge


def failing(x: Any) -> Any:
    raise RuntimeError("shapes do not match")


@pytest.mark.parametrize(
    ("model", "batch", "loss", "error", "words"),
    [
        (Wrapped(lambda m, x: failing(x)), data(), "cross_entropy", ModelError, "shapes do not match"),
        (stack(2), data(), lambda y, t: functional.cross_entropy(y, t, reduction="none"), ModelError, "one number"),
        (stack(2), (data()[0], data()[1] + 100), "cross_entropy", ModelError, "out of bounds"),
        (nn.Embedding(10, 4), (torch.tensor([[3, 99]]),), None, ModelError, "index out of range"),
        (stack(2), data(), "cross_entrpy", ValueError, "expected one of cross_entropy"),
        (stack(2), data(), 3, TypeError, "name of a loss"),
        (stack(2), "64,32", None, ModelError, "mat1 and mat2"),
        (3, data(), None, TypeError, "factory"),
        (lambda: 3, data(), None, TypeError, "the factory made int"),
        (nn.Linear(4, 4, device="meta"), "2,4", None, ModelError, "materialize"),
        (nn.LazyLinear(4), torch.ones(2, 4), None, TypeError, "lazy"),
    ],
)
def test_what_cannot_be_judged_is_told_in_one_sentence(model, batch, loss, error, words):
    with pytest.raises(error, match=words):
        check(model, batch, loss)


@pytest.mark.parametrize("text", ["adam", "adam:", "adam:fast", "adam:0", "adam:-1", "adam:nan", "shampoo:1e-3"])
def test_an_optimizer_is_a_name_and_a_rate(text):
    with pytest.raises(ValueError, match=r"optimizer|learning rate"):
        check(stack(1), data(), "cross_entropy", optimizer=text)


def test_a_model_that_runs_another_way_each_time_is_judged_by_its_first_run():
    calls = []

    def forward(m: Any, x: Any) -> Any:
        calls.append(1)
        return m.body(x) + (0.0 if len(calls) % 2 else m.body(x).tanh())

    report = check(lambda: Wrapped(forward, body=stack(2)), data(), "cross_entropy", seeds=2)
    assert report.ok
    assert any("different ways" in note for note in report.notes)


@pytest.mark.parametrize("layer", [nn.Conv1d(8, 8, 1), nn.ConvTranspose1d(8, 8, 1)])
def test_loud_inputs_are_told_whatever_map_reads_them(layer):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(16, 8, 8, generator=generator) * 80
    report = check(nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)), x)
    told = [each for finding in report.findings for each in (finding, *finding.follows)]
    assert [finding.place for finding in told if finding.code == "INP001"] == ["0.weight"]


def test_numbers_that_overflow_in_a_recurrent_layer_are_told_there():
    cell = nn.RNN(8, 8, nonlinearity="relu")
    model = Wrapped(lambda m, x: m.head(m.cell(x)[0][:, -1]), cell=cell, head=nn.Linear(8, 4))
    with torch.no_grad():
        for weight in (cell.weight_ih_l0, cell.weight_hh_l0):
            weight.abs_().mul_(1e30)
    report = check(model, torch.ones(4, 6, 8))
    told = [each for finding in report.findings for each in (finding, *finding.follows)]
    assert [finding.place for finding in told if finding.code == "NAN002"] == ["cell.weight_ih_l0"]


def test_what_another_output_trains_is_no_cut_graph_unless_the_loss_is_given():
    model = stack(4)
    cut_off = Wrapped(lambda m, x: _detached(m, m.start(x)), start=model[:4], rest=model[4:])
    batch = torch.randn(BATCH, FEATURES, generator=torch.Generator().manual_seed(0))
    alone = [f for f in check(cut_off, batch).findings if f.code == "GRD001"]
    assert [(f.severity, f.place) for f in alone] == [("info", "start.2.weight")]
    asked = (batch, torch.arange(BATCH) % CLASSES)
    given = check(cut_off, asked, loss=lambda outputs, labels: nn.functional.cross_entropy(outputs[0], labels))
    assert [(f.severity, f.place) for f in given.findings if f.code == "GRD001"] == [("error", "start.2.weight")]


def _detached(model: Any, hidden: Any) -> Any:
    return model.rest(hidden.detach()), hidden


class PerSample(nn.Linear):
    """A model that gives a loss for each sample."""

    def forward(self, x: Any) -> Any:
        outputs = super().forward(x)
        return {"loss": outputs.square().mean(1), "logits": outputs}


def test_a_loss_for_each_sample_is_averaged():
    batch = torch.randn(BATCH, FEATURES, generator=torch.Generator().manual_seed(0))
    model = PerSample(FEATURES, CLASSES)
    report = check(model, batch)
    assert report.observations[0].loss.value == pytest.approx(float(model(batch)["loss"].detach().mean()), rel=1e-5)


class Optional(nn.Linear):
    """A model that takes features which may be none."""

    def forward(self, x: Any, extra: Any) -> Any:
        return super().forward(torch.cat([x, extra], 1))


def test_an_input_without_values_is_not_broken():
    batch = torch.randn(BATCH, FEATURES, generator=torch.Generator().manual_seed(0))
    codes = {f.code for f in check(he(Optional(FEATURES, CLASSES)), (batch, torch.zeros(BATCH, 0))).findings}
    assert "INP002" not in codes


@pytest.mark.parametrize("loud", [30.0, 100.0])
@pytest.mark.parametrize("reads", [True, False], ids=["loud signal", "usual signal"])
def test_a_small_weight_is_an_outlier_unless_it_reads_a_loud_signal(loud, reads):
    """Behind a number that the model multiplies by, a weight smaller by as much gives what its peers give."""
    body = stack(8)
    model = changed(body, "6.weight", lambda w: w.div_(loud))
    if reads:
        model = Wrapped(lambda m, x: m.body[6:](loud * m.body[:6](x)), body=model)
    assert ("LAY001" in {finding.code for finding in check(model, data()[0], seeds=1).findings}) != reads
