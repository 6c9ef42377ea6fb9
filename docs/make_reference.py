"""Writes docs/reference.md from the registries.

python docs/make_reference.py > docs/reference.md
"""

from collections.abc import Sequence

from fanwise import INITIALIZERS, NONLINEARITIES, gain, gaussian_moments
from fanwise.check.rules.registry import RULES
from fanwise.check.rules.rule import Rule
from fanwise.cli.reference import HEADINGS, rule_texts
from fanwise.lab.starts import starts
from fanwise.plan.recipes.registry import RECIPES
from fanwise.plan.roles import ROLES

HEADER = """# Reference

Made by `docs/make_reference.py` from the registries; a test keeps it current.
"""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def initializers() -> str:
    """Every initializer: name, synonyms, law, source."""
    rows = [
        (f"`{entry.name}`", ", ".join(f"`{name}`" for name in entry.synonyms), f"`{entry.formula}`", entry.source)
        for entry in INITIALIZERS.values()
    ]
    return "## Initializers\n\n" + table(("name", "synonyms", "law", "source"), rows)


def nonlinearities() -> str:
    """Every nonlinearity: Gaussian moments and gains."""
    rows = []
    for entry in NONLINEARITIES.values():
        moments = gaussian_moments(entry.example)
        values = (moments.mean, moments.second_moment, gain(entry.example), gain(entry.example, kind="variance"))
        chi = moments.slope_second_moment / moments.second_moment
        numbers = [f"{round(value, 9) + 0.0:.9f}" for value in (*values, gain(entry.example, kind="backward"), chi)]
        rows.append((f"`{entry.example}`", f"`{entry.formula}`", *numbers, entry.source))
    columns = ("name", "f(x)", "E f", "E f²", "gain", "gain, variance", "gain, backward", "χ", "source")
    text = "z is a standard normal: gain 1/√E f², of the variance 1/std f, backward 1/√E f'², χ = E f'² / E f².\n\n"
    return "## Nonlinearities\n\n" + text + table(columns, rows)


def demo_starts() -> str:
    """Every start of the demo."""
    rows = [(f"`{start.name}`", start.label, f"`{start.law!r}`", start.norm) for start in starts().values()]
    return "## Starts of `fanwise demo`\n\n" + table(("name", "label", "law", "norm"), rows)


def rules() -> str:
    """Every rule of `fanwise check`, and the page of each."""
    rows = [(f"[`{rule.code}`](#{rule.code.lower()})", rule.severity, rule.title) for rule in RULES.values()]
    text = "`fanwise explain CODE` prints the page of a rule.\n\n"
    pages = "\n".join(rule_page(rule) for rule in RULES.values())
    return "## Rules of `fanwise check`\n\n" + text + table(("code", "severity", "title"), rows) + "\n" + pages


def rule_page(rule: Rule) -> str:
    """The page of a rule."""
    lines = (f"- {HEADINGS[name]}: {text}" for name, text in rule_texts(rule).items())
    return f"### {rule.code}\n\n{rule.title.capitalize()} ({rule.severity}).\n\n" + "\n".join(lines) + "\n"


def recipes() -> str:
    """Every recipe for whole models, and the roles that its rules speak for."""
    rows = [(f"`{found.name}`", found.title, found.source) for found in RECIPES.values()]
    text = "A recipe has one rule for each role of a parameter:\n\n"
    roles = table(("role", "what it is"), [(f"`{name}`", meaning) for name, meaning in ROLES.items()])
    return "## Recipes\n\n" + table(("name", "what it does", "source"), rows) + "\n" + text + roles


def page() -> str:
    """The whole page."""
    return "\n".join((HEADER, initializers(), nonlinearities(), recipes(), rules(), demo_starts()))


if __name__ == "__main__":
    print(page(), end="")
