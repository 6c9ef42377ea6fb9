"""Which Keras this is."""

import keras

OLDEST = (3, 15)
"""The version whose layers and functions all that stands here was written for, and tested with."""


def check_version(version: str | None = None) -> None:
    """Refuses a Keras that is too old.

    Raises:
        ImportError: with the version there is and the one that is needed.
    """
    installed = keras.__version__ if version is None else version
    if tuple(int(part) for part in installed.split(".")[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ImportError(f"fanwise.keras needs Keras {oldest} or later, this is {installed}: pip install -U keras")


def backend() -> str:
    """The name of the backend that Keras computes with."""
    name: str = keras.config.backend()
    return name


def framework() -> str:
    """Keras, its version and what it computes with."""
    return f"keras {keras.__version__} ({backend()})"


def tensor_kinds() -> tuple[type, ...]:
    """Classes of the tensors that a model may meet while it is differentiated or run without values."""
    if keras.config.backend() != "jax":
        return (type(keras.ops.zeros((1,))),)
    import jax  # noqa: PLC0415  (only where JAX is the backend)

    with jax.ensure_compile_time_eval():  # also inside a trace, where a model still meets arrays
        return (type(keras.ops.zeros((1,))), jax.core.Tracer)


check_version()
