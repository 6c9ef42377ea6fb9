"""Healthy models of a second collection, written without a look at the rules, which were then mended on it.

Each is initialised as its authors or its field do it; the families stand in files of their own.
"""

from collections.abc import Mapping
from types import MappingProxyType

from zoo.torch.agents import AGENTS
from zoo.torch.cnn.compact import CONVS
from zoo.torch.cnn.restoration import PICTURES
from zoo.torch.fields import DENSE
from zoo.torch.graph import GRAPHS
from zoo.torch.hf.vision import TRANSFORMERS
from zoo.torch.layers import Subject
from zoo.torch.recurrent import SEQUENCES
from zoo.torch.tabular import TABLES
from zoo.torch.transformer.decoders import ATTENTIVE
from zoo.torch.transformer.mixers import MIXERS

HANDMADE = (*DENSE, *TABLES, *CONVS, *PICTURES, *ATTENTIVE, *MIXERS, *SEQUENCES, *AGENTS, *GRAPHS)
FRESH_HEALTHY: Mapping[str, Subject] = MappingProxyType({one.name: one for one in (*HANDMADE, *TRANSFORMERS)})
