"""A drop-in for `keras.initializers`: the same classes, names, arguments and meaning, drawn from fanwise's stream.

    from fanwise.keras import initializers
    keras.layers.Dense(100, kernel_initializer=initializers.HeNormal(seed=0))

`Law` makes an initializer of every law of fanwise, with a layout where Keras' reading of a shape is wrong. The classes
are registered with Keras, so they are saved in ``.keras`` files and loaded back. What differs from Keras, all of it
by intent:

- The numbers of a variable are a function of (seed, path, index): the same bits on TensorFlow, JAX and PyTorch, in
  whatever layout; other dtypes hold the same numbers, rounded.
- One object gives every variable its own numbers, where Keras repeats the same ones, so an integer seed does
  not make query, key and value of an attention layer equal (`Drawn.__call__` has the rules). Equal paths and equal
  seeds give equal numbers: name your layers, or call ``keras.utils.clear_session()`` before building a model again.
- A configuration holds the seed also where it was drawn.
- A shape of fewer than two axes has no fans and is refused; so are numbers that are not finite, negative stds
  and scales that the dtype cannot hold, when the initializer is made or before anything is allocated.
- `TruncatedNormal` keeps its bounds exactly; `Orthogonal` works in float16 and bfloat16.
"""

from fanwise.keras.init.classes import (
    INITIALIZERS,
    Entry,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    IdentityInitializer,
    Initializer,
    LecunNormal,
    LecunUniform,
    Orthogonal,
    OrthogonalInitializer,
    RandomNormal,
    RandomUniform,
    STFTInitializer,
    TruncatedNormal,
    VarianceScaling,
    constant,
    deserialize,
    get,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    identity,
    lecun_normal,
    lecun_uniform,
    ones,
    orthogonal,
    random_normal,
    random_uniform,
    serialize,
    stft,
    truncated_normal,
    variance_scaling,
    zeros,
)
from fanwise.keras.init.constants import (
    STFT,
    Constant,
    Identity,
    Ones,
    Zeros,
)
from fanwise.keras.init.law import (
    Law,
)

__all__ = [
    "INITIALIZERS",
    "STFT",
    "Constant",
    "Entry",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "Law",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]
