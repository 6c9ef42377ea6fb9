"""The inputs of a run: a batch, a spec in words, or what a transformers configuration says."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.stream.key import Key
from fanwise.torch.run import Inputs

SPEC = re.compile(
    r"^(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:,\d+)*)(?::(?P<dtype>[a-z]+\d*)(?:\[(?P<low>-?\d+),(?P<high>\d+)\))?)?$"
)
GRAMMAR = "expected [name=]sizes[:dtype[low,high)] such as '32,3,224,224' or 'input_ids=8,128:int64[0,50257)'"
LARGEST = 1 << 31
"""Elements of one tensor that a spec may ask for."""


def as_inputs(model: nn.Module, inputs: Any = None) -> Inputs:
    """What the model's forward takes, on the model's device.

    Args:
        model: whose device the tensors go to.
        inputs: a tensor; a tuple or list of positional arguments; a mapping of named ones; `Inputs`; a spec such as
            ``"32,3,224,224"`` (normal numbers) or ``"input_ids=8,128:int64[0,50257)"``, several joined by ";"; None for
            a transformers model, whose configuration says what it takes.

    Raises:
        TypeError: none of these.
        ValueError: a spec that cannot be read, or None for a model without a configuration.
    """
    found = _given(model, inputs)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    named = {name: _moved(value, device) for name, value in (found.kwargs or {}).items()}
    return Inputs(tuple(_moved(value, device) for value in found.args), named)


def _given(model: nn.Module, inputs: Any) -> Inputs:
    if isinstance(inputs, Inputs):
        return inputs
    if inputs is None:
        return _configured(model)
    if isinstance(inputs, str):
        return parse(inputs)
    if isinstance(inputs, Tensor):
        return Inputs((inputs,))
    if isinstance(inputs, Mapping):
        return Inputs((), dict(inputs))
    if isinstance(inputs, (tuple, list)):
        return Inputs(tuple(inputs))
    raise TypeError(
        f"inputs = {type(inputs).__name__}: expected a tensor, a tuple of arguments, a mapping of named ones, or a spec"
    )


def parse(spec: str) -> Inputs:
    """The tensors that a spec describes, the same at every call.

    Example:
        >>> parse("2,3;ids=4:int64[0,10)").kwargs["ids"].shape
        torch.Size([4])
    """
    args: list[Tensor] = []
    named: dict[str, Tensor] = {}
    for place, text in enumerate(spec.replace(" ", "").split(";")):
        match = SPEC.match(text)
        if match is None:
            raise ValueError(f"inputs = {spec!r}: {text!r} cannot be read; {GRAMMAR}")
        tensor = _tensor(spec, match, place)
        if match["name"]:
            named[match["name"]] = tensor
        else:
            args.append(tensor)
    return Inputs(tuple(args), named)


def _tensor(spec: str, match: re.Match[str], place: int) -> Tensor:
    shape = tuple(int(size) for size in match["shape"].split(","))
    dtype = _DTYPES.get(match["dtype"] or "float32")
    if dtype is None:
        raise ValueError(f"inputs = {spec!r}: dtype {match['dtype']!r}, expected one of {', '.join(_DTYPES)}")
    elements = 1
    for size in shape:
        elements *= size
    if elements > LARGEST:
        raise ValueError(f"inputs = {spec!r}: {elements} elements in one tensor, expected at most {LARGEST}")
    generator = torch.Generator().manual_seed(Key(0, f"inputs.{place}").philox().key[0])
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if match["high"] is None or int(match["low"]) >= int(match["high"]):
        raise ValueError(f"inputs = {spec!r}: integers need a range, such as int64[0,50257)")
    return torch.randint(int(match["low"]), int(match["high"]), shape, generator=generator, dtype=dtype)


_DTYPES = {
    "float": torch.float32,
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int": torch.int64,
    "int64": torch.int64,
    "int32": torch.int32,
}


def _configured(model: nn.Module) -> Inputs:
    config, main = getattr(model, "config", None), getattr(model, "main_input_name", None)
    make = _MAKERS.get(str(main))
    if config is None or make is None:
        raise ValueError(
            "inputs = None, and the model has no transformers configuration that says what it takes: give a batch or a "
            f"spec ({GRAMMAR})"
        )
    named = {str(main): make(config)}
    if getattr(config, "is_encoder_decoder", False):
        named["decoder_input_ids"] = _ids(config)
        named["use_cache"] = False
    return Inputs((), named)


def _first(config: Any, names: Sequence[str], default: int | None = None) -> int:
    """The first of these numbers that a configuration, or its text or vision part, has."""
    parts = [
        config,
        *(part for key in ("text_config", "vision_config") if (part := getattr(config, key, None)) is not None),
    ]
    for part in parts:
        for name in names:
            value = getattr(part, name, None)
            value = value[0] if isinstance(value, (tuple, list)) and value else value
            if isinstance(value, int) and value > 0:
                return value
    if default is None:
        raise ValueError(f"inputs = None: the configuration has none of {', '.join(names)}; give a batch or a spec")
    return default


def _ids(config: Any) -> Tensor:
    vocabulary = _first(config, ("vocab_size",))
    length = min(32, _first(config, ("max_position_embeddings", "n_positions", "max_target_positions"), 32))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(min(4, vocabulary - 1), vocabulary, (2, length), generator=generator)


def _pixels(config: Any) -> Tensor:
    size, channels = _first(config, ("image_size",), 224), _first(config, ("num_channels",), 3)
    return torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(0))


def _wave(config: Any) -> Tensor:
    return torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))


def _spectrum(config: Any) -> Tensor:
    bins, length = _first(config, ("num_mel_bins",), 80), 2 * _first(config, ("max_source_positions",), 1500)
    return torch.randn(2, bins, length, generator=torch.Generator().manual_seed(0))


_MAKERS: Mapping[str, Callable[[Any], Tensor]] = {
    "input_ids": _ids,
    "pixel_values": _pixels,
    "input_values": _wave,
    "input_features": _spectrum,
}


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value if value.device == device else value.to(device)
    if isinstance(value, (tuple, list)):
        return type(value)(_moved(item, device) for item in value)
    return value
