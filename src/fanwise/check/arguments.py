"""Arguments that the check of every framework takes."""

from fanwise.check.subject import Optimizer
from fanwise.stream.arguments import checked_choice, checked_number

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")


def parse_optimizer(text: str) -> Optimizer:
    """An optimizer from its name and learning rate, as in ``"adam:1e-3"``.

    Raises:
        TypeError: not a str.
        ValueError: an unknown name, or no learning rate above 0.
    """
    if not isinstance(text, str):
        raise TypeError(f"optimizer = {text!r}: expected a text such as 'adam:1e-3'")
    name, _, rate = text.partition(":")
    checked_choice(name, OPTIMIZERS, name="optimizer")
    try:
        value = checked_number(float(rate), name="learning rate")
    except ValueError:
        raise ValueError(f"optimizer = {text!r}: expected a learning rate after the name, as in 'adam:1e-3'") from None
    if value <= 0:
        raise ValueError(f"optimizer = {text!r}: expected a learning rate > 0")
    return Optimizer(name, value)
