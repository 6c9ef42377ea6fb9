"""torch's own formulas: gains by name, and fans by the storage shape."""

import math
from collections.abc import Mapping
from numbers import Real
from types import MappingProxyType

from torch import Tensor

from fanwise.stream.arguments import checked_choice, checked_number

_LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
)
# torch's table: tanh and selu differ from the second-moment gains of `fanwise.gain` (1.593 and 1).
_GAINS: Mapping[str, float] = MappingProxyType(
    dict.fromkeys((*_LINEAR, "sigmoid"), 1.0) | {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
)
_SCALES: Mapping[str, float] = MappingProxyType(
    dict.fromkeys((*_LINEAR, "sigmoid"), 1.0) | {"tanh": 25 / 9, "relu": 2.0, "selu": 9 / 16}
)
_DEFAULT_SLOPE = 0.01


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that torch recommends for a nonlinearity: a factor on the std.

    linear, conv*, sigmoid: 1; tanh: 5/3; relu: sqrt(2); leaky_relu: sqrt(2 / (1 + slope^2)); selu: 3/4.

    Args:
        nonlinearity: one of these names; `fanwise.gain` knows every other, and functions.
        param: the negative slope of leaky_relu, 0.01 by default; ignored for all others.

    Raises:
        ValueError: another name, or a slope that is no finite number.

    Example:
        >>> calculate_gain("leaky_relu", 0.2) == (2 / 1.04) ** 0.5
        True
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + _slope(param) ** 2))
    if nonlinearity not in tuple(_GAINS):
        choices = ", ".join((*_GAINS, "leaky_relu"))
        raise ValueError(f"nonlinearity = {nonlinearity!r}: expected one of {choices} (fanwise.gain knows others)")
    return _GAINS[nonlinearity]


def scale_of(nonlinearity: str, param: float | None = None) -> float:
    """The square of `calculate_gain`, rounded once: the scale of the law that has this gain.

    Example:
        >>> scale_of("relu"), calculate_gain("relu") ** 2
        (2.0, 2.0000000000000004)
    """
    if nonlinearity == "leaky_relu":
        return 2 / (1 + _slope(param) ** 2)
    calculate_gain(nonlinearity, param)  # refuses what torch does not know
    return _SCALES[nonlinearity]


def fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Fans by torch's storage rule: axis 1 and axis 0, times everything from axis 2 on."""
    if tensor.ndim < 2:
        raise ValueError(f"tensor has shape {tuple(tensor.shape)}: fans need 2 or more axes")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def correct_fan(tensor: Tensor, mode: str) -> int:
    """The fan that a mode means; capitals are allowed, as in torch."""
    known = checked_choice(mode.lower() if isinstance(mode, str) else mode, ("fan_in", "fan_out"), name="mode")
    fan_in, fan_out = fan_in_and_fan_out(tensor)
    return fan_in if known == "fan_in" else fan_out


def _slope(param: object) -> float:
    """The slope of leaky_relu; ValueError whatever is wrong with it, as in torch."""
    if param is None:
        return _DEFAULT_SLOPE
    if isinstance(param, bool) or not isinstance(param, Real):
        raise ValueError(f"negative_slope = {param!r}: expected a number")
    return checked_number(param, name="negative_slope")
