"""The inputs that a transformers model's configuration tells.

Configurations are foreign objects that answer for some of their fields under several names, through their own
``__getattr__``: they alone are asked by `getattr` here.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.adapters.input_specs import GRAMMAR
from fanwise.torch.trace.run import Inputs

SEQUENCES, IMAGES = 2, 4
LENGTH = 32
"""Tokens of a sequence, where the model takes as many."""

WAVE = 16000
"""Samples of a sound: one second."""

SPECIAL = 4
"""The first ids, which mean padding and the like in most vocabularies, are left out where there are more."""


def configured(model: nn.Module, dtype: torch.dtype = torch.float32) -> Inputs:
    """Inputs for a transformers model, the same at every call.

    Args:
        model: with a configuration that says how large its inputs are.
        dtype: of images and sounds.

    Raises:
        ValueError: no configuration, an unknown kind of model, or a configuration that does not say enough.
    """
    config, main = getattr(model, "config", None), str(getattr(model, "main_input_name", None))
    if config is None or main not in _MAKERS:
        raise ValueError(
            "inputs = None, and the model has no transformers configuration that says what it takes: give a batch or a "
            f"spec ({GRAMMAR})"
        )
    values = _draw(main, config, inspect.signature(model.forward).parameters)
    return Inputs((), {name: value.to(dtype) if _is_float(value) else value for name, value in values.items()})


def labelled(model: nn.Module, inputs: Inputs) -> Inputs:
    """The same with random labels, where a transformers model computes its own loss from them.

    Args:
        model: whose class says what its labels are: tokens where it ends in "ForCausalLM", "ForMaskedLM" and the like,
            classes where it ends in "ForSequenceClassification" or "ForImageClassification".
        inputs: named ones, as `configured` makes them.
    """
    named = dict(inputs.kwargs or {})
    config, kind = getattr(model, "config", None), type(model).__name__
    if config is None or "labels" not in inspect.signature(model.forward).parameters or "labels" in named:
        return inputs
    tokens = named.get("decoder_input_ids", named.get("input_ids"))
    if kind.endswith(_SPEAKING) and isinstance(tokens, Tensor):
        named["labels"] = tokens
    elif kind.endswith(_CLASSIFYING) and named:
        rows = len(next(value for value in named.values() if isinstance(value, Tensor)))
        generator = torch.Generator("cpu").manual_seed(0)
        classes = _first(config, ("num_labels",), 2)
        named["labels"] = torch.randint(0, classes, (rows,), generator=generator, device="cpu")
    return Inputs(inputs.args, named)


_SPEAKING = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration", "ForPreTraining")
_CLASSIFYING = ("ForSequenceClassification", "ForImageClassification")


def _draw(main: str, config: Any, known: Collection[str]) -> dict[str, Any]:
    named: dict[str, Any] = {main: _MAKERS[main](config)}
    if "decoder_input_ids" in known and getattr(config, "is_encoder_decoder", False):
        named["decoder_input_ids"] = _ids(config)
    if _is_pair(config) and "pixel_values" in known:
        named["pixel_values"] = _pixels(config)
    if "use_cache" in known:
        named["use_cache"] = False
    return named


def _is_pair(config: Any) -> bool:
    """Whether a model compares texts and images, so that it takes both."""
    return all(getattr(config, part, None) is not None for part in ("text_config", "vision_config", "projection_dim"))


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _first(config: Any, names: Sequence[str], default: int | None = None) -> int:
    """The first of these numbers that a configuration, or its text or vision part, has."""
    parts = [config, getattr(config, "text_config", None), getattr(config, "vision_config", None)]
    values = (getattr(part, name, None) for part in parts if part is not None for name in names)
    numbers = (value[0] if isinstance(value, (tuple, list)) and value else value for value in values)
    size = next((number for number in numbers if type(number) is int and number > 0), default)
    if size is None:
        raise ValueError(f"inputs = None: the configuration has none of {', '.join(names)}; give a batch or a spec")
    return size


def _normal(*shape: int) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def _ids(config: Any) -> Tensor:
    vocabulary = _first(config, ("vocab_size",))
    length = min(LENGTH, _first(config, ("max_position_embeddings", "n_positions", "max_target_positions"), LENGTH))
    generator = torch.Generator("cpu").manual_seed(0)
    low = min(SPECIAL, vocabulary - 1)
    return torch.randint(low, vocabulary, (SEQUENCES, length), generator=generator, dtype=torch.int64, device="cpu")


def _pixels(config: Any) -> Tensor:
    size = _first(config, ("image_size",), 224)
    return _normal(IMAGES, _first(config, ("num_channels",), 3), size, size)


def _wave(config: Any) -> Tensor:
    return _normal(SEQUENCES, WAVE)


def _spectrum(config: Any) -> Tensor:
    return _normal(
        SEQUENCES, _first(config, ("num_mel_bins",), 80), 2 * _first(config, ("max_source_positions",), 1500)
    )


def _series(config: Any) -> Tensor:
    return _normal(IMAGES, _first(config, ("context_length",)), _first(config, ("num_input_channels",)))


_MAKERS: Mapping[str, Callable[[Any], Tensor]] = MappingProxyType(
    {
        "input_ids": _ids,
        "inputs": _ids,
        "pixel_values": _pixels,
        "input_values": _wave,
        "input_features": _spectrum,
        "past_values": _series,
    }
)
"""Makers of inputs, by the name of the model's main argument."""
