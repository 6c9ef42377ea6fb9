"""The code that `fix` prints, run for every rule and checked again; and what it says where no new draw mends."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from fanwise.torch import apply, check, fix  # noqa: E402

from ..traced import Wrapped  # noqa: E402
from .test_check import CASES, CLASSES, FEATURES, WIDTH, by_fan, changed, data, factory, he, stack  # noqa: E402

SAID = {
    "INP002": "clean the data",
    "INP001": "normalise the inputs: x = ",
    "TIE001": "make() for _ in range(",
    "TWI001": "make a new module",
    "SEE001": "draw from the seed",
    "GRD001": "let the gradient through",
    "GRD002": "add an epsilon",
    "GRD004": "start the stream at something other than 0",
    "NAN002": "look at the op that is named",
    "LOS002": "squeeze",
    "LOS003": "divide the targets",
    "FRZ001": "set requires_grad",
    "UPD001": "take a smaller learning rate",
    "UPD002": "take a larger learning rate",
    "OUT001": "write tanh in its place",
    "BWD001": "write tanh in its place",
    "OUT002": "add residual connections",
}
"""What is to be changed where no new draw mends a case."""
SILENT = ("UNU001", "BND001", "PLN001")
"""Information alone; and what needs a plan."""


def wrong(report):
    """Codes of what is wrong."""
    return {one.code for root in report.findings for one in root.walk() if one.severity != "info" and not one.design}


def pasted(model, code, seed=1):
    torch.manual_seed(seed)
    exec(compile(code, "pasted", "exec"), {"model": model})
    return model


def sick(code):
    """A case: the model, its batch, its loss, its report."""
    case = CASES[code]
    torch.manual_seed(0)
    made, batch = case.sick(), case.batch()
    report = check(made, batch, case.loss, **({} if case.options is None else case.options[0]))
    return made if isinstance(made, nn.Module) else made(), batch, case.loss, report


@pytest.mark.parametrize("code", [code for code in CASES if code not in (*SAID, *SILENT)])
def test_the_printed_code_cures(code):
    model, batch, loss, report = sick(code)
    mending = fix(model, report, batch, loss=loss)
    assert mending.cures, str(mending.table)
    assert wrong(check(pasted(model, mending.code), batch, loss)) == set()


@pytest.mark.parametrize("code", SAID)
def test_what_no_new_draw_mends_is_said_in_a_sentence(code):
    model, batch, loss, report = sick(code)
    mending = fix(model, report, batch, loss=loss)
    assert any(SAID[code] in text for text in mending.unsafe), mending.unsafe
    assert SAID[code] in " ".join(str(mending.table).split())
    assert not mending
    assert all(one.fix for root in report.findings for one in root.walk() if one.severity != "info" and not one.design)


def test_every_fix_of_information_leaves_nothing_either():
    model, batch, loss, report = sick("NRM001")
    assert wrong(report) == set()
    assert wrong(check(pasted(model, fix(model, report, batch, loss=loss).code), batch, loss)) == set()


# A fix that does not cure


def sigmoids():
    return stack(12, by_fan(1.0), nn.Sigmoid)


def test_a_fix_that_leaves_its_own_finding_is_not_offered():
    torch.manual_seed(0)
    model = sigmoids()
    report = check(model, data(), "cross_entropy")
    mending = fix(model, report, data(), loss="cross_entropy")
    assert (mending.rows, mending.code, mending.remains, mending.cures) == ((), "", None, False)
    before = model[0].weight.clone()
    fix(model, report, data(), loss="cross_entropy", apply=True)
    assert torch.equal(model[0].weight, before)


def test_what_cures_is_offered_beside_what_does_not():
    """NaN in the first weight of a stack of sigmoids: that much is mended."""
    torch.manual_seed(0)
    model = stack(2)
    changed(model, "2.weight", lambda w: w[3].fill_(math.nan))
    x, y = data()
    report = check(model, (80 * x, y), "cross_entropy")
    mending = fix(model, report, (80 * x, y), loss="cross_entropy")
    assert "2.weight" in {row.path for row in mending.rows}
    assert {finding.code for finding in mending.remains} == {"INP001"}


def test_what_a_fix_brings_to_light_is_mended_with_it():
    """Behind a weight of zeros nothing could be seen of a head that is 100 times too loud."""
    torch.manual_seed(0)
    model = stack(3, head=by_fan(30.0)(nn.Linear(WIDTH, CLASSES)))
    changed(model, "2.weight", lambda w: w.zero_())
    report = check(model, data(), "cross_entropy")
    assert "LOS001" not in wrong(report)
    mending = fix(model, report, data(), loss="cross_entropy")
    assert {row.path for row in mending.rows} == {"2.weight", "6.weight"}
    assert mending.cures


def test_chosen_rules_do_not_make_others_look_new():
    torch.manual_seed(0)
    model = stack(3, head=by_fan(30.0)(nn.Linear(WIDTH, CLASSES)))
    changed(model, "2.weight", lambda w: w.abs_())
    report = check(model, data(), "cross_entropy", select=["LOS"])
    mending = fix(model, report, data(), loss="cross_entropy")
    assert "6.weight" in {row.path for row in mending.rows}


# Heads behind trunks that are too loud or too quiet


@pytest.mark.parametrize(("trunk", "head"), [(2.0, 2.0), (2.0, 30.0), (1.0, 30.0), (0.5, 300.0), (0.5, 3e3)])
def test_a_head_is_drawn_for_the_trunk_as_it_is(trunk, head):
    """Four layers, each of which is so many times as loud as it should be."""
    torch.manual_seed(0)
    model = stack(4, by_fan(trunk * math.sqrt(2)), head=by_fan(head)(nn.Linear(WIDTH, CLASSES)))
    before = [parameter.clone() for parameter in model.parameters()]
    report = check(model, data(), "cross_entropy", select=["LOS001"])
    mending = fix(model, report, data(), loss="cross_entropy")
    mended = pasted(model, mending.code)
    assert check(mended, data(), "cross_entropy").observations[0].loss.value < 1.15 * math.log(CLASSES)
    same = [torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert same == [True] * (len(same) - 2) + [False, True]


# Kinds of parameters


def test_a_head_s_constant_bias_that_drowns_is_not_taken_for_a_prior():
    torch.manual_seed(0)
    model = nn.Sequential(*changed(stack(2), "4.bias", lambda b: b.fill_(-30.0)), nn.ReLU())
    mending = fix(model, check(model, data(), "cross_entropy"), data(), loss="cross_entropy")
    assert mending.plan["4.bias"].std == 0
    assert not mending.plan["4.bias"].meant
    assert mending.cures


class Unrolled(nn.Module):
    """One weight, used at each of several steps."""

    def __init__(self, gain, steps=8):
        super().__init__()
        self.stem, self.step = by_fan(1.0)(nn.Linear(FEATURES, WIDTH)), by_fan(gain)(nn.Linear(WIDTH, WIDTH))
        self.head, self.steps = by_fan(0.1)(nn.Linear(WIDTH, CLASSES)), steps

    def forward(self, x):
        h = self.stem(x)
        for _ in range(self.steps):
            h = torch.relu(self.step(h))
        return self.head(h)


@pytest.mark.parametrize("gain", [0.5, 3.5, 6.0])
def test_a_shared_weight_is_the_cause_and_is_mended(gain):
    torch.manual_seed(0)
    model = Unrolled(gain)
    reports = [check(made, data(), "cross_entropy") for made in (model, lambda: Unrolled(gain))]
    for report in reports:
        assert "step.weight" in report.findings[0].paths, str(report)
        mending = fix(model, report, data(), loss="cross_entropy")
        assert mending.cures, str(mending.table)
        assert "step.weight" in {row.path for row in mending.rows}


def lora(std_a, std_b):
    """A low-rank update beside a frozen map."""
    base = he(nn.Linear(FEATURES, WIDTH)).requires_grad_(False)
    down, up = nn.Linear(FEATURES, 8, bias=False), nn.Linear(8, WIDTH, bias=False)
    nn.init.normal_(down.weight, std=std_a)
    nn.init.normal_(up.weight, std=std_b)
    head = by_fan(0.1)(nn.Linear(WIDTH, CLASSES))
    return Wrapped(lambda m, x: m.head((m.base(x) + m.up(m.down(x))).relu()), base=base, down=down, up=up, head=head)


@pytest.mark.parametrize(("std_a", "std_b"), [(0.1, 0.3), (1.0, 0.1), (0.125, 1.0)])
def test_adapters_start_at_their_base(std_a, std_b):
    torch.manual_seed(0)
    model = lora(std_a, std_b)
    wanted = model.base(data()[0])
    report = check(model, data(), "cross_entropy")
    mending = fix(model, report, data(), loss="cross_entropy")
    pasted(model, mending.code)
    assert torch.equal(model.base(data()[0]) + model.up(model.down(data()[0])), wanted)
    assert model.down.weight.std() > 0
    assert "ADP001" not in wrong(check(model, data(), "cross_entropy"))


@pytest.mark.parametrize("made", [factory(same=True), lambda: changed(stack(3), "2.weight", lambda w: w.abs_())])
def test_the_fix_of_a_factory_is_that_of_its_model(made):
    torch.manual_seed(0)
    model = made()
    reports = [check(one, data(), "cross_entropy") for one in (model, made)]
    plans = [
        [(row.path, row.law) for row in fix(model, report, data(), loss="cross_entropy").rows] for report in reports
    ]
    assert plans[0] == plans[1]


def test_it_is_applied_by_plan_as_by_code():
    model, batch, loss, report = sick("BIA001")
    mending = fix(model, report, batch, loss=loss)
    apply(model, mending.plan, key=3)
    assert wrong(check(model, batch, loss)) == set()
