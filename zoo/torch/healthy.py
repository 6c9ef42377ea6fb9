"""The healthy models of PyTorch that the check is judged on, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from zoo.model import Model
from zoo.torch import agents, fields, graph, mlp, recurrent, tabular
from zoo.torch.cnn import compact, detection, embedding, plain, residual, restoration, segmentation, signals
from zoo.torch.generative import adversarial, diffusion, likelihood
from zoo.torch.hf import signals as hf_signals
from zoo.torch.hf import text, vision
from zoo.torch.transformer import decoders, encoders, mixers

PERCEPTRONS = (mlp, fields, tabular, agents)
CONVOLUTIONS = (plain, residual, compact, detection, segmentation, restoration, signals, embedding)
SEQUENCES = (recurrent, decoders, encoders, mixers, graph)
GENERATIVE = (adversarial, likelihood, diffusion)
LIBRARY = (text, vision, hf_signals)
FILES = (*PERCEPTRONS, *CONVOLUTIONS, *SEQUENCES, *GENERATIVE, *LIBRARY)
MODELS = tuple(model for file in FILES for model in file.MODELS)
HEALTHY: Mapping[str, Model] = MappingProxyType({model.name: model for model in MODELS})
