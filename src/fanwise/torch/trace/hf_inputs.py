"""The inputs that a transformers model's configuration tells."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.adapters.input_specs import GRAMMAR
from fanwise.torch.trace.hf_makers import COMPANIONS, MAKERS, Asked, by_docstring, is_documented
from fanwise.torch.trace.run import Inputs

MEDIA = ("pixel_values", "image", "input_features", "input_values")
"""Arguments for pictures and sounds, which a model of texts may compare with them."""


def configured(model: nn.Module, dtype: torch.dtype = torch.float32) -> Inputs:
    """Inputs for a transformers model, the same at every call.

    Args:
        model: with a configuration that says how large its inputs are.
        dtype: of images and sounds.

    Raises:
        ValueError: no configuration, an unknown kind of model, or a configuration that does not say enough.
    """
    config, main = getattr(model, "config", None), getattr(model, "main_input_name", None)
    if config is None or not isinstance(main, str):
        raise ValueError(
            "inputs = None, and the model has no transformers configuration that says what it takes: give a batch or a "
            f"spec ({GRAMMAR})"
        )
    values = _draw(model, main, config)
    values = {name: value.to(dtype) if _is_float(value) else value for name, value in values.items()}
    return Inputs((), values, _guess(values, inspect.signature(model.forward).parameters))


def _draw(model: nn.Module, main: str, config: Any) -> dict[str, Any]:
    known = inspect.signature(model.forward).parameters
    names = _names(main, config, known)
    words = inspect.getdoc(model.forward) or ""
    first = next((module for module in model.modules() if list(module.parameters(recurse=False))), None)
    asked = Asked(config, tuple(known), names, words, _patch(model), _width(model, first), isinstance(first, nn.Conv2d))
    unknown = [name for name in names if name not in MAKERS and not is_documented(asked, name)]
    if unknown or not names:
        raise ValueError(_by_name(names, unknown))
    with torch.device("cpu"):  # whatever device the model is being built on
        named: dict[str, Any] = {name: MAKERS.get(name, by_docstring(name))(asked) for name in names}
    return named | {"use_cache": False} if "use_cache" in known else named


def _patch(model: nn.Module) -> int | None:
    """What the map of patches reads, where it is a matrix; a convolution, or a part with maps, cuts pictures itself."""
    maps = (module for name, module in model.named_modules() if "patch_emb" in name.rsplit(".", 1)[-1])
    first = next(maps, None)
    return first.in_features if isinstance(first, nn.Linear) else None


def _width(model: nn.Module, first: nn.Module | None) -> int | None:
    """What the first layer with parameters reads, where it is a matrix or a norm, and no convolution comes before."""
    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return None
    if isinstance(first, nn.Linear):
        return first.in_features
    return first.normalized_shape[-1] if isinstance(first, nn.LayerNorm) else None


def _names(main: str, config: Any, known: Mapping[str, inspect.Parameter]) -> tuple[str, ...]:
    """The arguments that a model has to be given: those without a default, its main one, and what goes with it."""
    needed = [name for name, parameter in known.items() if _is_needed(parameter)]
    if main in known and not (main == "input_ids" and set(needed) & {"inputs_embeds", "query_embeds", *MEDIA}):
        needed.insert(0, main)
    needed = needed or [name for name in known if name in MAKERS][:1]
    needed += [
        other for name in needed for other in COMPANIONS.get(name, ()) if other in known and _says(config, other)
    ]
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in known:
        needed.append("decoder_input_ids")
    if "input_ids" in needed:
        needed += [name for name in MEDIA if name in known and _compares(config, name)]
    if set(needed) & set(MEDIA) and "input_ids" in known and _compares(config, needed[0]):
        needed.append("input_ids")
    return tuple(dict.fromkeys(needed))


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind == parameter.POSITIONAL_OR_KEYWORD


def _says(config: Any, name: str) -> bool:
    """Whether a model is given an argument that it may leave out."""
    return not name.startswith("future") or getattr(config, "prediction_length", None) is not None


_MEDIUM = {"pixel_values": ("image", "img"), "image": ("image", "img")}
_TOWER = {"pixel_values": ("vision_config", "image_size"), "image": ("image_feature_pool_shape",)}


def _compares(config: Any, name: str) -> bool:
    """Whether a model takes pictures or sounds beside texts, not in the place of tokens."""
    values = config.to_dict()
    words = _MEDIUM.get(name, ("audio", "speech"))
    stands = any(word in field and "token" in field for field in values for word in words)
    towers = _TOWER.get(name, ("audio_config", "speech_config"))
    return not stands and any(values.get(tower) is not None for tower in towers)


def _by_name(names: tuple[str, ...], unknown: list[str]) -> str:
    """What is asked for, with an example."""
    example = "; ".join(f"{name}={_EXAMPLES.get(name, '2,32,64')}" for name in names or ("hidden_states",))
    what = f"its forward needs {', '.join(unknown)}" if unknown else "its forward names none of them"
    return (
        f"inputs = None, and the model's configuration does not tell its inputs: {what}. Give them by name, such as "
        f"{example!r} ({GRAMMAR})"
    )


def _guess(values: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> str:
    """What was made up from a configuration, how to give it by name, and what else the forward takes."""
    made = "; ".join(f"{name}={_in_words(value)}" for name, value in values.items() if isinstance(value, Tensor))
    others = [name for name in known if name not in values and name not in _SETTINGS and not name.startswith("output_")]
    return (
        f". The inputs were made up from the model's configuration, as if {made!r} had been given: give a batch, or "
        f"such words with what is right for this model; its forward takes {', '.join(others) or 'nothing'} besides"
    )


_SETTINGS = ("return_dict", "use_cache", "cache", "past_key_values", "labels", "kwargs")


def _in_words(value: Tensor) -> str:
    """A tensor as a spec."""
    sizes = ",".join(map(str, value.shape))
    return sizes if value.is_floating_point() else f"{sizes}:int64[0,{int(value.max()) + 1})"


_EXAMPLES = {"input_ids": "2,32:int64[0,100)", "pixel_values": "2,3,64,64", "input_values": "2,15360"}


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
