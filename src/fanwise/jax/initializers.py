"""A drop-in for `jax.nn.initializers`: the same names, arguments and meaning, drawn from fanwise's stream.

    from fanwise.jax import initializers
    init = initializers.he_normal()
    w = init(jax.random.key(0), (784, 100))     # a JAX key, typed or raw, with a value or traced
    w = init(fanwise.Key(0).child("w"), (784, 100))     # or a key of fanwise: the bits of every other framework

The factories return values that can be compared, printed and pickled. Fans are counted by JAX's rule, from the axes
that are named; it is wrong for grouped, transposed, fused and stacked weights: `from_law` with a `fanwise.Layout` is
not bound to it.

What differs, all of it by intent (docs/jax.md has the table):

- The numbers are those of fanwise's stream, not those that JAX draws from the same key. Element i is a function of the
  key and of i alone: a longer array keeps its first values, other dtypes hold the same values rounded.
- Normal numbers are within 6.34 std by construction. bfloat16 and float16 have neither bias nor gaps, and their bounds
  are exact; orthogonal matrices are drawn in them too.
- Arguments are checked when the initializer is made: unknown modes, negative or non-finite scales, axes named twice.
  Scales that the dtype cannot hold are refused when it is called.
- Complex numbers: real and imaginary parts are drawn apart, each with half of the variance. `uniform`,
  `truncated_normal` and the orthogonal ones are real, in JAX the latter are not.
- `out_sharding` also takes meshes whose axes JAX partitions by itself, and the orthogonal ones take it too.
- A scale that is being traced is refused: the stream needs its value.
"""

from fanwise.jax.init.factories import (
    Initializer,
)
from fanwise.jax.init.functions import (
    constant,
    delta_orthogonal,
    from_law,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    orthogonal,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
    zeros,
)

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "from_law",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
