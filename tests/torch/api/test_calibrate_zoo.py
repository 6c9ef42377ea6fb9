"""`calibrate` on every model of the zoo: what was reached is what is found when it is measured again."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from fanwise.torch import Inputs, calibrate  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import made  # noqa: E402

ZOO = models("torch", "structure")

FLOAT32 = 1e-5
MAGNIFIED = {"siren": 1e-3}
"""Where more is allowed: sin(30 x), layer after layer, magnifies the rounding of what it reads."""


@pytest.mark.slow
@pytest.mark.parametrize("specimen", ZOO.values(), ids=ZOO)
def test_targets_are_reached_in_one_forward(specimen):
    model, inputs = made(specimen), Inputs(*specimen.batch())
    first = calibrate(model, inputs)
    again = calibrate(model, inputs)
    assert first.forwards == 1
    assert all(bool(tensor.isfinite().all()) for tensor in model.parameters())
    assert first.left == again.left
    off = {line.paths[0]: abs(line.before / line.target - 1) for line in again.lines if line.factors}
    assert {path: error for path, error in off.items() if error > MAGNIFIED.get(specimen.name, FLOAT32)} == {}
