"""Keras computes with one backend a process: PyTorch here, where nothing else is asked for.

`test_backends.py` runs these tests again on the others.
"""

import os
from importlib.util import find_spec

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
collect_ignore = [] if os.environ["KERAS_BACKEND"] == "tensorflow" else ["test_plain_tensorflow.py"]


@pytest.fixture(scope="session", autouse=True)
def _first_weights_without_compilation():
    """On JAX, Keras' own random numbers come from NumPy: a program for each shape takes half a second to compile.

    What fanwise draws is left as it is.
    """
    if find_spec("keras") is None or os.environ["KERAS_BACKEND"] != "jax":
        yield
        return
    from keras.src.backend.jax import random  # noqa: PLC0415  (the backend is chosen above)

    with pytest.MonkeyPatch.context() as patch:
        for name, draw in DRAWS.items():
            patch.setattr(random, name, quick(vars(random)[name], draw))
        yield


@pytest.fixture(autouse=True)
def _names_from_the_beginning():
    """Keras counts the layers that have no name of their own, and numbers go by names: each test counts from 0."""
    if find_spec("keras") is not None:
        import keras  # noqa: PLC0415  (the backend is chosen above)

        keras.utils.clear_session(free_memory=False)


def quick(original, draw):
    """A random function of Keras that compiles nothing."""
    import jax  # noqa: PLC0415  (only where it is the backend)
    import keras  # noqa: PLC0415
    from keras.src.random.seed_generator import draw_seed  # noqa: PLC0415

    def drawn(shape, *args, dtype=None, seed=None, **named):
        words = draw_seed(seed)
        if isinstance(words, jax.core.Tracer):
            return original(shape, *args, dtype=dtype, seed=words, **named)
        values = draw(np.random.default_rng(np.asarray(words).tolist()), shape, *args, **named)
        return jax.numpy.asarray(values, dtype or keras.config.floatx())

    return drawn


def uniform(rng, shape, minval=0.0, maxval=1.0):
    return rng.uniform(minval, maxval, shape)


def normal(rng, shape, mean=0.0, stddev=1.0):
    return rng.normal(mean, stddev, shape)


def truncated_normal(rng, shape, mean=0.0, stddev=1.0):
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values = np.where(outside, rng.standard_normal(shape), values)
    return mean + stddev * values


DRAWS = {"uniform": uniform, "normal": normal, "truncated_normal": truncated_normal}
