"""Maps that make the weights of others: of a wrong size they are named, and the law by the made weight's fan is not."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from fanwise.torch import apply, check, fix, plan  # noqa: E402

from ..traced import Wrapped, normal  # noqa: E402

IN, OUT, CODE, HIDDEN, CLASSES, ROWS = 64, 48, 12, 96, 4, 64
X, Z = normal(ROWS, IN), normal(ROWS, CODE)
CLASS = torch.arange(ROWS) % CLASSES


def unit(layer, gain=1.0):
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
    nn.init.zeros_(layer.bias)
    return layer


def generator(outputs, gain):
    return nn.Sequential(unit(nn.Linear(CODE, HIDDEN), 1.4), nn.ReLU(), unit(nn.Linear(HIDDEN, outputs), gain))


def by_bmm(m, x, z):
    return m.head(torch.tanh(m.g(z).view(-1, OUT, IN) @ x[..., None])[..., 0])


def by_einsum(m, x, z):
    return m.head(torch.einsum("bi,bio->bo", x, m.g(z).view(-1, IN, OUT)).relu())


def by_linear(m, x, z):
    return m.head(functional.linear(x, m.g(z.mean(0, keepdim=True) * 8).view(OUT, IN)).relu())


def by_codes(m, x, z):
    """Weights of a table's rows, by a map."""
    code = m.codes.weight[:1] * math.sqrt(CODE)
    return m.head((x @ m.g(code).view(IN, OUT)).relu())


def with_a_bias(m, x, z):
    weight, bias = m.g(z).split((IN * OUT, OUT), 1)
    return m.head((torch.bmm(weight.view(-1, OUT, IN), x[..., None])[..., 0] + bias).relu())


def of_convolutions(m, x, z):
    kernels = m.g(z).view(-1, 8, 3, 3)
    y = functional.conv2d(x.reshape(1, -1, 4, 4), kernels, padding=1, groups=len(x)).view(len(x), -1, 4, 4)
    return m.head(y.relu().mean((2, 3)))


SPELLINGS = (by_bmm, by_einsum, by_linear, by_codes, with_a_bias, of_convolutions)


def built(forward, gain):
    torch.manual_seed(0)
    outputs = {with_a_bias: IN * OUT + OUT, of_convolutions: OUT * 8 * 9}.get(forward, IN * OUT)
    reads = X.repeat(1, 2) if forward is of_convolutions else X
    head = unit(nn.Linear(OUT, CLASSES), 0.1)
    return Wrapped(forward, g=generator(outputs, gain), head=head, codes=nn.Embedding(4, CODE)), (reads, Z, CLASS)


@pytest.mark.parametrize("forward", SPELLINGS)
def test_a_maker_of_weights_far_too_large_is_named_in_any_spelling(forward):
    model, batch = built(forward, 6.0)
    report = check(model, batch, "cross_entropy")
    assert report.findings[0].code == "GEN001"
    assert report.findings[0].place == "g.2.weight"
    assert "GEN001" not in codes(*built(forward, 1 / math.sqrt(IN)))


@pytest.mark.parametrize("forward", SPELLINGS)
def test_a_maker_of_weights_far_too_small_is_named(forward):
    assert "GEN001" in codes(*built(forward, 1e-4))


@pytest.mark.parametrize("forward", SPELLINGS)
def test_the_plan_is_no_finding(forward):
    model, batch = built(forward, 6.0)
    apply(model, plan(model, batch[:2]), key=0)
    assert "GEN001" not in codes(model, batch)


def codes(model, batch, loss="cross_entropy"):
    return {each.code for root in check(model, batch, loss).findings for each in root.walk()}


def test_what_is_no_weight_of_a_wrong_size_is_not_named():
    def normed(m, x, z):
        return m.head(functional.layer_norm((m.g(z).view(-1, OUT, IN) @ x[..., None])[..., 0], (OUT,)))

    def attention(m, x, z):
        q, k, v = (m.g(z) * 4)[:, : 3 * IN].view(-1, 3, 8, 8).unbind(1)
        return m.head(((q @ k.mT).softmax(-1) @ v).flatten(1)[:, :OUT])

    def modulated(m, x, z):
        return m.head(x[:, :OUT] * m.g(z)[:, :OUT])

    for forward in (normed, attention, modulated):
        assert "GEN001" not in codes(*built(forward, 6.0))


def deep(gain):
    """Four maps, whose weights are made."""

    def forward(m, x, z):
        for number, g in enumerate(m.gs):
            x = g(z).view(-1, CLASSES if number == 3 else 32, x.shape[1]) @ x[..., None]
            x = x[..., 0].relu() if number < 3 else x[..., 0]
        return x

    torch.manual_seed(0)
    sizes = (16 * 32, 32 * 32, 32 * 32, 32 * CLASSES)
    return Wrapped(forward, gs=nn.ModuleList(generator(size, gain) for size in sizes))


def test_a_row_of_made_weights_is_named_as_a_whole_and_its_fix_cures():
    """The cost of such a row: python -m bench proof --rule GEN001."""
    broken, batch = deep(1.4), (X[:, :16], Z, CLASS)
    report = check(broken, batch, "cross_entropy")
    assert report.findings[0].code == "GEN001"
    assert set(report.findings[0].paths) == {f"gs.{i}.2.weight" for i in range(4)}
    assert fix(broken, report, batch, loss="cross_entropy").cures
    assert "GEN001" not in codes(deep(0.3), batch)
