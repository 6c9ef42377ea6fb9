"""Tiny models on which the tracer, the planner and the checker are tested."""

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from .handmade import HANDMADE
from .native import NATIVE
from .specimen import Specimen, block_names, by_name


def _transformers() -> tuple[Specimen, ...]:
    """The specimens from transformers, where it is installed."""
    if find_spec("transformers") is None:
        return ()
    from .hf_causal import CAUSAL  # noqa: PLC0415
    from .hf_image import IMAGE  # noqa: PLC0415
    from .hf_other import OTHER  # noqa: PLC0415
    from .hf_text import TEXT  # noqa: PLC0415

    return TEXT + CAUSAL + IMAGE + OTHER


TRANSFORMERS: Mapping[str, Specimen] = MappingProxyType(by_name(_transformers()))
ZOO: Mapping[str, Specimen] = MappingProxyType(by_name((*TRANSFORMERS.values(), *NATIVE, *HANDMADE)))

__all__ = ["HANDMADE", "NATIVE", "TRANSFORMERS", "ZOO", "Specimen", "block_names"]
