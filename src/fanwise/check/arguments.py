"""Arguments that the check of every framework takes."""

from typing import Any, TypeAlias

from fanwise.measure.optimizers import RULES, Optimizer
from fanwise.stream.arguments import checked_choice, checked_number, in_words, near_names

OptimizerLike: TypeAlias = Any
"""An optimizer as users give it: a name and a learning rate, as in "adam:1e-3", or an object of the framework."""
OPTIMIZERS = tuple(RULES)


def parse_optimizer(text: Any) -> Optimizer:
    """An optimizer from its name and learning rate, as in ``"adam:1e-3"``.

    Raises:
        TypeError: not a str.
        ValueError: an unknown name, or no learning rate above 0.
    """
    if not isinstance(text, str):
        hint = "; give what the function returns" if callable(text) else ""
        raise TypeError(
            f"optimizer = {in_words(text)}: expected a text such as 'adam:1e-3', or an optimizer of the framework's own"
            f"{hint}"
        )
    name, _, rate = text.partition(":")
    name = name.strip().lower()
    near = [] if name in OPTIMIZERS else near_names(name, OPTIMIZERS, 1)
    if near:
        raise ValueError(
            f"optimizer = {name!r}: expected one of {', '.join(OPTIMIZERS)}, or an object of the framework; did you "
            f"mean {near[0]!r}?"
        )
    checked_choice(name, OPTIMIZERS, name="optimizer")
    try:
        value = checked_number(float(rate), name="learning rate")
    except ValueError:
        raise ValueError(f"optimizer = {text!r}: expected a learning rate after the name, as in 'adam:1e-3'") from None
    if value <= 0:
        raise ValueError(f"optimizer = {text!r}: expected a learning rate > 0")
    return Optimizer(name, value)
