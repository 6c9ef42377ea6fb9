"""Names of the steps between a parameter and what a model makes of it, by what they do to a weight."""

from fanwise.graph.arithmetic import PLAIN

JOINED = frozenset({"cat", "concat", "concatenate", "stack", "setitem"})
"""Functions that put values among others."""
GATHERS = frozenset(
    {"getitem", "index_select", "gather", "take", "take_along_dim", "roll", "flip", "rot90", "unfold", "as_strided"}
    | {"repeat", "tile", "repeat_interleave", "dynamic_slice", "slice", "rev", "narrow", "select", "pad", "concatenate"}
    | {"take_along_axis", "unbind", "diagonal", "setitem", "broadcast_in_dim"}
)
"""Functions that take values of a weight by constant indices: each stays as it is, some stand there several times."""
LINEAR = (
    PLAIN
    | GATHERS
    | frozenset(
        {
            "cat",
            "stack",
            "weight_norm",
            "weight_norm_interface",
            "_WeightNorm",
            "_SpectralNorm",
            "parametrization",
            "hook",
        }
        | {"mul", "rmul", "div", "truediv", "divide", "multiply", "true_divide"}
    )
)
"""Functions that keep the values' size, or that the planner knows."""
FACTORS = frozenset({"mul", "rmul", "multiply", "cat", "stack"})
"""Functions of a weight and of a factor on it."""
INNER = frozenset({"mul", "sum", "exp"})
"""Functions that make a number of the inner product of two vectors."""
NORMALIZING = frozenset({"batch_norm", "layer_norm", "instance_norm", "group_norm", "normalize", "_SpectralNorm"})
"""Functions after which the size of the weights has no effect."""
MEASURED = NORMALIZING | frozenset(
    {"weight_norm", "weight_norm_interface", "_WeightNorm", "norm", "vector_norm", "linalg_norm", "linalg_vector_norm"}
    | {"sum", "reduce_sum", "mean", "var", "std", "square", "sqrt", "rsqrt", "max", "amax", "reduce_max"}
)
"""Functions by which a weight's own size is taken out of it."""
HIDDEN = "parametrization"
"""A function of a weight and of a factor that shows no step of its own."""
