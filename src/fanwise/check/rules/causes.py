"""The kinds of cause that a finding may name."""

from collections.abc import Mapping
from types import MappingProxyType

CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "nan": "values that are infinite or not a number",
        "zeros": "weights of zero where nothing else carries the signal",
        "constant": "equal weights",
        "equal_units": "units that repeat others",
        "equal_rows": "rows of a table that repeat others",
        "copies": "layers that are copies of others",
        "seed": "seeds that change nothing",
        "tied": "one module under several indices",
        "one_layer_up": "one weight much larger than its peers",
        "one_layer_down": "one weight much smaller than its peers",
        "tiny": "weights far too small",
        "huge": "weights far too large",
        "wrong_gain": "a gain that does not fit the nonlinearity",
        "slip": "2/sqrt(fan_in) for sqrt(2/fan_in)",
        "default": "a framework's default in a deep plain network",
        "skipped_init": "an initialisation that had no effect",
        "swapped": "fan_out where fan_in belongs",
        "wrong_fan": "another number in the place of the fan_in",
        "zero_stream": "a normalisation of a signal of 0",
        "local_shard": "a fan counted on one shard",
        "fused": "several maps drawn as one",
        "mean": "weights drawn around another value than 0",
        "factor": "a factor that drowns what it joins",
        "norm_factor": "factors of normalisations around 0",
        "shut_gate": "gates that let nothing pass",
        "drowned": "a summand that drowns another",
        "adapter": "side paths that change their base before the first step",
        "bias": "biases that drown the signal",
        "saturated": "a nonlinearity on its flat sides",
        "dead": "units that never change",
        "no_residual_scale": "branches as loud as their residual stream in a deep residual network",
        "head": "a head that is too loud",
        "loud_input": "features too loud for the head",
        "prior": "a bias that holds no prior",
        "broadcast": "shapes that broadcast in the loss",
        "targets": "targets far from what the outputs can be",
        "alike": "what tells examples apart is lost",
        "input": "inputs that are not normalised, or broken",
        "frozen": "random weights that are not trained",
        "detached": "a graph that is cut",
        "no_gradient": "an op that passes no gradient back",
        "overflow": "numbers beyond the dtype",
        "plan": "weights that are not those of the plan",
        "learning_rate": "a step that does not fit the weights",
    }
)
"""Every kind of cause, in words."""
