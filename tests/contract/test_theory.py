"""What theory says of single operations against what the framework's own operations do, forward and backward.

Each kind of operation has settings of its own, the same in every framework: windows, strides, paddings, widths, means,
what places share, a ReLU before it. Moments are measured over the values that the operation gives.
"""

import math

import numpy as np
import pytest

from fanwise.check.prediction import predicted
from fanwise.theory.propagation import SAMPLES, Grounds
from fanwise.theory.softmax_average import QUERIES

from .operations import KINDS, Case, cases, independent_values, observed


def tolerance(case, ops):
    """Five standard errors of a second moment over theory's sample and over the values that there are.

    Weights of a softmax are drawn for fewer queries, over which the sum of their squares scatters by a third.
    """
    drawn = (1 / 3) ** 2 / QUERIES if case.kind == "attention" else 0.0
    return 5 * math.sqrt(2 / SAMPLES + drawn + 2 / independent_values(case, [op.shape for op in ops]))


APART = {("jax", "log_softmax"): "six operations there, whose gradients cancel; theory takes them as independent"}
"""What is written out in a framework so that its gradients are not followed; where a function without a rule was run
(`Propagation.measured`), the gradient is a guess, too."""
FEW = 2
"""Settings of each kind that are looked at in a fast run of the tests."""


@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_does_what_theory_says(framework, kind):
    _hold(framework, cases(kind)[:FEW])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_does_what_theory_says_in_more_settings(framework, kind):
    _hold(framework, cases(kind)[FEW:])


def _hold(framework, chosen):
    for case in chosen:
        run = observed(framework.name, case)
        said, last = predicted(run), run.trace.outputs[0]
        assert not said.failed, case
        if said.grounds[last] == Grounds.NOTHING:
            continue
        error = tolerance(case, [run.trace.ops[0], run.trace.ops[last]])
        assert said.second_moments[last] == pytest.approx(run.signals[last].second_moment, rel=error), case
        if not said.measured and (framework.name, case.kind) not in APART:
            assert said.gradients[0] == pytest.approx(run.signals[0].gradient, rel=error), case


def test_a_mean_in_place_of_the_largest_would_be_seen(framework):
    """The mutant: a max pool of four values gives 1.54 times their variance, a mean a quarter of it."""
    case = Case("max_pool", (8, 16, 16, 32), settings={"window": (2, 2), "stride": (2, 2), "padding": "valid"})
    run = observed(framework.adapter, case)
    last = run.trace.outputs[0]
    error = tolerance(case, [run.trace.ops[0], run.trace.ops[last]])
    assert run.signals[last].second_moment == pytest.approx(4 * 1.5513, rel=error)
    assert predicted(run).second_moments[last] == pytest.approx(4 * 1.5513, rel=error)
    assert error < 0.15


@pytest.mark.parametrize("kind", ["dense", "conv", "layer_norm", "max_pool", "softplus", "product"])
def test_inputs_of_zeros_are_zeros(framework, kind):
    case = cases(kind)[0]
    run = observed(framework.adapter, case, np.zeros(case.shape, np.float32))
    said, last = predicted(run), run.trace.outputs[0]
    assert said.second_moments[0] == 0
    assert said.second_moments[last] == pytest.approx(run.signals[last].second_moment, rel=0.5)
