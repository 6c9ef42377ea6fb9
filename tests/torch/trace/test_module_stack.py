"""Which module runs, and which of its calls."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from fanwise.torch.trace.module_stack import ModuleStack  # noqa: E402

X = torch.ones(1, 2)


class Seen(nn.Module):
    """A module that notes who runs."""

    def forward(self, x):
        self.note()
        return x


def followed(model, run):
    """The callers that the modules of a model note."""
    callers, made = [], []
    stack = ModuleStack(model, lambda path, module, tensor: made.append((path, tuple(tensor.shape))))
    for module in model.modules():
        module.note = lambda: callers.append(stack.caller)
    with stack.followed():
        run()
    return stack, callers, made


def test_paths_and_calls():
    shared = Seen()
    model = nn.Sequential(shared, nn.Sequential(Seen()), shared)
    stack, callers, _ = followed(model, lambda: model(X))
    assert callers == [("0", 0), ("1.0", 0), ("0", 1)]
    assert stack.caller == ("", 0)


def test_a_module_of_no_name_counts_as_the_one_that_calls_it():
    model = nn.Sequential(Seen())
    stranger = Seen()
    callers = []
    stack = ModuleStack(model, lambda *_: None)
    stranger.note = lambda: callers.append(stack.caller)
    model[0].note = lambda: stranger(X)
    with stack.followed():
        model(X)
    assert callers == [("0", 0)]


def test_nothing_is_followed_afterwards():
    model = nn.Sequential(Seen())
    stack, callers, _ = followed(model, lambda: model(X))
    model(X)
    assert callers == [("0", 0), ("", 0)]
    assert not stack.quiet


def test_the_innermost_module_that_failed():
    model = nn.Sequential(nn.Sequential(nn.Identity(), nn.Linear(3, 3)))
    stack = ModuleStack(model, lambda *_: None)
    with stack.followed(), pytest.raises(RuntimeError):
        model(X)
    assert stack.failed == "0.1"
    assert stack.caller == ("", 0)


def test_a_parametrization_is_quiet_and_told():
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 3)))
    quiet = []
    stack, _, made = followed(model, lambda: model(X))
    assert made == [("0.parametrizations.weight", (3, 2))]
    model[0].parametrizations.weight[0].register_forward_hook(lambda *_: quiet.append(stack.quiet))
    with stack.followed():
        model(X)
    assert quiet == [True]
    assert not stack.quiet
