"""What one call of a layer or a function is to the recorder."""

from typing import Any, TypeAlias

from fanwise.graph.tracking import call as tracking
from fanwise.graph.tracking.call import parts_of

__all__ = ["Call", "Part", "parts_of"]

Call: TypeAlias = tracking.Call[Any]
"""What one call is; its data are tensors of the backend."""

Part: TypeAlias = tracking.Part[Any]
"""A variable, or a tensor made of it, that acts as a parameter."""
