"""Reference pages from the registries: what `fanwise gain`, `fanwise list` and `fanwise explain` print."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fanwise.check.rules.folding import explained
from fanwise.check.rules.registry import RULES
from fanwise.check.rules.rule import Rule
from fanwise.laws.gain import KINDS, as_nonlinearity, gain, gaussian_moments
from fanwise.laws.initializers import INITIALIZERS
from fanwise.laws.nonlinearities import NONLINEARITIES
from fanwise.plan.recipes.registry import RECIPES
from fanwise.report.document import Column, Row, Section, Table, Text

MEANINGS = {
    "second_moment": "weights of std gain / sqrt(fan_in) keep the second moment of the signal",
    "variance": "the same where a norm takes the mean out between the layers",
    "backward": "weights of std gain / sqrt(fan_out) keep the second moment of the gradient",
}


def gain_page(name: str) -> tuple[Section, dict[str, Any]]:
    """The gains and Gaussian moments of a nonlinearity, as a page and as plain values.

    Raises:
        TypeError: a parameter missing or unknown.
        ValueError: an unknown name.
    """
    unit = as_nonlinearity(name)
    gains = {kind: gain(unit, kind=kind) for kind in KINDS}
    moments = gaussian_moments(unit)
    chi = moments.slope_second_moment / moments.second_moment
    rows = [Row((kind, f"{value:.10g}", f"{value**2:.10g}"), note=MEANINGS[kind]) for kind, value in gains.items()]
    columns = (Column("keeps"), Column("gain", align="right"), Column("scale = gain^2", align="right"))
    table = Table(columns, tuple(rows))
    text = (
        f"For a standard normal z: E f(z) = {moments.mean:.10g}, E f(z)^2 = {moments.second_moment:.10g}, "
        f"E f'(z)^2 = {moments.slope_second_moment:.10g}. With the forward gain a gradient is multiplied by "
        f"chi = {chi:.6g} in its second moment at every layer of equal width."
    )
    values = {"nonlinearity": unit.name, "gain": gains, "moments": moments, "chi": chi}
    return Section(unit.name, (table, Text(text))), values


def initializers_page() -> tuple[Table, list[dict[str, Any]]]:
    """Every initializer, as a table and as plain values."""
    entries = INITIALIZERS.values()
    rows = tuple(Row((_names(entry.name, entry.synonyms), entry.formula), note=entry.source) for entry in entries)
    values = [
        {"name": entry.name, "synonyms": entry.synonyms, "formula": entry.formula, "source": entry.source}
        for entry in entries
    ]
    return Table((Column("initializer"), Column("law")), rows), values


def nonlinearities_page() -> tuple[Table, list[dict[str, Any]]]:
    """Every nonlinearity with its forward gain, as a table and as plain values."""
    entries = NONLINEARITIES.values()
    gains = [gain(entry.example) for entry in entries]
    rows = tuple(
        Row((_names(entry.example, entry.synonyms), f"{value:.9f}", entry.formula), note=entry.source)
        for entry, value in zip(entries, gains, strict=True)
    )
    values = [
        {
            "name": entry.example,
            "synonyms": entry.synonyms,
            "gain": value,
            "formula": entry.formula,
            "source": entry.source,
        }
        for entry, value in zip(entries, gains, strict=True)
    ]
    columns = (Column("nonlinearity"), Column("gain", align="right"), Column("f(x)"))
    return Table(columns, rows), values


def recipes_page() -> tuple[Table, list[dict[str, Any]]]:
    """Every recipe for whole models, as a table and as plain values."""
    rows = tuple(Row((recipe.name, recipe.title), note=recipe.source) for recipe in RECIPES.values())
    values = [{"name": recipe.name, "title": recipe.title, "source": recipe.source} for recipe in RECIPES.values()]
    return Table((Column("recipe"), Column("what it does")), rows), values


def rules_page() -> tuple[Table, list[dict[str, Any]]]:
    """Every rule of `check`, as a table and as plain values."""
    rows = tuple(Row((rule.code, rule.severity, rule.title)) for rule in RULES.values())
    values = [{"code": rule.code, "severity": rule.severity, "title": rule.title} for rule in RULES.values()]
    return Table((Column("rule"), Column("severity"), Column("what it finds")), rows), values


def rule_page(code: str) -> tuple[Section, dict[str, Any]]:
    """What a rule says, why that matters, how it is measured and what mends it, as a page and as plain values.

    Raises:
        ValueError: an unknown code.
    """
    rule = RULES.get(code.upper())
    if rule is None:
        raise ValueError(f"rule {code!r}: expected one of {', '.join(RULES)}")
    head = f"{rule.code} ({rule.severity}): {rule.title}"
    values = {"code": rule.code, "severity": rule.severity, "title": rule.title}
    texts = tuple(Text(f"{HEADINGS[name]}: {text}") for name, text in rule_texts(rule).items())
    return Section(head, texts), values | rule_texts(rule)


HEADINGS: Mapping[str, str] = MappingProxyType(
    {
        "says": "What it says",
        "why_it_is_bad": "Why it matters",
        "sees": "How it is measured",
        "example": "Example",
        "remedy": "What to do",
        "explains": "Explains",
        "false_alarms": "False alarms",
        "source": "Source",
    }
)
"""What the parts of a rule's page are called, by their names in JSON."""


def rule_texts(rule: Rule) -> dict[str, str]:
    """The parts of a rule's page, by their names in JSON; those that are empty are left out."""
    texts = {
        "says": rule.page.says,
        "why_it_is_bad": rule.page.why,
        "sees": rule.page.measured,
        "example": rule.page.example,
        "remedy": rule.page.remedy,
        "explains": _explains(rule),
        "false_alarms": rule.false_alarms,
        "source": rule.source,
    }
    return {name: text for name, text in texts.items() if text}


def _explains(rule: Rule) -> str:
    """The rules whose findings it explains, in the order of the registry."""
    return ", ".join(code for code in RULES if code in explained(rule.code))


def _names(name: str, synonyms: tuple[str, ...]) -> str:
    return ", ".join((name, *synonyms))
