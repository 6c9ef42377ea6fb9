"""`python -m bench proof`: every rule has a case, and what counts as a cost."""

import math

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from bench.proof import CASES, Line, proved, summary, verdict
from bench.proving.training import Runs
from fanwise.check.rules.registry import RULES

QUICK = (2.0, 1.0, 0.5, 0.4)


def runs(*finals, losses=QUICK):
    return Runs(1e-3, tuple(losses for _ in finals), finals)


def test_every_rule_has_a_case():
    assert {twins.rule for twins in CASES} == set(RULES)
    names = [(twins.rule, twins.name) for twins in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("finals", "steps", "expected"),
    [
        ((0.40, 0.42, 0.41), (3.0, 2.0, math.nan), "same"),
        ((0.40, 0.42, 0.41), (4.0, 2.0, math.nan), "slower"),
        ((0.90, 0.92, 0.91), (3.0, 2.0, math.nan), "worse"),
        ((0.90, 0.92, 0.91), (math.inf, 2.0, math.nan), "slower and worse"),
        ((0.10, 0.12, 0.11), (3.0, 2.0, math.nan), "same"),
        ((0.00, 2.00, 0.41), (3.0, 2.0, math.nan), "same"),
        ((0.41, 0.42, math.inf), (math.inf, 2.0, math.nan), "diverges"),
    ],
    ids=["alike", "twice the steps", "above noise", "both", "better", "within noise", "one seed diverges"],
)
def test_a_cost_is_twice_the_steps_or_an_end_beyond_noise(finals, steps, expected):
    assert verdict(runs(*finals), runs(0.41, 0.40, 0.42), steps) == expected


def test_steps_are_counted_to_the_first_loss_below_the_goal():
    assert runs(0.4, 0.4).steps_to(0.6) == 3.0
    assert runs(0.4, 0.4).steps_to(2.0) == 1.0
    assert math.isinf(runs(0.4, 0.4).steps_to(0.3))


def line(optimizer, steps, word, case="one"):
    return Line("FWD001", "error", case, optimizer, (steps, 50.0, math.nan), (0.5, 0.4, math.nan), word)


def test_a_case_is_proved_by_both_optimizers_or_by_a_failure_of_one():
    assert proved([line("adam", 120.0, "slower"), line("sgd", 80.0, "worse")])
    assert proved([line("adam", 60.0, "same"), line("sgd", math.inf, "slower")])
    assert not proved([line("adam", 60.0, "same"), line("sgd", 120.0, "slower")])
    assert not proved([line("adam", 60.0, "same"), line("sgd", 70.0, "same")])


def test_the_summary_counts_cases():
    lines = [line("adam", 120.0, "slower"), line("sgd", 80.0, "worse")]
    lines += [line("adam", 60.0, "same", "two"), line("sgd", 120.0, "slower", "two")]
    lines += [line("adam", 60.0, "same", "three"), line("sgd", 70.0, "same", "three")]
    assert summary(lines)[-1] == "| FWD001 | error | 3 | 1 | 1 | 1 |"
