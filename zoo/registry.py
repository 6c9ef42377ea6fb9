"""The registry: every model by framework, use and name."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType

from zoo.model import Framework, Model, Use


@lru_cache
def models(framework: Framework, use: Use = "check") -> Mapping[str, Model]:
    """The models of one framework and one use, by name.

    Args:
        framework: "torch", "jax" or "keras"; it is imported here.
        use: as of a `Model`.

    Returns:
        A read-only mapping, in the order of the files.

    Raises:
        ValueError: two models have one name.
    """
    package = f"zoo.{framework}"
    files = import_module(package).FILES.get(use, ())
    rows = [model for file in files for model in import_module(f"{package}.{file}").MODELS]
    twice = [name for name, count in Counter(model.name for model in rows).items() if count > 1]
    if twice:
        raise ValueError(f"two models of {framework} for {use!r} have the name {twice[0]!r}")
    return MappingProxyType({model.name: model for model in rows})
