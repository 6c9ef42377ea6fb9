"""Models written from papers: each is planned, applied and run, and starts near a guess."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from bench.families import judged  # noqa: E402
from zoo.registry import models  # noqa: E402

FAMILIES = models("torch", "families")
SET_BY_THE_MODEL = {"arc_face"}
"""Models whose logits are normed and multiplied by a fixed number: no weight changes their size."""

pytestmark = pytest.mark.slow  # about a quarter of a second each


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_planned_and_starts_at_a_guess(name):
    result = judged(FAMILIES[name], keys=1)
    assert result.error == ""
    assert result.parameters > 0
    if name not in SET_BY_THE_MODEL:
        assert abs(result.loss - 1) < 0.08  # 6 % in the mean over keys; one key is noisier


def test_there_are_more_than_a_hundred():
    assert len(FAMILIES) >= 100
