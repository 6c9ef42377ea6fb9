"""The registry of the rules: complete, in order, each with a page that stands alone and names its thresholds."""

import importlib
import math
import pkgutil
import re

import pytest

import fanwise.check.rules as package
from fanwise.check.findings import Finding
from fanwise.check.rules import depth, inputs, losses, outputs, sizes, units, weights
from fanwise.check.rules.folding import explained, folded
from fanwise.check.rules.registry import RULES
from fanwise.check.rules.rule import Rule

NAMES = [info.name for info in pkgutil.iter_modules(package.__path__)]
MODULES = [importlib.import_module(f"fanwise.check.rules.{name}") for name in NAMES]
PARTS = ("says", "why", "measured", "example", "remedy")


def test_every_rule_is_registered_once():
    defined = {id(value): value for module in MODULES for value in vars(module).values() if isinstance(value, Rule)}
    assert sorted(rule.code for rule in defined.values()) == sorted(RULES)
    assert all(re.fullmatch(r"[A-Z]{3}\d{3}", code) and rule.code == code for code, rule in RULES.items())


@pytest.mark.parametrize("code", RULES)
def test_a_cause_comes_before_what_it_explains(code):
    order = list(RULES)
    assert all(order.index(other) > order.index(code) for other in explained(code))


@pytest.mark.parametrize("code", RULES)
def test_what_a_rule_explains_is_said_once(code):
    direct = RULES[code].explains
    assert len(set(direct)) == len(direct)
    assert not [other for other in direct for further in direct if other in explained(further)]


@pytest.mark.parametrize("code", RULES)
def test_a_page_stands_alone(code):
    rule = RULES[code]
    parts = [vars(rule.page)[name] for name in PARTS]
    assert all(part.strip() == part and part for part in (*parts, rule.title, rule.source))
    assert len(set(parts)) == len(parts)
    for text in parts:
        assert not re.search(r"[A-Z]{3}\d{3}", text.replace(code, "")), text
        assert "{" not in text
    others = [other for other in RULES.values() if other is not rule]
    assert not [other.code for other in others if other.page.says == rule.page.says]


THRESHOLDS = {
    "EQU001": (f"{100 * weights.SOME:.0f} %", f"{100 * weights.NEARLY_ALL:.0f} %"),
    "PLN001": (f"{weights.STANDARD_ERRORS:g} standard errors",),
    "INP001": (f"{inputs.LOUD:g}", f"{inputs.FAINT:g}"),
    "BIA001": (f"{units.SHIFT:g} times",),
    "LAY001": (f"{sizes.OUTLIER:g} times",),
    "WGT001": (f"below {sizes.FAINT_GAIN:g}",),
    "WGT002": (f"above {sizes.LOUD_GAIN:g}",),
    "RES001": (f"rms above {math.sqrt(depth.STREAM_LOUD):g}",),
    "FWD001": (f"{depth.FEWEST} maps", f"{depth.TOTAL:g}"),
    "FWD002": (f"{depth.FEWEST} maps", f"{depth.TOTAL:g}"),
    "ATT001": (f"above {units.SCORES:g}",),
    "SAT001": (f"{100 * units.USELESS:.0f} %",),
    "DEA001": (f"{100 * units.DEAD:.0f} %",),
    "OUT001": (f"{outputs.ALIKE:g}",),
    "LOS001": (
        f"above {losses.FEW_TIMES:g} times",
        f"above {losses.SQUARED_TIMES:g} times",
        f"above {losses.PRIOR_TIMES:g} times",
    ),
    "BWD001": (f"{depth.BACKWARD_TOTAL:,.0f}",),
    "BWD002": (f"{depth.BACKWARD_TOTAL:,.0f}",),
}


@pytest.mark.parametrize("code", THRESHOLDS)
def test_a_page_says_where_the_line_is_drawn(code):
    assert all(text in RULES[code].page.measured for text in THRESHOLDS[code])


def test_a_consequence_of_a_consequence_is_folded():
    cause = Finding("WGT002", "warning", "weights far too large", op=0)
    consequence = Finding("OUT001", "error", "outputs that do not depend on the input")
    assert "OUT001" not in RULES["WGT002"].explains
    assert [(root.code, root.severity, root.follows) for root in folded([cause, consequence])] == [
        ("WGT002", "error", (consequence,))
    ]


def test_a_consequence_does_not_come_before_its_cause():
    cause, earlier = Finding("LAY001", "warning", "", op=4), Finding("DEA001", "error", "", op=2)
    assert not RULES["DEA001"].shows_before
    assert folded([cause, earlier]) == [cause, earlier]
    assert RULES["LOS001"].shows_before
    assert len(folded([cause, Finding("LOS001", "error", "", op=2)])) == 1
