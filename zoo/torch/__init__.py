"""The models of PyTorch."""

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from zoo.model import Use

_TINY = ("tiny.hf_text", "tiny.hf_causal", "tiny.hf_image", "tiny.hf_signals") if find_spec("transformers") else ()
_FAMILIES = (
    *("mixers", "attention", "decoders", "recurrences", "state_spaces", "convolutions", "vision", "graphs", "tables"),
    *("densities", "memories"),
)
_REPORTS = ("perceptrons", "endings", "fields", "pictures", "sequences")
_UNSEEN = ("language", "generative", "likelihoods", "vision", "contrasts", "signals", "worlds")
FILES: Mapping[Use, tuple[str, ...]] = MappingProxyType(
    {
        "check": (
            *("healthy", "breaks.tuned", "breaks.held_out", "breaks.reports"),
            *(f"reports.{name}" for name in _REPORTS),
            *(f"unseen.{name}" for name in _UNSEEN),
        ),
        "structure": (*_TINY, "tiny.torch_nn", "tiny.handwritten"),
        "families": tuple(f"families.{name}" for name in _FAMILIES),
        "calibrate": ("calibrated",),
        "pitfall": ("pitfalls",),
        "theory": ("wide",),
        "training": ("trained",),
    }
)
"""The files of each use; families of healthy models are listed in `healthy.py`."""
