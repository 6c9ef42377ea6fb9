"""Healthy models of a second collection, written without a look at the rules, which were then mended on it.

Each is initialised as its authors or its field do it; the families stand in files of their own.
"""

from collections.abc import Mapping
from types import MappingProxyType

from check_parts import Subject
from fresh_agents import AGENTS
from fresh_attention import ATTENTIVE
from fresh_convs import CONVS
from fresh_dense import DENSE
from fresh_graphs import GRAPHS
from fresh_mixers import MIXERS
from fresh_pictures import PICTURES
from fresh_sequences import SEQUENCES
from fresh_tables import TABLES
from fresh_transformers import TRANSFORMERS

HANDMADE = (*DENSE, *TABLES, *CONVS, *PICTURES, *ATTENTIVE, *MIXERS, *SEQUENCES, *AGENTS, *GRAPHS)
FRESH_HEALTHY: Mapping[str, Subject] = MappingProxyType({one.name: one for one in (*HANDMADE, *TRANSFORMERS)})
