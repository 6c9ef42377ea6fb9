"""Which Keras this is."""

import keras

OLDEST = (3, 8)


def check_version(version: str | None = None) -> None:
    """Refuses a Keras that is too old.

    Raises:
        ImportError: with the version there is and the one that is needed.
    """
    found = keras.__version__ if version is None else version
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ImportError(f"fanwise.keras needs Keras {oldest} or later, this is {found}: pip install -U keras")


def framework() -> str:
    """Keras, its version and what it computes with."""
    return f"keras {keras.__version__} ({keras.config.backend()})"


check_version()
