"""Calls of layers and functions, as the recorder takes them."""

from typing import Any, TypeAlias

from fanwise.graph.tracking import call as tracking
from fanwise.graph.tracking.call import parts_of

__all__ = ["Call", "Part", "parts_of"]

Call: TypeAlias = tracking.Call[Any]
"""The description of a call; its data are tensors of the backend."""

Part: TypeAlias = tracking.Part[Any]
"""A variable, or a tensor made of it, that acts as a parameter."""
