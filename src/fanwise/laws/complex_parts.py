"""Laws of complex numbers: that of their real parts and that of their imaginary parts, which are drawn apart."""

import math
from dataclasses import replace

from fanwise.laws.base import Initializer
from fanwise.laws.composite import ICNR, Blocks
from fanwise.laws.elementwise import Constant, Normal, Ones, TruncatedNormal, Uniform, VarianceScaling, Zeros
from fanwise.laws.structured import Dirac, Identity

IMAGINARY = "imaginary"
"""Domain of the stream of a complex parameter's imaginary parts."""


def complex_parts(law: Initializer) -> tuple[tuple[Initializer, str], tuple[Initializer, str]]:
    """The laws of the real and of the imaginary parts, each with the domain of the stream from which it is drawn.

    Real parts come from the parameter's own stream and both parts are over sqrt(2), so that E |z|^2 is what the law
    says; constants and identities are real.

    Args:
        law: of the whole numbers.

    Raises:
        ValueError: a law that does not draw each element alone.

    Example:
        >>> complex_parts(Uniform(2**0.5))[1]
        (Uniform(bound=1.0), 'imaginary')
    """
    return (_part(law, 0), ""), (_part(law, 1), IMAGINARY)


def _part(law: Initializer, part: int) -> Initializer:
    match law:
        case Blocks():
            return replace(law, laws=tuple(_part(block, part) for block in law.laws))
        case ICNR():
            return replace(law, base=_part(law.base, part))
        case Normal() | TruncatedNormal():
            return replace(law, std=law.std / math.sqrt(2))
        case Uniform():
            return replace(law, bound=law.bound / math.sqrt(2))
        case VarianceScaling():
            return replace(law, scale=law.scale / 2)
        case Constant() | Zeros() | Ones() | Identity() | Dirac():
            return Zeros() if part else law
    raise ValueError(f"law = {law!r} for a complex parameter: expected one that draws each element alone")
