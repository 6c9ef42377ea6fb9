"""Attributes that several users replace at once: what stands there in between, and what afterwards."""

import pytest

pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.trace.replacements import Replacement, replaced


class Base:
    def name(self):
        return "base"


class Below(Base):
    pass


def test_users_share_a_replacement_and_the_last_puts_the_original_back():
    home, original = {"f": (first := object())}, first
    outer, inner = (replaced("f", lambda: [Replacement(home, "f", object())]) for _ in range(2))
    outer.__enter__()
    shared = home["f"]
    inner.__enter__()
    assert home["f"] is shared is not original
    outer.__exit__(None, None, None)
    assert home["f"] is shared
    inner.__exit__(None, None, None)
    assert home["f"] is original


def test_a_name_that_was_not_there_goes_away():
    home = {}
    with replaced("g", lambda: [Replacement(home, "g", 1)]):
        assert home == {"g": 1}
    assert home == {}


def test_a_class_that_inherits_an_attribute_inherits_it_again():
    with replaced("name", lambda: [Replacement(Below, "name", lambda self: "replaced")]):
        assert Below().name() == "replaced"
        assert Base().name() == "base"
    assert "name" not in vars(Below)
    assert Below().name() == "base"


def test_what_somebody_else_put_there_meanwhile_stays():
    home = {"f": 1}
    with replaced("f", lambda: [Replacement(home, "f", 2)]):
        home["f"] = 3
    assert home == {"f": 3}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_half_way_leaves_nothing_replaced(error):
    home = {"f": 1, "g": 2}

    def find():
        yield Replacement(home, "f", 3)
        raise error

    with pytest.raises(error), replaced("half", find):
        pytest.fail("never entered")
    assert home == {"f": 1, "g": 2}
    with replaced("half", lambda: [Replacement(home, "g", 4)]):
        assert home == {"f": 1, "g": 4}
    assert home == {"f": 1, "g": 2}


def test_an_interruption_while_the_original_is_put_back_is_made_up_for():
    class Interrupting(dict):
        armed = False

        def __setitem__(self, name, value):
            if self.armed:
                self.armed = False
                raise KeyboardInterrupt
            super().__setitem__(name, value)

    home = Interrupting(f=1)

    def use():
        with replaced("interrupted", lambda: [Replacement(home, "f", 2)]):
            home.armed = True

    with pytest.raises(KeyboardInterrupt):
        use()
    assert home == {"f": 1}
