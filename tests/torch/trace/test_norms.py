"""Normalisations, by torch's functions and written by hand, and the activations that a trace names."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from fanwise.torch.trace.run import Inputs, Watcher, run  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import Wrapped, kinds, made, normal, traced, traced_specimen  # noqa: E402

ZOO = models("torch", "structure")

X = normal(4, 5, 6)


def rms(m, x):
    return m.w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rms_divided(m, x):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * m.w


def rms_cast(m, x):
    y = x.double()
    return m.w * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def rms_gemma(m, x):
    return (x.float() * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)) * (1.0 + m.w.float())


def rms_by_norm(m, x):
    return F.normalize(x, dim=-1) * 6**0.5 * m.w


def rms_by_length(m, x):
    return x / x.norm(dim=-1, keepdim=True) * m.w


def layer_norm(m, x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt() * m.w


def layer_norm_std(m, x):
    return m.w * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)


def layer_norm_of_squares(m, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + 1e-6) * m.w


BY_HAND = [rms, rms_divided, rms_cast, rms_gemma, rms_by_norm, rms_by_length]
BY_HAND += [layer_norm, layer_norm_std, layer_norm_of_squares]


@pytest.mark.parametrize("function", BY_HAND, ids=lambda function: function.__name__)
def test_norms_by_hand(function):
    trace = traced(Wrapped(lambda m, x: function(m, m.l(x)), w=normal(6), l=nn.Linear(6, 6)), X)
    assert kinds(trace).count("norm") == 1
    ((op, use),) = trace.uses["w"]
    assert (op.kind, use.role) == ("scale", "scale")
    scaled_first = function is layer_norm_std
    assert (trace.norm_after(trace.ops[0]) is None) == scaled_first


NOT_NORMS = {
    "gate of the means": lambda m, x: x * torch.sigmoid(m.l(x.mean(1, keepdim=True))),
    "swish": lambda m, x: x * torch.sigmoid(x),
    "centred": lambda m, x: x - x.mean(-1, keepdim=True),
    "scaled by another's length": lambda m, x: m.l(x) * torch.rsqrt(x.square().mean(-1, keepdim=True)),
    "softmax by hand": lambda m, x: x.exp() / (1 + x.exp()),
}


@pytest.mark.parametrize("function", NOT_NORMS.values(), ids=NOT_NORMS)
def test_what_is_no_norm(function):
    trace = traced(Wrapped(lambda m, x: function(m, m.l(x)), l=nn.Linear(6, 6)), X)
    assert "norm" not in kinds(trace)


MODULES = [
    (nn.LayerNorm(6), X),
    (nn.RMSNorm(6), X),
    (nn.BatchNorm1d(5), X),
    (nn.GroupNorm(1, 5), X),
    (nn.InstanceNorm1d(5, affine=True), X),
    (nn.BatchNorm2d(4), normal(2, 4, 3, 3)),
    (
        Wrapped(
            lambda m, x: torch.batch_norm(x, m.w, m.b, None, None, True, 0.1, 1e-5, False), w=normal(5), b=normal(5)
        ),
        X,
    ),
    (
        Wrapped(
            lambda m, x: torch.instance_norm(x, m.w, m.b, None, None, True, 0.1, 1e-5, False), w=normal(5), b=normal(5)
        ),
        X,
    ),
]


@pytest.mark.parametrize(("module", "inputs"), MODULES, ids=lambda value: type(value).__name__)
def test_norms_of_torch(module, inputs):
    trace = traced(module, inputs)
    assert kinds(trace) == ["norm"]
    assert [use.role for use in trace.ops[0].uses] == ["scale", "shift"][: len(trace.by_path)]


def test_cosine_attention_normalises_queries_and_keys():
    trace = traced_specimen(ZOO["swinv2"])
    assert sum(op.name == "normalize" and op.kind == "norm" for op in trace.ops) == 2 * 3


NORMED = {"llama": 5, "gemma2": 9, "qwen3": 9, "t5": 12, "olmo2": 9, "swiglu_lm": 5}
"""Norms written by hand, by the models' own sources: 2 or 4 a layer, of queries and keys, a last one."""


@pytest.mark.parametrize("name", [name for name in NORMED if name in ZOO])
def test_norms_by_hand_in_the_zoo(name):
    trace = traced_specimen(ZOO[name])
    assert kinds(trace).count("norm") == NORMED[name]
    scales = [path for path in trace.by_path if "norm" in path and path.endswith("weight")]
    assert len(scales) == NORMED[name]
    assert all(use.role == "scale" for path in scales for _, use in trace.uses[path])


ACTIVATIONS = {
    "module": (lambda m, x: nn.GELU()(x), "gelu"),
    "in place module": (lambda m, x: nn.ReLU(inplace=True)(x), "relu"),
    "function": (lambda m, x: F.silu(x), "silu"),
    "of torch": (lambda m, x: torch.tanh(x), "tanh"),
    "method": (lambda m, x: x.sigmoid(), "sigmoid"),
    "in place method": (lambda m, x: x.relu_(), "relu"),
    "in place function": (lambda m, x: F.leaky_relu_(x, 0.2), "leaky_relu"),
    "special": (lambda m, x: torch.special.expit(x), "sigmoid"),
    "aten": (lambda m, x: torch.ops.aten.elu(x), "elu"),
    "logsigmoid": (lambda m, x: F.logsigmoid(x), "logsigmoid"),
    "glu": (lambda m, x: F.glu(x), "glu"),
}


@pytest.mark.parametrize(("function", "name"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations(function, name):
    after = nn.Linear(3 if name == "glu" else 6, 6)
    trace = traced(Wrapped(lambda m, x: m.b(function(m, m.a(x))), a=nn.Linear(6, 6), b=after), X)
    assert kinds(trace) == ["linear", "activation", "linear"]
    assert trace.nonlinearity_after(trace.ops[0]) == trace.nonlinearity_before(trace.ops[2]) == name
    assert trace.nonlinearity_before(trace.ops[0]) is None


def test_batch_norm_takes_the_batch_and_leaves_the_running_statistics():
    moments = []

    class Watch(Watcher):
        def after(self, op, moment):
            moments.append(moment())

    model = nn.BatchNorm1d(6)
    run(model, Inputs((100 * normal(50, 6) + 7,)), Watch())
    assert moments == [pytest.approx(1, rel=1e-3)]
    assert model.running_mean.abs().max() == 0
    with torch.no_grad():
        assert model.eval()(100 * normal(50, 6)).square().mean() > 1000  # what the running ones would have given


def test_every_norm_module_of_the_zoo_is_a_norm():
    wanted = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    for specimen in ZOO.values():
        model = made(specimen)
        trace = traced_specimen(specimen)
        paths = {
            f"{name}.weight" for name, m in model.named_modules() if isinstance(m, wanted) and m.weight is not None
        }
        roles = {(op.kind, use.role) for path in paths & set(trace.uses) for op, use in trace.uses[path]}
        assert roles <= {("norm", "scale")}, specimen.name
