"""What cures each kind of break: fixes that name all that has to change, and sentences where no new draw cures."""

import math
import re

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from fanwise.torch import check, fix  # noqa: E402

from ..traced import Wrapped  # noqa: E402
from .test_check import CLASSES, FEATURES, WIDTH, Residual, by_fan, changed, data, he, spread, stack  # noqa: E402
from .test_collapses import layer, views  # noqa: E402
from .test_fix_cures import pasted, wrong  # noqa: E402


def mended(model, batch=None, loss="cross_entropy"):
    """The fix of a model's own report."""
    batch = data() if batch is None else batch
    return fix(model, check(model, batch, loss), batch, loss=loss)


def cures(model, batch=None, loss="cross_entropy"):
    """Whether the printed code leaves nothing."""
    batch = data() if batch is None else batch
    mending = mended(model, batch, loss)
    assert mending.cures, str(mending.table)
    return wrong(check(pasted(model, mending.code), batch, loss)) == set()


# Inputs: the data


def normalised(report, x):
    """Inputs after the code that a report prints for them."""
    (text,) = [root.fix.text for root in report.findings if root.code == "INP001"]
    given = {"x": x}
    exec(re.search(r"x = .*", text)[0], given)
    return given["x"]


@pytest.mark.parametrize(
    ("scale", "shift"), [(74.0, 128.0), (1.0, 100.0), (3.0, -50.0), (1e4, 0.0), (1e-4, 0.0), (0.5, -4000.0), (1e3, 1e3)]
)
def test_inputs_are_normalised_by_the_code_that_is_printed(scale, shift):
    torch.manual_seed(0)
    model, (x, y) = stack(4), data()
    report = check(model, (scale * x + shift, y), "cross_entropy")
    mending = fix(model, report, (scale * x + shift, y), loss="cross_entropy")
    assert not mending, "weights that fit loud inputs do not fit them once they are normalised"
    assert any("normalise the inputs: x = " in text for text in mending.unsafe)
    assert not any("instead" in text for text in mending.unsafe)
    better = normalised(report, scale * x + shift)
    assert abs(better.mean()) < 0.02
    assert better.std() == pytest.approx(1, abs=0.02)
    assert wrong(check(model, (better, y), "cross_entropy")) == set()


# Biases


def biased(act, values, law=he, depth=6):
    torch.manual_seed(0)
    model = stack(depth, law, act)
    for part, value in zip([part for part in model if isinstance(part, nn.Linear)], values, strict=False):
        nn.init.normal_(part.bias, value, 0.01) if isinstance(value, float) else nn.init.constant_(part.bias, value)
    return model


@pytest.mark.parametrize("act", [nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.GELU])
@pytest.mark.parametrize(
    "values", [[10] * 6, [-6] * 6, [8, -9, 20, -12, 30, 7], [9.0] * 6, [0, 0, 12, 0, 0, 15], [1e30] * 7]
)
def test_every_bias_that_drowns_is_named_at_once(act, values):
    law = by_fan(1.0) if act is nn.Tanh else he
    model = biased(act, values, law)
    mending = mended(model)
    assert mending.cures, str(mending.table)
    assert {f"{2 * i}.bias" for i, value in enumerate(values) if value} <= {row.path for row in mending.rows}
    assert wrong(check(pasted(model, mending.code), data(), "cross_entropy")) == set()


def test_small_biases_beside_one_that_drowns_stay():
    model = biased(nn.ReLU, [10, 0.1, -0.1, 0.2, 0.1, 0.1])
    assert {row.path for row in mended(model).rows if row.path.endswith("bias")} == {"0.bias"}


# Zeros, and memory that nobody wrote


def block(width, act):
    """A residual block whose branch ends in a norm."""
    branch = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), act(), nn.Linear(width, width))
    return Wrapped(lambda m, x: m.act(m.norm(x + m.branch(x))), branch=branch, norm=nn.LayerNorm(width), act=act())


