"""Which Keras this is: its version, its backend and its tensors."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.trace.backend import OLDEST, backend, check_version, framework, tensor_kinds  # noqa: E402


@pytest.mark.parametrize("version", ["3.14.2", "2.15.0", "3.9", "3.0.5.dev1"])
def test_an_older_keras_is_refused(version):
    with pytest.raises(ImportError, match=rf"needs Keras 3\.15 or later, this is {version}: pip install -U keras"):
        check_version(version)


@pytest.mark.parametrize("version", ["3.15.0", "3.15", "3.100.1", "4.0.0", "3.15.0.dev20260101"])
def test_a_newer_keras_is_taken(version):
    check_version(version)


def test_the_version_is_that_of_the_installed_keras(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "3.2.1")
    with pytest.raises(ImportError, match=r"this is 3\.2\.1"):
        check_version()
    assert OLDEST == (3, 15)


def test_names():
    assert backend() in ("torch", "jax", "tensorflow")
    assert framework() == f"keras {keras.__version__} ({keras.config.backend()})"


def test_tensors_of_the_backend_are_of_its_kinds_and_arrays_are_not():
    kinds = tensor_kinds()
    assert isinstance(keras.ops.ones((2, 3)), kinds)
    assert isinstance(keras.ops.ones((2,), "int32"), kinds)
    assert not isinstance(np.ones(3), kinds)
    assert not isinstance(keras.Variable(np.ones(3, "float32")), kinds)


def test_tracers_count_on_jax():
    assert len(tensor_kinds()) == (2 if backend() == "jax" else 1)
