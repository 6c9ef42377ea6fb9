"""The law of numbers that were found: their mean and std, whatever drew them."""

from dataclasses import dataclass

from fanwise.laws.base import Moments
from fanwise.laws.elementwise import ElementwiseLaw
from fanwise.laws.layout import Layout
from fanwise.stream.arguments import checked_number
from fanwise.stream.box import Shape
from fanwise.stream.formats import Format
from fanwise.stream.law import NORMAL_REACH, Law, normal_law


@dataclass(frozen=True)
class MeasuredLaw(ElementwiseLaw):
    """Normal values of a mean and a std.

    Args:
        mean: a finite number.
        std: a finite number, >= 0.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        checked_number(self.mean, name="mean")
        checked_number(self.std, name="std", low=0.0)

    def stream_law(self, form: Format) -> Law:
        """What turns words into these values."""
        return normal_law(form, float(self.std), float(self.mean))

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        reach = NORMAL_REACH * self.std
        return Moments(self.mean, self.std, self.mean - reach, self.mean + reach)
