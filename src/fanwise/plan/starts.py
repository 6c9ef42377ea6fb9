"""What a recipe may ask about the values that a model holds, as its author left them."""

from typing import Protocol

from fanwise.laws.base import Initializer


class Starts(Protocol):
    """The values of a model's parameters, read when they are asked about; small ones may be asked often."""

    def constant(self, path: str) -> float | None:
        """The one value of a parameter, None where its values differ or are not finite."""
        ...

    def multiple_of_identity(self, path: str) -> float | None:
        """The factor c of a square matrix c I, None for anything else; 0 is none."""
        ...

    def is_finite(self, path: str) -> bool:
        """Whether no value is infinite or not a number."""
        ...

    def looks_written(self, path: str, bound: float) -> bool:
        """Whether a vector was written down, not drawn: its values repeat, stand off 0 together, or are huge.

        Args:
            path: of the parameter.
            bound: the largest size that a framework's default would have drawn.
        """
        ...

    def drawn_like(self, path: str) -> Initializer | None:
        """The law that the values look drawn from, None where they follow no random law of mean 0."""
        ...

    def drawn_around(self, path: str) -> Initializer | None:
        """The same of random values around another mean than 0; None for any others."""
        ...

    def random_sign(self, path: str) -> float | None:
        """The size of values that are random signs times one number; None for any others."""
        ...
