"""Models of the transformers library with random weights, from a configuration in words or in a file."""

import ast
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

CALL = "expected hf:ConfigClass(name=value, ...) with literal values, such as hf:LlamaConfig(hidden_size=64)"

AUTO = (
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForSeq2SeqLM",
    "AutoModelForMaskedLM",
    "AutoModelForCausalLM",
    "AutoModelForImageTextToText",
    "AutoModelForImageClassification",
    "AutoModelForCTC",
    "AutoModelForObjectDetection",
    "AutoModelForUniversalSegmentation",
    "AutoModelForSemanticSegmentation",
    "AutoModelForDepthEstimation",
    "AutoModelForVideoClassification",
    "AutoModelForAudioClassification",
    "AutoModelForTimeSeriesPrediction",
    "AutoModel",
    "AutoModelForKeypointDetection",
    "AutoModelForKeypointMatching",
    "AutoModelForPoseEstimation",
    "AutoModelForMultimodalLM",
    "AutoModelForTextToWaveform",
    "AutoModelForTextToSpectrogram",
)
"""Kinds of models in the order in which they are looked for: those with a head first, and BERT is no decoder."""


def factory(target: str) -> Callable[[], nn.Module]:
    """A function that makes the model of a configuration; the configuration is made at once.

    Args:
        target: ``"hf:ConfigClass(name=value, ...)"`` with literal values, or the path of a config.json.

    Raises:
        ImportError: transformers is missing.
        OSError: a file that cannot be read.
        ValueError: a target that cannot be read, a class that is no configuration, or values that it refuses.
    """
    try:
        library = importlib.import_module("transformers")
    except ModuleNotFoundError:
        raise ImportError(f"target {target!r} needs transformers: python -m pip install transformers") from None
    config, named = _from_file(target, library) if target.endswith(".json") else _from_call(target, library)
    model = next((kind for name in named if (kind := _class(library, name, "PreTrainedModel"))), None)
    return (lambda: configured(config)) if model is None else (lambda: model(config))


def _from_call(target: str, library: ModuleType) -> tuple[Any, Sequence[str]]:
    """The configuration that a call describes, and the model classes that it names: none."""
    name, values = parse_call(target)
    config = _class(library, name, "PretrainedConfig")
    if config is None:
        raise ValueError(f"target {target!r}: transformers has no configuration {name!r}")
    return _make(target, config, values), ()


def _from_file(target: str, library: ModuleType) -> tuple[Any, Sequence[str]]:
    """The configuration that a file describes, and the model classes that it names."""
    text = Path(target).read_bytes()
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"target {target!r}: no JSON: {error}") from None
    kind = values.pop("model_type", None) if isinstance(values, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"target {target!r}: the file has no 'model_type'")
    named = values.get("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    return _make(target, lambda **own: library.AutoConfig.for_model(kind, **own), values), names


def parse_call(target: str) -> tuple[str, Mapping[str, Any]]:
    """The class name and the literal arguments of ``"hf:Name(argument=value)"``; nothing is evaluated.

    Raises:
        ValueError: anything else.

    Example:
        >>> parse_call("hf:ViTConfig(image_size=32)")
        ('ViTConfig', {'image_size': 32})
    """
    text = target.removeprefix("hf:")
    try:
        node = ast.parse(text if "(" in text else f"{text}()", mode="eval").body
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            return node.func.id, _values(node.keywords)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise ValueError(f"target {target[:200]!r}: {CALL}")


def _values(items: Sequence[ast.keyword]) -> dict[str, Any]:
    """Literals by name; ``**`` and a name that comes twice are refused."""
    values = {item.arg: ast.literal_eval(item.value) for item in items if item.arg is not None}
    if len(values) < len(items):
        raise ValueError("arguments without a name of their own")
    return values


def _make(target: str, make: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """A configuration; what it refuses, in exceptions of many kinds, is the target's fault."""
    try:
        return make(**values)
    except Exception as error:
        raise ValueError(f"target {target!r}: {type(error).__name__}: {error}") from error


def _class(library: ModuleType, name: str, base: str) -> Any:
    """A class of transformers below a base class, None where there is none: no other thing is ever called.

    The library loads its classes lazily, through ``__getattr__`` of the module.
    """
    kind = getattr(library, name) if name in dir(library) else None
    return kind if isinstance(kind, type) and issubclass(kind, getattr(library, base)) else None


def configured(config: Any) -> nn.Module:
    """The model with a head that transformers has for a configuration, the bare model where it has none.

    Raises:
        ValueError: it has none at all.
    """
    library = importlib.import_module("transformers")
    errors: list[Exception] = []
    loaders = [getattr(library, name, None) for name in AUTO]  # some are newer than the oldest library that is read
    for loader in loaders:
        if loader is None or type(config) not in loader._model_mapping:
            continue
        try:
            return _listed(loader, config)
        except (AttributeError, ValueError) as error:  # a model of the whole listed for a part, or a lost class
            errors.append(_unlisted(error))
    kind = _parts_of_larger(config, library.PreTrainedModel)
    if kind is None:
        raise errors[0] if errors else ValueError(f"transformers has no model for {type(config).__name__}")
    part: nn.Module = kind(config)
    return part


def _unlisted(error: AttributeError | ValueError) -> Exception:
    """The error where it says that the library's list is wrong; it is raised where the configuration is."""
    if isinstance(error, ValueError) and "Could not find" not in str(error):
        raise error
    return error


def _listed(loader: Any, config: Any) -> nn.Module:
    """The model of a kind; the first of several where the configuration names none, which the library trips over."""
    kinds = loader._model_mapping[type(config)]
    several = isinstance(kinds, (list, tuple)) and getattr(config, "architectures", None) is None
    model: nn.Module = kinds[0]._from_config(config) if several else loader.from_config(config)
    return model


def _parts_of_larger(config: Any, base: type[Any]) -> Any:
    """The model beside a configuration that is made of it, where no kind lists it: a tower of a larger model."""
    home = type(config).__module__.replace(".configuration_", ".modeling_")
    try:
        module = importlib.import_module(home)
    except ImportError:
        return None
    kinds: list[Any] = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)]
    fitting = [
        kind for kind in kinds if kind.config_class is type(config) and not kind.__name__.endswith("TrainedModel")
    ]
    return min(fitting, key=lambda kind: (not kind.__name__.endswith("Model"), len(kind.__name__)), default=None)
