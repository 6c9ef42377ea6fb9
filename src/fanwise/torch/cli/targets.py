"""TARGET of the command line: a factory in a file or a package, or a transformers configuration."""

from typing import Any

from torch import nn

from fanwise.targets.names import FORMS, is_configuration, loaded
from fanwise.targets.order import Order
from fanwise.targets.resolved import ResolvedTarget
from fanwise.torch.cli.commands import SESSION


def build(target: str, *, meta: bool = False) -> tuple[nn.Module, Any]:
    """The model that a target names, and the inputs where its factory gives them.

    As for ``python file.py``, the folder of the file is where its imports are looked up first; for a package it is the
    working directory. Nothing in a target is evaluated but literals, as arguments of a configuration.

    Args:
        target: ``"train.py:build"``, ``"package.module:build"``, ``"hf:LlamaConfig(hidden_size=64)"`` or the path of a
            config.json. A factory takes no arguments and returns a module, or a module and its inputs; a module stands
            for itself.
        meta: build it on the meta device, without memory.

    Returns:
        The model, and its inputs or None.

    Raises:
        ImportError: transformers is missing.
        ModelError: the file, package, factory or configuration raised an error of its own.
        OSError: a config.json that cannot be read.
        TypeError: what the factory returns is no module.
        ValueError: a target of no known form, or one that names what does not exist.
    """
    if not isinstance(target, str):
        raise TypeError(f"target = {target!r}: {FORMS}")
    modules = {} if is_configuration(target) else loaded({"target": target})
    model: tuple[nn.Module, Any] = SESSION.built(ResolvedTarget(Order(target), modules, "torch"), meta=meta)
    return model
