"""Batches and optimizers as users have them: loaders, generators and pairs for every verb; objects beside names."""

import numpy as np
import pytest

from .networks import MLP, examples, weights


def pair(framework):
    """Inputs and targets."""
    inputs = framework.given(examples(MLP))
    (x,) = inputs.values()
    return x, framework.array(np.arange(len(x)) % 10)


SOURCES = {
    "pair": lambda x, y: (x, y),
    "list of pairs": lambda x, y: [(x, y), (x, y)],
    "generator": lambda x, y: (batch for batch in [(x, y), (x, y)]),
    "lists from a loader": lambda x, y: iter([[x, y]]),
}


class Loader:
    """What can be gone through again, and is no list."""

    def __init__(self, x, y):
        self.batches = [[x, y], [x, y]]

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("source", [*SOURCES, "loader"])
def test_every_verb_takes_every_source(framework, source):
    make = SOURCES.get(source, Loader)

    def batches():
        return make(*pair(framework))

    def model():
        return framework.build(MLP, weights(MLP))

    api = framework.api
    plain = api.plan(model(), pair(framework)[0])
    assert [row.std for row in api.plan(model(), batches())] == [row.std for row in plain]
    report = api.check(model(), batches(), framework.loss)
    assert report.observations[0].loss.value == api.check(model(), pair(framework), framework.loss).observations[
        0].loss.value  # fmt: skip
    assert not report.observations[0].loss.drawn
    assert not api.fix(model(), report, batches(), loss=framework.loss)
    assert api.calibrate(model(), batches()) is not None


def test_a_function_that_makes_an_optimizer_is_told_apart(framework):
    with pytest.raises(TypeError, match=r"optimizer = .*give what the function returns"):
        framework.api.check(framework.build(MLP, weights(MLP)), pair(framework), framework.loss, optimizer=lambda p: p)
