"""The healthy models of Keras that the check is judged on, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from zoo.keras import cnn, mlp, recurrent, tabular, transformer
from zoo.model import Model

MODELS = tuple(model for file in (mlp, cnn, recurrent, transformer, tabular) for model in file.MODELS)
HEALTHY: Mapping[str, Model] = MappingProxyType({model.name: model for model in MODELS})
