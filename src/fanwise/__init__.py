"""Initialise the weights of any neural network right, show that they are right, and get the same bits everywhere."""

from fanwise._version import __version__
from fanwise.laws.base import Initializer, Moments
from fanwise.laws.composite import ICNR, Blocks
from fanwise.laws.elementwise import Constant, Normal, Ones, TruncatedNormal, Uniform, VarianceScaling, Zeros
from fanwise.laws.gain import gain, gaussian_moments
from fanwise.laws.initializers import (
    INITIALIZERS,
    delta_orthogonal,
    dirac,
    from_config,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    identity,
    initializer,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    looks_linear,
    ones,
    orthogonal,
    sparse,
    to_config,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from fanwise.laws.layout import Fans, Layout
from fanwise.laws.nonlinearities import NONLINEARITIES, GaussianMoments, Nonlinearity, nonlinearity
from fanwise.laws.structured import DeltaOrthogonal, Dirac, Identity, LooksLinear, Orthogonal, Sparse
from fanwise.numpy.api import check_weights, fix_weights
from fanwise.stream.box import Box
from fanwise.stream.key import Key

__all__ = [
    "ICNR",
    "INITIALIZERS",
    "NONLINEARITIES",
    "Blocks",
    "Box",
    "Constant",
    "DeltaOrthogonal",
    "Dirac",
    "Fans",
    "GaussianMoments",
    "Identity",
    "Initializer",
    "Key",
    "Layout",
    "LooksLinear",
    "Moments",
    "Nonlinearity",
    "Normal",
    "Ones",
    "Orthogonal",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "Zeros",
    "__version__",
    "check_weights",
    "delta_orthogonal",
    "dirac",
    "fix_weights",
    "from_config",
    "gain",
    "gaussian_moments",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "initializer",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "looks_linear",
    "nonlinearity",
    "ones",
    "orthogonal",
    "sparse",
    "to_config",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
