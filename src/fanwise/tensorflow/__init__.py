"""fanwise for TensorFlow without Keras: initializers for eager code, graphs, `tf.function` and XLA.

    W = tf.compat.v1.get_variable("W", shape=[784, 100], initializer=fanwise.tensorflow.xavier_initializer())

The numbers are computed inside the graph from integer operations, and are those of `fanwise.stream` to the bit.
"""

from importlib.util import find_spec

if find_spec("tensorflow") is None:
    raise ImportError("fanwise.tensorflow needs TensorFlow: python -m pip install 'fanwise[tensorflow]'")

from fanwise.tensorflow import stream
from fanwise.tensorflow.initializers import (
    Law,
    variance_scaling_initializer,
    xavier_initializer,
    xavier_initializer_conv2d,
)
from fanwise.tensorflow.versions import advice

__all__ = [
    "Law",
    "stream",
    "variance_scaling_initializer",
    "xavier_initializer",
    "xavier_initializer_conv2d",
]


def __getattr__(name: str) -> object:
    """What TensorFlow 1 had and TensorFlow 2 lacks, asked for here, is answered with where it went."""
    raise AttributeError(advice(name))
