"""Targets of the command line that are networks of NumPy: the message says what checks them."""

import numpy as np
import pytest

from fanwise.adapters.hints import hint_for
from fanwise.targets.order import Order
from fanwise.targets.resolved import resolve

FILE = """
import numpy as np


class Net:
    def __init__(self):
        self.layers = [np.ones((3, 4)), np.zeros(4)]


def arrays():
    return [np.ones((3, 4)), np.zeros(4)]


def pairs():
    return [(np.ones((3, 4)), np.zeros(4))]


def names():
    return {"W1": np.ones((3, 4))}


params = arrays()
"""


@pytest.mark.parametrize("name", ["Net", "arrays", "pairs", "names", "params"])
def test_a_network_of_numpy_is_told_of_check_weights(name, tmp_path, monkeypatch):
    monkeypatch.setattr("fanwise.targets.resolved.FRAMEWORKS", {"nowhere": ("nowhere",)})  # none is loaded
    (tmp_path / "net.py").write_text(FILE)
    with pytest.raises(TypeError, match=r"fanwise.check_weights\(\[W1, b1, W2, b2\], x, y\)"):
        resolve(Order(f"{tmp_path / 'net.py'}:{name}"))


@pytest.mark.parametrize("name", ["Net", "arrays", "params"])
def test_with_torch_loaded_too(name, tmp_path, command):
    pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")
    (tmp_path / "net.py").write_text("import torch\n" + FILE)
    code, _, error = command("check", f"net.py:{name}", "--input", "2,3")
    assert code == 2
    assert "fanwise.check_weights" in error


def test_other_things_are_not():
    assert not any(map(hint_for, (3, "text", None, [1, 2], {"x": np.arange(3)}, Order, object())))
