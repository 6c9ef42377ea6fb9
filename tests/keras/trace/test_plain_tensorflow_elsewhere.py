"""Plain TensorFlow where Keras computes with something else."""

import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras import from_tensorflow  # noqa: E402


def test_it_is_told_what_to_set():
    if keras.config.backend() == "tensorflow":
        return
    with pytest.raises(ValueError, match=f"Keras computes with {keras.config.backend()}: set KERAS_BACKEND=tensorflow"):
        from_tensorflow(lambda x: x, [])
