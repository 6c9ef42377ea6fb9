"""The starts that the demo compares, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Constant, Normal, VarianceScaling, Zeros
from fanwise.laws.gain import gain
from fanwise.laws.initializers import glorot_normal, he_normal, lecun_normal
from fanwise.laws.structured import Orthogonal

Norm = Literal["none", "batch", "layer"]


@dataclass(frozen=True)
class Start:
    """How the weights begin, and what normalises the layers.

    Args:
        name: how the command line calls it.
        label: how tables call it: the std of normal weights, n for fan_in.
        law: the law of every weight.
        norm: "none", "batch" or "layer".
    """

    name: str
    label: str
    law: Initializer
    norm: Norm = "none"


def starts(nonlinearity: str = "relu") -> Mapping[str, Start]:
    """Every start by name, in the order of the report.

    Args:
        nonlinearity: of the network; decides the gain of "gain" and "orthogonal".
    """
    factor = gain(nonlinearity)
    exact = (Start("gain", f"{factor:.3g}/sqrt(n)", VarianceScaling(factor**2)),)
    every = (
        Start("zeros", "zeros", Zeros()),
        Start("constant", "constant 0.01", Constant(0.01)),
        Start("tiny", "tiny 0.0001", Normal(1e-4)),
        Start("small", "small 0.01", Normal(0.01)),
        Start("huge", "huge 1", Normal(1.0)),
        Start("lecun", "LeCun sqrt(1/n)", lecun_normal),
        Start("he", "He sqrt(2/n)", he_normal),
        *(() if nonlinearity == "relu" else exact),
        Start("slip", "slip 2/sqrt(n)", VarianceScaling(4.0)),
        Start("glorot", "Glorot", glorot_normal),
        Start("orthogonal", "orthogonal", Orthogonal(factor)),
        Start("huge-batch", "huge+BatchNorm", Normal(1.0), "batch"),
        Start("huge-layer", "huge+LayerNorm", Normal(1.0), "layer"),
        Start("tiny-batch", "tiny+BatchNorm", Normal(1e-4), "batch"),
        Start("tiny-layer", "tiny+LayerNorm", Normal(1e-4), "layer"),
    )
    return MappingProxyType({start.name: start for start in every})