def deep(act=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(he(nn.Linear(FEATURES, WIDTH)), *(block(WIDTH, act) for _ in range(3)),
                         by_fan(0.1)(nn.Linear(WIDTH, CLASSES)))  # fmt: skip


@pytest.mark.parametrize("value", [0.0, 1e30, -7e20])
@pytest.mark.parametrize("build", [deep, lambda: deep(nn.Tanh), lambda: stack(5), lambda: Residuals(), lambda: Skips()])
def test_weights_that_were_never_drawn_are(build, value):
    """Zeros at the end of a branch are meant elsewhere; where a finding names them they are drawn."""
    torch.manual_seed(0)
    model = build()
    maps = [part for part in model.modules() if isinstance(part, nn.Linear)]
    for part in maps[:-1]:
        nn.init.constant_(part.weight, value)
        if value:
            nn.init.constant_(part.bias, value)
    assert cures(model)
    assert all(part.weight.std() > 0 for part in maps)


class Residuals(nn.Module):
    """Plain residual blocks between two maps."""

    def __init__(self):
        super().__init__()
        self.stem, self.blocks = he(nn.Linear(FEATURES, WIDTH)), nn.ModuleList(Residual(0.3) for _ in range(3))
        self.head = by_fan(0.1)(nn.Linear(WIDTH, CLASSES))

    def forward(self, x):
        x = self.stem(x)
        for each in self.blocks:
            x = each(x)
        return self.head(x)


class Skips(nn.Module):
    """A block whose skip is a map too."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.skip = (he(nn.Linear(FEATURES, FEATURES)) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(FEATURES), by_fan(0.1)(nn.Linear(FEATURES, CLASSES))

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.b(torch.relu(self.a(x))) + self.skip(x))))


# One weight among its peers


@pytest.mark.parametrize("factor", [500.0, 30.0, 1e-4])
@pytest.mark.parametrize(
    "law", [lambda part: part, he, spread(0.05), by_fan(1.0)], ids=["default", "he", "fixed", "lecun"]
)
def test_an_outlier_is_drawn_as_its_peers(law, factor):
    """Peers of another law than the recipe's: it has to be one of them. A std of n values errs by 1 / sqrt(2 n)."""
    torch.manual_seed(0)
    blocks = [Residual(1.0) for _ in range(8)]
    for each in blocks:
        law(each.first), law(each.second)
        each.second.weight.data.mul_(0.3)
    model = nn.Sequential(he(nn.Linear(FEATURES, WIDTH)), *blocks, by_fan(0.02)(nn.Linear(WIDTH, CLASSES)))
    usual = model[4].first.weight.std().item()
    changed(model, "5.first.weight", lambda w: w.mul_(factor))
    report = check(model, data(), "cross_entropy", select=["LAY001"])
    mending = fix(model, report, data(), loss="cross_entropy")
    assert [row.path for row in mending.rows] == ["5.first.weight"], str(report)
    drawn = pasted(model, mending.code).get_parameter("5.first.weight")
    assert drawn.std().item() == pytest.approx(usual, rel=0.03 + 5 / math.sqrt(2 * drawn.numel()))


# Factors


def weighed(forward, *names):
    torch.manual_seed(0)
    factors = {name: torch.tensor(0.3) for name in names}
    maps = {name: he(nn.Linear(FEATURES, FEATURES)) for name in ("f", "g")}
    return Wrapped(forward, **maps, head=by_fan(0.1)(nn.Linear(FEATURES, CLASSES)), **factors)


FACTORS = {
    "of a branch": (lambda m, x: m.head((x + m.s * m.f(x)).relu()), {"s": 0}),
    "of what is taken away": (lambda m, x: m.head((m.f(x) - m.s * m.g(x)).relu()), {"s": 0}),
    "of the only way": (lambda m, x: m.head((m.s * m.f(x)).relu()), {"s": 1}),
    "of both addends": (lambda m, x: m.head((m.s * m.f(x) + m.t * m.g(x)).relu()), {"s": 1, "t": 1}),
    "of a gate that is added": (lambda m, x: m.head((x + m.s * torch.sigmoid(m.f(x)) * m.g(x)).relu()), {"s": 0}),
    "one behind the other": (lambda m, x: m.head((m.s * m.f(x)).relu() + m.t * x), {"s": 1, "t": 0}),
}


@pytest.mark.parametrize("value", [math.nan, 7.3e8])
@pytest.mark.parametrize("spelling", FACTORS)
def test_a_factor_that_was_never_written_starts_absent_where_the_rest_is_there(spelling, value):
    forward, wanted = FACTORS[spelling]
    model = weighed(forward, *wanted)
    for name in wanted:
        changed(model, name, lambda s: s.fill_(value))
    assert cures(model)
    assert {name: model.get_parameter(name).item() for name in wanted} == wanted


@pytest.mark.parametrize("start", [1.0, 0.8])
def test_branches_that_end_in_factors_start_silent(start):
    """ReZero with the factor left at 1: Bachlechner et al., 2020, section 3, start it at 0."""
    torch.manual_seed(0)

    def forward(m, x):
        for part, factor in zip(m.maps, m.factors, strict=True):
            x = x + factor * torch.relu(part(x))
        return m.head(x)

    maps = nn.ModuleList(he(nn.Linear(FEATURES, FEATURES)) for _ in range(24))
    factors = nn.ParameterList(nn.Parameter(torch.tensor(start)) for _ in maps)
    model = Wrapped(forward, maps=maps, factors=factors, head=by_fan(0.1)(nn.Linear(FEATURES, CLASSES)))
    assert check(model, data(), "cross_entropy").findings[0].code == "RES001"
    assert cures(model)
    assert all(factor.item() == 0 for factor in factors)


# Functions through which no law helps


@pytest.mark.parametrize("act", [nn.Sigmoid, nn.Softplus, nn.Hardsigmoid])
def test_where_the_function_is_to_blame_the_model_is_named(act):
    torch.manual_seed(0)
    model = stack(14, by_fan(1.0), act)
    report = check(model, data(), "cross_entropy")
    mending = fix(model, report, data(), loss="cross_entropy")
    assert wrong(report) & {"OUT001", "BWD001"}, str(report)
    assert not mending
    assert any("write tanh in its place" in text for text in mending.unsafe), mending.unsafe
    assert not any(found.fix.draws for root in report.findings for found in root.walk() if found.fix is not None)


@pytest.mark.parametrize("act", [nn.Sigmoid, nn.Softplus, nn.Hardsigmoid])
def test_tanh_in_its_place_cures(act):
    torch.manual_seed(0)
    model = stack(14, by_fan(1.0), act)
    for i, part in enumerate(model):
        if isinstance(part, act):
            model[i] = nn.Tanh()
    assert wrong(check(model, data(), "cross_entropy")) == set()


@pytest.mark.parametrize("act", [nn.ReLU, nn.SiLU, nn.ELU, nn.GELU, nn.Softsign])
def test_other_functions_are_mended_by_weights(act):
    torch.manual_seed(0)
    assert cures(stack(14, by_fan(0.3), act))


# Temperatures

TEMPERATURES = {
    "factor": (lambda c, s: c * s, 1e-3, 1 / 0.07),
    "zero": (lambda c, s: c * s, 0.0, 1 / 0.07),
    "logarithm": (lambda c, s: c * s.exp(), -5.0, math.log(1 / 0.07)),
    "clamped": (lambda c, s: c * s.exp().clamp(max=100), -5.0, math.log(1 / 0.07)),
    "divisor": (lambda c, s: c / s, 1e3, 0.07),
    "divisor's logarithm": (lambda c, s: c / s.exp(), 6.0, math.log(0.07)),
    "negative": (lambda c, s: c * (-s).exp(), 6.0, math.log(0.07)),
    "softplus": (lambda c, s: c * functional.softplus(s), -6.0, math.log(math.expm1(1 / 0.07))),
    "tenfold": (lambda c, s: c * (10 * s), 1e-3, 0.1 / 0.07),
    "too loud": (lambda c, s: c * s.exp(), 9.0, math.log(1 / 0.07)),
}


@pytest.mark.parametrize("spelling", TEMPERATURES)
def test_a_temperature_is_set_whatever_the_parameter_is(spelling):
    scale, start, wanted = TEMPERATURES[spelling]

    def forward(m, x):
        one, other = functional.normalize(m.one(x[:, :10]), dim=-1), functional.normalize(m.other(x[:, 10:]), dim=-1)
        return scale(one @ other.T, m.factor)

    torch.manual_seed(0)
    model = Wrapped(forward, one=layer(10, 16), other=layer(10, 16), factor=torch.tensor(start))
    mending = mended(model, views())
    pasted(model, mending.code)
    assert model.factor.item() == pytest.approx(wanted, rel=1e-3)
    assert "TMP001" not in wrong(check(model, views(), "cross_entropy"))


def test_a_constant_temperature_is_for_the_model():
    torch.manual_seed(0)
    model = Wrapped(
        lambda m, x: (functional.normalize(m.one(x), dim=-1) @ functional.normalize(m.other(x), dim=-1).T) * 1e-3,
        one=layer(20, 16), other=layer(20, 16),
    )  # fmt: skip
    mending = mended(model, views())
    assert not mending
    assert "start the factor at 1 / 0.07" in mending.unsafe[0]


# Weights of one sign


@pytest.mark.parametrize("act", [nn.Sigmoid, nn.Tanh])
@pytest.mark.parametrize("sign", [1, -1])
def test_weights_that_must_be_of_one_sign_are_centred_by_their_biases(act, sign):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sigmoid(), nn.Linear(FEATURES, 512), act(), by_fan(0.1)(nn.Linear(512, CLASSES)))
    nn.init.normal_(model[1].weight, std=0.6)
    model[1].weight.data.clamp_(min=0).mul_(sign)
    nn.init.zeros_(model[1].bias)
    report = check(model, data(), "cross_entropy")
    assert report.findings[0].code == "SAT001", str(report)
    mending = fix(model, report, data(), loss="cross_entropy")
    assert mending.cures, str(mending.table)
    assert [row.path for row in mending.rows] == ["1.bias"]
    weight = model[1].weight
    pasted(model, mending.code)
    assert torch.equal(weight, model[1].weight)
    assert model[1].bias[0].item() == pytest.approx(-0.5 * weight.sum(1).mean().item(), rel=0.05)


