"""One run, as a forward written again shows it; and nothing is left behind, whatever raises."""

import contextlib
import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from torch.nn.utils import parametrizations  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from fanwise.torch.measure.observe import observe  # noqa: E402
from fanwise.torch.trace.run import Inputs, ModelError  # noqa: E402

from ..trace.test_run import raw, state  # noqa: E402
from ..traced import Wrapped, normal  # noqa: E402
from .test_taps import doubles, mean_cosine, moment, weighted  # noqa: E402

# Models whose forward is written out a second time


@dataclass(frozen=True)
class Case:
    """A model, its input, and its forward again: every op's output in order, the last of them what is returned."""

    model: Any
    x: Any
    again: Callable[[Any, Any], list[Any]]
    output: Callable[[Any], Any] = lambda outputs: outputs


def in_place(m, x):
    a = m.a(x)
    return [a, b := a.clamp(min=0), m.b(b)]


def residual(m, x):
    a = m.a(x)
    b = a * (a > 0)
    return [a, b, c := m.b(b), d := x + c, m.c(d)]


def attention(m, x):
    q, k, v = m.q(x), m.k(x), m.v(x)
    weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1)
    return [q, k, v, a := weights @ v, m.o(a)]


def lstm(m, x):
    """The gates in torch's order: input, forget, cell, output."""
    net, h, c, seen = m.rnn, torch.zeros(len(x), 5), torch.zeros(len(x), 5), []
    for step in x.unbind(1):
        gates = step @ net.weight_ih_l0.T + net.bias_ih_l0 + h @ net.weight_hh_l0.T + net.bias_hh_l0
        i, f, g, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        seen.append(h)
    return [s := torch.stack(seen, 1), m.head(s)]


def conv_last(m, x):
    weight = m.a.weight.contiguous()
    a = F.conv2d(x.contiguous(), weight, m.a.bias)
    return [a, b := a.clamp(min=0), b.mean((2, 3))]


def in_autocast(m, x):
    with torch.autocast("cpu", torch.bfloat16):
        return in_place(m, x)


def pair(dtype=torch.float32):
    return Wrapped(lambda m, x: m.b(F.relu_(m.a(x))), a=nn.Linear(6, 12), b=nn.Linear(12, 3)).to(dtype)


