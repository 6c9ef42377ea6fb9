"""The law of numbers that were found: their mean and std, whatever drew them."""

from dataclasses import dataclass

from fanwise.laws.base import Initializer, Moments, Site
from fanwise.laws.layout import Layout
from fanwise.stream import fill
from fanwise.stream.arguments import checked_number
from fanwise.stream.box import Shape
from fanwise.stream.formats import Array
from fanwise.stream.law import NORMAL_REACH


@dataclass(frozen=True)
class Found(Initializer):
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

    def _draw(self, site: Site, out: Array) -> None:
        key, dtype = site.known_key(), site.form.name
        fill.normal(key, site.shape, std=self.std, mean=self.mean, dtype=dtype, box=site.box, out=out)

    def _moments(self, shape: Shape, layout: Layout | None) -> Moments:
        reach = NORMAL_REACH * self.std
        return Moments(self.mean, self.std, self.mean - reach, self.mean + reach)
