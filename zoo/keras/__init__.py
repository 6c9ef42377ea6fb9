"""The models of Keras, on whichever backend Keras computes with."""

from collections.abc import Mapping
from types import MappingProxyType

from zoo.model import Use

FILES: Mapping[Use, tuple[str, ...]] = MappingProxyType(
    {
        "check": ("healthy", "breaks", "reports", "unseen"),
        "structure": ("tiny",),
        "families": ("families.networks",),
    }
)
"""The files of each use; families of healthy models are listed in `healthy.py`."""
