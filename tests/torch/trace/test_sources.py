"""Where a model's modules are constructed in the user's sources."""

import importlib.util
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from fanwise.measure.observation import Place  # noqa: E402
from fanwise.torch.trace.sources import construction_lines, function_line  # noqa: E402

FILE = """\
import functools
from torch import nn


def logged(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner


class Block(nn.Module):  # class Block
    def __init__(this, wide=False):
        super().__init__()
        this.a, this.b = nn.Linear(3, 3), nn.Linear(3, 3)  # a and b
        if wide:
            this.out = nn.Conv1d(3, 3, 1)  # wide out
        else:
            this.out = nn.Linear(3, 3)  # narrow out
        this.norm: nn.Module = nn.LayerNorm(3)  # norm


class Base(nn.Module):
    def __init__(self):  # init of Base
        super().__init__()
        self.first = Block()  # first
        self.add_module("added", nn.Linear(3, 3))


class Net(Base):  # class Net
    @logged
    def __init__(self):  # init of Net
        super().__init__()
        self.body = nn.Sequential(  # body
            nn.Linear(3, 3),  # body 0
            nn.ReLU(),  # body 1
            Block(wide=True),  # body 2
        )
        self.listed = nn.ModuleList([Block() for _ in range(2)])  # listed
        self.late = nn.ModuleList()  # late
        self.late.append(nn.Linear(3, 3))
        self.starred = nn.Sequential(*[nn.Linear(3, 3)])  # starred
        self.named = nn.ModuleDict({"x": nn.Linear(3, 3)})  # named
        self.library = nn.TransformerEncoderLayer(4, 2)  # library
        text = '''
  self.library = "not code"
'''
        setattr(self, "set", nn.Linear(3, 3))


class Inherits(Net):  # class Inherits
    pass


def factory():  # factory
    return nn.Sequential(nn.Linear(3, 3), Block())
"""


@pytest.fixture
def users(tmp_path):
    file = tmp_path / "users_net.py"
    file.write_text(FILE)
    yield loaded(file)
    del sys.modules["users_net"]


def loaded(file):
    spec = importlib.util.spec_from_file_location("users_net", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["users_net"] = module
    spec.loader.exec_module(module)
    return module


def line(mark):
    """Number of the line that ends in this comment."""
    (found,) = [i for i, text in enumerate(FILE.splitlines(), 1) if text.endswith(f"# {mark}")]
    return found


EXPECTED = {
    "": "class Net",
    "body": "body",
    "body.0": "body 0",
    "body.2": "body 2",
    "body.2.a": "a and b",
    "body.2.out": "wide out",
    "listed": "listed",
    "listed.0": "listed",
    "listed.1": "listed",
    "listed.1.out": "narrow out",
    "listed.1.norm": "norm",
    "late.0": "late",
    "starred.0": "starred",
    "named.x": "named",
    "library": "library",
    "library.self_attn": "library",
    "library.self_attn.out_proj": "library",
}


@pytest.mark.parametrize(("path", "mark"), EXPECTED.items())
@pytest.mark.parametrize("kind", ["Net", "Inherits"])
def test_each_module_stands_where_it_is_made(users, kind, path, mark):
    mark = "class Inherits" if (kind, path) == ("Inherits", "") else mark
    assert construction_lines(vars(users)[kind]())[path] == Place(users.__file__, line(mark))


@pytest.mark.parametrize("kind", ["Base", "Net"])
def test_what_a_base_class_makes_is_there(users, kind):
    assert construction_lines(vars(users)[kind]())["first"].line == line("first")


def test_what_no_assignment_names_is_at_the_constructor(users):
    places = construction_lines(users.Net())
    assert places["added"].line == places["set"].line == line("init of Net") - 1  # its decorator
    assert construction_lines(users.Base())["added"].line == line("init of Base")


def test_every_module_of_a_user_has_a_place(users):
    model = users.Net()
    assert set(construction_lines(model)) == {path for path, _ in model.named_modules()}


def test_a_library_s_model_has_the_fallback_and_what_is_the_user_s_in_it_its_own(users):
    fallback = Place("train.py", 7)
    places = construction_lines(users.factory(), fallback)
    assert places["1.out"].line == line("narrow out")
    assert all(places[path] == fallback for path in ("", "0", "1"))
    without = construction_lines(users.factory())
    assert without["1"] == Place(users.__file__, line("class Block"))
    assert "0" not in without
    assert "" not in without


def test_models_of_transformers_have_no_place_of_their_own():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = transformers.BertModel(config)
    assert construction_lines(model) == {}
    here = Place("here.py", 1)
    assert set(construction_lines(model, here).values()) == {here}


def test_the_line_of_a_factory(users):
    assert function_line(users.factory) == Place(users.__file__, line("factory"))
    assert function_line(users.logged(users.factory)) == Place(users.__file__, line("factory"))
    assert function_line(users.Net) == Place(users.__file__, line("class Net"))
    assert function_line(nn.Linear) is None
    assert function_line(len) is None
    assert function_line(3) is None


class Hostile(type):
    @property
    def __mro__(cls):
        raise RuntimeError("no")


def test_it_never_raises(users):
    made = {}
    exec("from torch import nn\nclass Typed(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
         "        self.fc = nn.Linear(3, 3)\n", made)  # fmt: skip
    assert construction_lines(made["Typed"]()) == {}

    class Odd(nn.Module, metaclass=Hostile):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

    assert "fc" not in construction_lines(Odd())
    Path(users.__file__).write_text("def (")  # the file changed under the module
    assert set(construction_lines(users.Base())) >= {"first", "first.out"}
    Path(users.__file__).unlink()
    assert construction_lines(users.Base()) == {}