# Kernels of one tap


@pytest.mark.parametrize("size", [(3, 3), (1, 3), (3, 1)])
def test_delta_kernels_are_fresh(size):
    torch.manual_seed(0)
    convs = [nn.Conv2d(16, 16, size, padding="same") for _ in range(12)]
    for conv in convs:
        nn.init.zeros_(conv.weight), nn.init.zeros_(conv.bias)
        conv.weight.data[..., size[0] // 2, size[1] // 2] = 0.2 * nn.init.orthogonal_(torch.empty(16, 16))
    parts = [part for conv in convs for part in (conv, nn.Tanh())]
    model = nn.Sequential(nn.Unflatten(1, (16, 2, 2)), *parts, nn.Flatten(), by_fan(0.1)(nn.Linear(64, CLASSES)))
    assert "FWD001" in wrong(check(model, data(), "cross_entropy"))
    assert cures(model)


def test_what_follows_from_a_cause_that_was_mended_is_not_left_to_the_user():
    torch.manual_seed(0)
    model = stack(4)
    for path in ("0.weight", "2.weight", "4.weight", "6.weight"):
        changed(model, path, lambda w: w.zero_())
    mending = mended(model)
    assert mending.cures
    assert mending.unsafe == ()


def test_a_fix_is_called_safe_by_nobody_before_it_was_tried():
    """Sigmoids at std 1: what is drawn anew makes the outputs alike, which only the trial shows."""
    torch.manual_seed(0)
    model = stack(7, spread(1.0), nn.Sigmoid)
    report = check(model, data(), "cross_entropy")
    mending = fix(model, report, data(), loss="cross_entropy")
    assert "safe" not in str(report)
    assert not mending
    assert any(re.search(r"tried on a copy, it brings .*OUT001", text) for text in mending.unsafe), mending.unsafe