def cases():
    torch.manual_seed(1)
    dense, heads = lambda: nn.Linear(6, 6), {name: nn.Linear(8, 8) for name in "qkvo"}
    attend = Wrapped(lambda m, x: m.o(F.scaled_dot_product_attention(m.q(x), m.k(x), m.v(x))), **heads)
    rnn = Wrapped(lambda m, x: m.head(m.rnn(x)[0]), rnn=nn.LSTM(6, 5, batch_first=True), head=nn.Linear(5, 3))
    last = Wrapped(lambda m, x: F.relu(m.a(x)).mean((2, 3)), a=nn.Conv2d(3, 8, 3)).to(memory_format=torch.channels_last)
    wave = Wrapped(lambda m, x: torch.fft.fft(m.a(x)), a=dense())
    split = Wrapped(lambda m, x: m.b(m.a(x).view(4, 2, 3).transpose(1, 2).reshape(4, 6)), a=dense(), b=nn.Linear(6, 2))
    given = normal(4, 6)
    return {
        "in place": Case(pair(), given, in_place),
        "float64": Case(pair(torch.float64), given.double(), in_place),
        "bfloat16": Case(pair(torch.bfloat16), given.bfloat16(), in_place),
        "float16": Case(pair(torch.float16), given.half(), in_place),
        "autocast": Case(pair(), given, in_autocast),
        "residual": Case(
            Wrapped(lambda m, x: m.c(x + m.b(F.relu(m.a(x)))), a=dense(), b=dense(), c=dense()), given, residual
        ),
        "twice": Case(Wrapped(lambda m, x: m.a(m.a(x)), a=dense()), given, lambda m, x: [a := m.a(x), m.a(a)]),
        "attention": Case(attend, normal(4, 7, 8), attention),
        "lstm": Case(rnn, normal(4, 7, 6), lstm),
        "channels last": Case(last, normal(4, 3, 9, 9).to(memory_format=torch.channels_last), conv_last),
        "complex": Case(wave, given, lambda m, x: [a := m.a(x), torch.fft.fft(a)]),
        "view": Case(split, given, lambda m, x: [a := m.a(x), m.b(a.reshape(4, 2, 3).permute(0, 2, 1).flatten(1))]),
        "sparse gradient": Case(
            Wrapped(lambda m, x: m.b(m.a(x)), a=nn.Embedding(9, 6, sparse=True), b=nn.Linear(6, 3)),
            torch.arange(8).reshape(4, 2) % 5,
            lambda m, x: [a := m.a(x), m.b(a)],
        ),
    }


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_signals_are_those_of_a_forward_written_again(name):
    case = CASES[name]
    expected = case.again(case.model, case.x)
    for tensor in expected:
        tensor.retain_grad()
    parameters = dict(case.model.named_parameters())
    (loss := weighted(expected[-1])).backward()
    with torch.autocast("cpu", torch.bfloat16, enabled=name == "autocast"):
        kept = {path: tensor.grad for path, tensor in parameters.items()}
        seen = observe(case.model, Inputs((case.x,)), None, weighted)
    rough = {torch.bfloat16: 0.02, torch.float16: 5e-3}.get(expected[-1].dtype, 1e-5)
    shapes = [op.shape for op in seen.trace.ops]
    assert shapes == [tuple(tensor.shape) for tensor in expected]
    assert math.isclose(seen.loss.value, loss.item(), rel_tol=10 * rough, abs_tol=rough / 100)
    for signal, tensor in zip(seen.signals, expected, strict=True):
        values = doubles(tensor)
        assert math.isclose(signal.second_moment, moment(values), rel_tol=rough)
        assert abs(signal.mean - np.mean(np.abs(values) if tensor.is_complex() else values)) <= rough
        assert math.isclose(signal.gradient, moment(doubles(tensor.grad)), rel_tol=4 * rough)
        if not math.isnan(signal.likeness):
            assert math.isclose(signal.likeness, mean_cosine(values), rel_tol=rough, abs_tol=rough)
    for path, gradient in kept.items():
        dense = gradient.to_dense() if gradient.is_sparse else gradient
        assert math.isclose(seen.values[path].gradient, moment(doubles(dense)), rel_tol=4 * rough, abs_tol=1e-12), path
    for tensor in parameters.values():
        tensor.grad = None


# Nothing is left behind


