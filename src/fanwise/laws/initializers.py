"""The named initializers: presets as values, and the registry of all of them.

A preset is one line below and one row of `INITIALIZERS`: the command line's lists, the error messages' choices and
the tests read it from there.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from fanwise.laws.base import Initializer
from fanwise.laws.composite import ICNR, Blocks
from fanwise.laws.elementwise import Constant, Normal, Ones, TruncatedNormal, Uniform, VarianceScaling, Zeros
from fanwise.laws.structured import DeltaOrthogonal, Dirac, Identity, LooksLinear, Orthogonal, Sparse

zeros = Zeros()
ones = Ones()
lecun_normal = VarianceScaling(1.0, "fan_in", "normal")
lecun_uniform = VarianceScaling(1.0, "fan_in", "uniform")
glorot_normal = xavier_normal = VarianceScaling(1.0, "fan_avg", "normal")
glorot_uniform = xavier_uniform = VarianceScaling(1.0, "fan_avg", "uniform")
he_normal = kaiming_normal = VarianceScaling(2.0, "fan_in", "normal")
he_uniform = kaiming_uniform = VarianceScaling(2.0, "fan_in", "uniform")
orthogonal = Orthogonal()
delta_orthogonal = DeltaOrthogonal()
looks_linear = LooksLinear()
identity = Identity()
dirac = Dirac()
sparse = Sparse()

_LECUN = 'LeCun et al., "Efficient BackProp", 1998, eq. 16'
_GLOROT = 'Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010'
_HE = 'He et al., "Delving deep into rectifiers", 2015, eq. 10'
_SAXE = 'Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2013'
_BALDUZZI = 'Balduzzi et al., "The shattered gradients problem", 2017, section 4.1'
_XIAO = 'Xiao et al., "Dynamical isometry and a mean field theory of CNNs", 2018, algorithm 1'
_LE = 'Le et al., "A simple way to initialize recurrent networks of rectified linear units", 2015'
_MARTENS = 'Martens, "Deep learning via Hessian-free optimization", 2010, section 5.1'
_AITKEN = 'Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017'


@dataclass(frozen=True)
class InitializerEntry:
    """One row of the registry.

    Args:
        name: how the command line and configurations call it.
        make: a preset's value, or the class to call with parameters.
        example: a value to show and to test.
        formula: what it draws, in one line.
        source: author, title, year, equation; "" where there is none to name.
        synonyms: other names of the same.
    """

    name: str
    make: Initializer | Callable[..., Initializer]
    example: Initializer
    formula: str
    source: str = ""
    synonyms: tuple[str, ...] = ()


def _preset(
    name: str, value: Initializer, formula: str, source: str = "", *, synonyms: tuple[str, ...] = ()
) -> InitializerEntry:
    return InitializerEntry(name, value, value, formula, source, synonyms)


_ENTRIES = (
    _preset("zeros", zeros, "0"),
    _preset("ones", ones, "1"),
    InitializerEntry("constant", Constant, Constant(0.5), "value"),
    InitializerEntry("uniform", Uniform, Uniform(0.05), "U(-bound, bound)"),
    InitializerEntry("normal", Normal, Normal(0.02), "N(0, std^2)"),
    InitializerEntry(
        "truncated_normal", TruncatedNormal, TruncatedNormal(0.02), "N kept to [low, high] sigmas; std after the cut"
    ),
    InitializerEntry(
        "variance_scaling", VarianceScaling, VarianceScaling(2.0, "fan_geo_avg"), "variance scale / fan", _GLOROT
    ),
    _preset("lecun_normal", lecun_normal, "N(0, 1 / fan_in)", _LECUN),
    _preset("lecun_uniform", lecun_uniform, "U(+-sqrt(3 / fan_in))", _LECUN),
    _preset(
        "glorot_normal",
        glorot_normal,
        "N(0, 2 / (fan_in + fan_out))",
        _GLOROT + ", eq. 12",
        synonyms=("xavier_normal",),
    ),
    _preset(
        "glorot_uniform",
        glorot_uniform,
        "U(+-sqrt(6 / (fan_in + fan_out)))",
        _GLOROT + ", eq. 16",
        synonyms=("xavier_uniform",),
    ),
    _preset("he_normal", he_normal, "N(0, 2 / fan_in)", _HE, synonyms=("kaiming_normal",)),
    _preset("he_uniform", he_uniform, "U(+-sqrt(6 / fan_in))", _HE, synonyms=("kaiming_uniform",)),
    InitializerEntry("orthogonal", Orthogonal, orthogonal, "gain Q sqrt(max(out / in, 1)), Q Haar", _SAXE),
    InitializerEntry("delta_orthogonal", DeltaOrthogonal, delta_orthogonal, "centre tap Q, Haar; else 0", _XIAO),
    InitializerEntry("looks_linear", LooksLinear, looks_linear, "gain [[Q, -Q], [-Q, Q]], Q Haar", _BALDUZZI),
    InitializerEntry("identity", Identity, identity, "gain I", _LE),
    InitializerEntry("dirac", Dirac, dirac, "gain I at the centre tap of every group"),
    InitializerEntry("sparse", Sparse, sparse, "N(0, gain^2 / nonzero) on a few inputs of each output", _MARTENS),
    InitializerEntry("icnr", ICNR, ICNR(he_normal, 4), "base law, copied to every sub-pixel", _AITKEN),
    InitializerEntry("blocks", Blocks, Blocks((he_normal, zeros), axis=0), "each block by its own law and fans"),
)

INITIALIZERS: Mapping[str, InitializerEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every initializer by name, in the order of the documentation."""

