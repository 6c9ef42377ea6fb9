"""The healthy models of JAX that the check is judged on, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from zoo.jax import cnn, graph, mlp, recurrent, transformer
from zoo.model import Model

MODELS = tuple(model for file in (mlp, cnn, transformer, recurrent, graph) for model in file.MODELS)
HEALTHY: Mapping[str, Model] = MappingProxyType({model.name: model for model in MODELS})
