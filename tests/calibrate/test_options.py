"""What a calibration may be asked for."""

import pytest

from fanwise.calibrate.options import Options


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"mode": "unit"}, "mode = 'unit': expected one of layer, channel"),
        ({"head": "ln"}, "expected one of loss, target"),
        ({"branches": 1}, "expected one of share, target"),
        ({"target": -1.0}, "expected a number > 0"),
        ({"target": "1"}, "expected a number"),
        ({"gain_after": 1}, "expected True or False"),
        ({"only": 3}, "expected patterns of paths"),
        ({"only": [3]}, "expected patterns of paths"),
    ],
)
def test_wrong_arguments_are_refused_with_the_choices(wrong, match):
    with pytest.raises((TypeError, ValueError), match=match):
        Options(**wrong)


def test_patterns_are_those_of_a_shell():
    options = Options(only="encoder.*")
    assert options.only == ("encoder.*",)
    assert options.means("encoder.0.weight")
    assert options.means("other", "encoder.0.weight")
    assert not options.means("decoder.0.weight")
    assert Options().means("anything")
