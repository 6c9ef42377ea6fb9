"""What a norm adds to the mean square of a quiet signal: Keras adds 1e-3, a hundred times what others add."""

import keras
import numpy as np
import pytest
from keras import layers

from fanwise.keras import check

QUIET = 0.03
NORMS = {
    "layer_norm": lambda: layers.LayerNormalization(),
    "rms_norm": lambda: layers.RMSNormalization(epsilon=1e-3),
    "group_norm": lambda: layers.GroupNormalization(4),
    "batch_norm": lambda: layers.BatchNormalization(),
}
if keras.backend.backend() == "torch":  # the other backends make the function of means and products
    NORMS["function"] = lambda: layers.Lambda(lambda x: keras.ops.layer_normalization(x, epsilon=1e-3))


@pytest.mark.parametrize("norm", NORMS)
def test_what_a_norm_adds_before_its_root_is_in_the_prediction(norm):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Input((64,)), NORMS[norm](), layers.Dense(256), layers.Dense(3)])
    rng = np.random.default_rng(0)
    x = (QUIET * rng.standard_normal((512, 64))).astype("float32")
    layer = check(model, x, seeds=1).layers[0]
    # y^2 = v / (v + 1e-3), v = 9e-4, through Glorot's 64 x 256 uniform map: 64 * 2 / 320 of it
    expected = (QUIET**2 / (QUIET**2 + 1e-3) * 64 * 2 / 320) ** 0.5
    assert layer.predicted == pytest.approx(expected, rel=0.05)
    assert layer.rms == pytest.approx(expected, rel=0.05)