_BY_ANY_NAME = {name: entry for entry in _ENTRIES for name in (entry.name, *entry.synonyms)}
_CLASS_NAMES = {entry.make: entry.name for entry in _ENTRIES if isinstance(entry.make, type)} | {
    Zeros: "zeros",
    Ones: "ones",
}


def initializer(name: str, **parameters: Any) -> Initializer:
    """The initializer of this name.

    Args:
        name: a name or synonym of `INITIALIZERS`.
        parameters: arguments of its class; presets take none.

    Raises:
        TypeError: a parameter that it does not have, or one that is missing or of the wrong kind.
        ValueError: an unknown name, or a parameter out of range.

    Example:
        >>> initializer("kaiming_normal") == initializer("variance_scaling", scale=2.0)
        True
    """
    if not isinstance(name, str) or name not in _BY_ANY_NAME:
        raise ValueError(f"initializer {name!r}: expected one of {', '.join(_BY_ANY_NAME)}")
    make = _BY_ANY_NAME[name].make
    known = [] if isinstance(make, Initializer) else list(inspect.signature(make).parameters)
    unknown = [parameter for parameter in parameters if parameter not in known]
    if unknown:
        raise TypeError(f"initializer {name!r} has no parameter {unknown[0]!r}: it takes {', '.join(known) or 'none'}")
    return make if isinstance(make, Initializer) else make(**parameters)


def to_config(law: Initializer) -> dict[str, Any]:
    """A law as plain values for JSON or TOML; `from_config` gives it back.

    Example:
        >>> to_config(he_normal)
        {'name': 'variance_scaling', 'scale': 2.0, 'mode': 'fan_in', 'distribution': 'normal'}
    """
    if type(law) not in _CLASS_NAMES:
        raise TypeError(f"{law!r} is not one of fanwise's initializers")
    values = {field.name: _plain(getattr(law, field.name)) for field in fields(law)}  # type: ignore[arg-type]
    return {"name": _CLASS_NAMES[type(law)], **{name: value for name, value in values.items() if value is not None}}


def from_config(config: Mapping[str, Any]) -> Initializer:
    """The law that `to_config` described.

    Raises:
        TypeError: not a mapping with a name, or a parameter that the initializer does not have.
        ValueError: an unknown name, or a parameter out of range.
    """
    if not isinstance(config, Mapping) or "name" not in config:
        raise TypeError(f"config = {config!r}: expected a mapping with 'name' and the parameters")
    parameters = {name: _law(value) for name, value in config.items() if name != "name"}
    return initializer(config["name"], **parameters)


def _plain(value: Any) -> Any:
    if isinstance(value, Initializer):
        return to_config(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _law(value: Any) -> Any:
    if isinstance(value, Mapping):
        return from_config(value)
    if isinstance(value, list):
        return tuple(_law(item) for item in value)
    return value
