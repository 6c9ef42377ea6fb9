"""fanwise for Keras 3, on TensorFlow, JAX and PyTorch alike.

`fanwise.keras.initializers` is a drop-in for `keras.initializers`, with every law of fanwise besides.
"""

from importlib.util import find_spec

if find_spec("keras") is None:
    raise ImportError("fanwise.keras needs Keras 3: python -m pip install 'fanwise[keras]'")

from fanwise.keras import initializers

__all__ = ["initializers"]