class NoBackward(torch.autograd.Function):
    """Raises on the way back."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ArithmeticError("no way back")


class Keeping(nn.Module):
    """Writes to what it is given, to its buffers and to a parameter, with gradients on."""

    def __init__(self, error=None):
        super().__init__()
        self.a, self.norm, self.scale, self.error = (
            nn.Linear(6, 6),
            nn.BatchNorm1d(6),
            nn.Parameter(torch.ones(6)),
            error,
        )
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        x *= self.scale  # an input that wants no gradient has one from here on
        y = self.norm(self.a(x))
        self.mean.mul_(0.9).add_(y.mean(0))
        self.steps += 1
        with torch.no_grad():
            self.a.bias.add_(1)
        self.a.weight.data.mul_(0.5)
        torch.manual_seed(torch.randint(9, ()).item())
        np.random.rand()  # noqa: NPY002
        if self.error is not None:
            raise self.error
        return y + self.mean


def checkpointed(reentrant):
    def forward(m, x):
        def inner(t):
            return F.relu(m.norm(m.a(t)))

        return m.b(inner(x) if reentrant is None else checkpoint(inner, x, use_reentrant=reentrant))

    torch.manual_seed(3)
    return Wrapped(forward, a=nn.Linear(6, 6), norm=nn.BatchNorm1d(6), b=nn.Linear(6, 3))


def quantised():
    inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    inner = torch.ao.quantization.quantize_dynamic(inner, {nn.Linear}, dtype=torch.qint8)
    return nn.Sequential(nn.Linear(6, 6), inner, nn.Linear(6, 3))


def half_frozen():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    model[0].requires_grad_(False)
    return model


def compiled_inside():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    model[0].compile()
    return model


def normed():
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(6, 6)), parametrizations.weight_norm(nn.Linear(6, 6)), nn.Linear(6, 3)
    )


MODELS = {
    "plain": pair,
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 3)),
    "keeping": Keeping,
    "compiled": lambda: torch.compile(nn.Sequential(nn.Linear(6, 6), nn.ReLU())),
    "compiled inside": compiled_inside,
    "half frozen": half_frozen,
    "frozen": lambda: nn.Linear(6, 3).requires_grad_(False),
    "checkpoint": lambda: checkpointed(False),
    "reentrant checkpoint": lambda: checkpointed(True),
    "data parallel": lambda: nn.DataParallel(nn.Linear(6, 3)),
    "parametrized": normed,
    "old spectral norm": lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 6))),
    "lstm": lambda: Wrapped(lambda m, x: m.a(x)[0], a=nn.LSTM(6, 3)),
}


def left(model, *tensors):
    """All that a run could change: as in `test_run`, and what autograd hangs on tensors."""
    named = [*model.named_parameters(), *model.named_buffers(), *((str(i), one) for i, one in enumerate(tensors))]
    marks = {
        name: (
            t.requires_grad,
            t.grad_fn,
            len(t._backward_hooks or ()),
            None if not t.is_leaf or t.grad is None else raw(t.grad),
            raw(t),
        )
        for name, t in named
    }
    grads = {name: id(t.grad) for name, t in named if t.is_leaf}
    return state(model), marks, grads, torch.is_inference_mode_enabled(), torch.is_grad_enabled()


def with_grads(model):
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, number) if number % 2 and parameter.requires_grad else None
    for number, module in enumerate(model.modules()):
        module.training = number % 3 != 1
    return model


def refused_by_torch(model, x):
    """Whether torch has no kernel for a model on this processor, as for an LSTM in bfloat16 without AVX-512."""
    if not any(isinstance(module, nn.LSTM) for module in model.modules()):
        return False
    try:
        model(x)
    except RuntimeError as error:
        if "could not create a primitive" not in str(error):
            raise
        return True
    return False


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch.compile imports what warns
@pytest.mark.parametrize("context", ["nothing", "no_grad", "inference_mode", "autocast"])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_left_behind(name, context):
    model, x = with_grads(MODELS[name]()), normal(4, 6)
    contexts = {"autocast": torch.autocast("cpu", torch.bfloat16), "nothing": contextlib.nullcontext()}
    made = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
    with contexts.get(context) or made[context]():
        refused = refused_by_torch(MODELS[name](), x)
        before = left(model, x)
        if refused:
            with pytest.raises(ModelError, match="could not create a primitive"):
                observe(model, Inputs((x,)))
            assert left(model, x) == before
            return
        seen = observe(model, Inputs((x,)))
        assert left(model, x) == before
    trained = {path for path, tensor in model.named_parameters() if tensor.requires_grad}
    assert {path for path, values in seen.values.items() if values.reached} == trained
    assert all(math.isfinite(seen.values[path].gradient) for path in trained)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_part_passes_no_gradient_and_is_left_alone():
    model, x = quantised(), normal(4, 6)
    keys = {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    before = {name: hashlib.sha256(doubles(value.dequantize()).tobytes()).hexdigest() for name, value in keys.items()}
    seen = observe(model, Inputs((x,)))
    after = {name: hashlib.sha256(doubles(value.dequantize()).tobytes()).hexdigest() for name, value in keys.items()}
    assert after == before
    assert {path for path, values in seen.values.items() if values.reached} == {"2.weight", "2.bias"}
    assert seen.signals[0].second_moment == pytest.approx(moment(doubles(model[0](x))))


@pytest.mark.parametrize("where", ["forward", "loss", "shape", "backward"])
def test_nothing_is_left_behind_when_something_raises(where):
    def loss(outputs):
        torch.manual_seed(1)
        if where == "loss":
            raise ZeroDivisionError("a loss")
        return outputs if where == "shape" else (NoBackward.apply(outputs) if where == "backward" else outputs).sum()

    model, x = with_grads(Keeping(KeyError("a forward") if where == "forward" else None)), normal(4, 6)
    before = left(model, x)
    words = {"forward": "KeyError", "loss": "ZeroDivisionError", "shape": "one number", "backward": "no way back"}
    with pytest.raises(ModelError, match=words[where]):
        observe(model, Inputs((x,)), None, loss)
    assert left(model, x) == before


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_what_would_be_left_behind_without_care_is_seen():
    model, x = with_grads(Keeping()), normal(4, 6)
    before = left(model, x)
    model(x).sum().backward()
    after = left(model, x)
    assert before[0] != after[0]
    assert [before[1][name] != after[1][name] for name in ("0", "mean", "scale")] == [True] * 3


@pytest.mark.parametrize("leaf", [True, False])
def test_inputs_with_a_graph_keep_it(leaf):
    source = normal(4, 6).requires_grad_()
    source.grad = torch.ones(4, 6)
    x = source if leaf else source * 2
    node, version = x.grad_fn, x._version
    observe(Wrapped(lambda m, t: m.a(t) * t, a=nn.Linear(6, 6)), Inputs((x,)))
    assert (x.grad_fn, x._version, x.requires_grad) == (node, version, True)
    assert torch.equal(source.grad, torch.ones(4, 6))
    x.sum().backward()
    assert torch.equal(source.grad, torch.full((4, 6), 2.0 if leaf else 3.0))


def test_a_model_that_differentiates_by_its_input_can():
    model = Wrapped(
        lambda m, t: torch.autograd.grad(torch.tanh(m.a(t)).sum(), t, create_graph=True)[0], a=nn.Linear(6, 3)
    )
    x = normal(4, 6).requires_grad_()
    slopes = (1 - torch.tanh(model.a(x)) ** 2) @ model.a.weight
    assert observe(model, Inputs((x,))).outputs.second_moment == pytest.approx(moment(doubles(slopes)), rel=1e-5)
    assert x.grad is None


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_no_number(reentrant):
    x = normal(8, 6)
    plain, seen = (observe(checkpointed(way), Inputs((x,)), None, weighted) for way in (None, reentrant))
    assert seen.signals == plain.signals
    assert {path: one.gradient for path, one in seen.values.items()} == {
        path: one.gradient for path, one in plain.values.items()
    }
    assert torch.utils.checkpoint.CheckpointFunction.__module__ == "torch.utils.checkpoint"


def test_an_inference_input_is_no_obstacle():
    model = pair()
    with torch.inference_mode():
        x = normal(4, 6) + 0
        seen = observe(model, Inputs((x,)), None, weighted)
    assert repr(seen) == repr(observe(model, Inputs((x.clone(),)), None, weighted))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_torchscript_is_refused_and_left_alone():
    model = nn.Sequential(nn.Linear(6, 6), torch.jit.script(nn.Linear(6, 6)))
    before = {name: raw(t) for name, t in model.state_dict().items()}
    with pytest.raises(TypeError, match="'1' is TorchScript"):
        observe(model, Inputs((normal(4, 6),)))
    assert {name: raw(t) for name, t in model.state_dict().items()} == before


def test_two_runs_see_the_same():
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(), nn.RReLU(), nn.Linear(6, 3))
    x = normal(4, 6)
    first = observe(model, Inputs((x,)))
    assert repr(observe(copy.deepcopy(model), Inputs((x,)))) == repr(first)
