"""The recipes by name."""

from collections.abc import Mapping
from types import MappingProxyType

from fanwise.plan.recipes.profiles import PROFILES
from fanwise.plan.recipes.published import PUBLISHED
from fanwise.plan.recipes.recipe import Recipe
from fanwise.plan.recipes.unit import UNIT

RECIPES: Mapping[str, Recipe] = MappingProxyType({found.name: found for found in (UNIT, *PUBLISHED, *PROFILES)})
"""Every recipe by name, in the order of the documentation."""


def recipe(name: str | Recipe) -> Recipe:
    """The recipe of this name; a recipe is its own.

    Args:
        name: a name of `RECIPES`, or a recipe of your own.

    Raises:
        TypeError: neither.
        ValueError: an unknown name; the choices are listed.

    Example:
        >>> recipe("he").title
        'normal, variance 2 / fan_in after a ReLU'
    """
    if isinstance(name, Recipe):
        return name
    if not isinstance(name, str):
        raise TypeError(f"recipe = {name!r}: expected a name, one of {', '.join(RECIPES)}, or a Recipe")
    if name not in RECIPES:
        raise ValueError(f"recipe = {name!r}: expected one of {', '.join(RECIPES)}, or a Recipe")
    return RECIPES[name]
