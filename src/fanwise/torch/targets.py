"""TARGET of the command line: a factory in a file or a package, or a transformers configuration."""

import ast
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

FORMS = "expected file.py:factory, package.module:factory, hf:ConfigClass(name=value, ...) or a config.json"


def build(target: str, *, meta: bool = False) -> tuple[nn.Module, Any]:
    """The model that a target names, and the inputs where its factory gives them.

    Args:
        target: ``"train.py:build"``, ``"package.module:build"``, ``"hf:LlamaConfig(hidden_size=64)"`` or the path of a
            config.json. A factory takes no arguments and returns a module, or a module and its inputs.
        meta: build it on the meta device, without memory.

    Raises:
        ImportError: transformers or the package is missing.
        TypeError: what the factory returns is no module.
        ValueError: a target of no known form, or without such a factory.
    """
    with torch.device("meta" if meta else "cpu"):
        made = _configured(target) if target.startswith("hf:") or target.endswith(".json") else _factory(target)()
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise TypeError(f"{target} returned {type(model).__name__}: expected a torch.nn.Module, or one and its inputs")
    return model, inputs


def _factory(target: str) -> Any:
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise ValueError(f"target {target!r}: {FORMS}")
    module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    if name not in vars(module):
        made = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(
            f"target {target!r}: {place} has no {name!r}; it has {', '.join(made[:12]) or 'nothing to call'}"
        )
    value = vars(module)[name]
    return value if callable(value) and not isinstance(value, nn.Module) else lambda: value


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"target: no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"target: {str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.absolute().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.absolute().parent))
    return module


def _configured(target: str) -> nn.Module:
    try:
        import transformers  # noqa: PLC0415  (only where a target asks for it)
    except ImportError:
        raise ImportError(f"target {target!r} needs transformers: python -m pip install transformers") from None
    config, named = _config(target, transformers)
    for name in named:
        if name in dir(transformers):
            model: nn.Module = _class(transformers, name)(config)
            return model
    return _auto(transformers, config)


def _config(target: str, library: ModuleType) -> tuple[Any, list[str]]:
    """The configuration, and the model classes that it names."""
    if target.endswith(".json"):
        values = json.loads(Path(target).read_text(encoding="utf-8"))
        kind = values.pop("model_type", None)
        if not isinstance(kind, str):
            raise ValueError(f"target {target!r}: the file has no 'model_type'")
        return _class(library, "AutoConfig").for_model(kind, **values), list(values.get("architectures") or [])
    name, values = _call(target.removeprefix("hf:"), target)
    return _class(library, name)(**values), []


def _call(text: str, target: str) -> tuple[str, dict[str, Any]]:
    """A class name and literal arguments; nothing is evaluated."""
    try:
        node = ast.parse(text if "(" in text else f"{text}()", mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise ValueError
        return node.func.id, {str(item.arg): ast.literal_eval(item.value) for item in node.keywords if item.arg}
    except (SyntaxError, ValueError):
        raise ValueError(f"target {target!r}: {FORMS}") from None


def _class(library: ModuleType, name: str) -> Any:
    if name not in dir(library):
        raise ValueError(f"target: transformers has no {name!r}")
    return getattr(library, name)  # transformers loads its classes lazily, through the module's own __getattr__


AUTO = (
    "AutoModelForCausalLM",
    "AutoModelForSeq2SeqLM",
    "AutoModelForMaskedLM",
    "AutoModelForImageClassification",
    "AutoModelForCTC",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForObjectDetection",
    "AutoModel",
)


def _auto(library: ModuleType, config: Any) -> nn.Module:
    """The model with a head that transformers has for a configuration, the bare model where it has none."""
    for name in AUTO:
        loader = _class(library, name)
        if type(config) in loader._model_mapping:
            model: nn.Module = loader.from_config(config)
            return model
    raise ValueError(f"transformers has no model for {type(config).__name__}")
