"""Which number stands at (key, index). Knows nothing of networks."""

from fanwise.stream.box import Box
from fanwise.stream.fill import constant, normal, truncated_normal, uniform, uniform_between, words
from fanwise.stream.formats import FORMATS, Format
from fanwise.stream.key import Key, KeyLike

__all__ = [
    "FORMATS",
    "Box",
    "Format",
    "Key",
    "KeyLike",
    "constant",
    "normal",
    "truncated_normal",
    "uniform",
    "uniform_between",
    "words",
]
