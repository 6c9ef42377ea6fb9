"""A run leaves no trace, sees every parameter, works without memory, and says what it cannot do."""

import contextlib
import hashlib
import io
import random
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from op_details import facts_of

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.nn.modules import module as module_hooks  # noqa: E402

from fanwise.laws.elementwise import Normal, Zeros  # noqa: E402
from fanwise.torch.trace.provenance import parameters  # noqa: E402
from fanwise.torch.trace.run import Inputs, ModelError, run, second_moment  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import Wrapped, kinds, made, normal, traced, traced_specimen  # noqa: E402

ZOO = models("torch", "structure")

every = pytest.mark.parametrize("specimen", ZOO.values(), ids=ZOO)
X = normal(4, 6)


def raw(tensor):
    file = io.BytesIO()
    torch.save(tensor.detach().clone(), file)
    return hashlib.sha256(file.getvalue()).hexdigest()


def hook_counts(holder):
    return {
        name: len(value)
        for name, value in vars(holder).items()
        if isinstance(value, OrderedDict) or ("hooks" in name and isinstance(value, dict))
    }


def plain(module):
    return {name: id(value) for name, value in vars(module).items() if not name.startswith("_")}


def state(model):
    """Everything that a run could leave behind."""
    tensors = {name: (id(t), raw(t), id(t.grad)) for name, t in chain(model.named_parameters(), model.named_buffers())}
    modules = {name: (m.training, hook_counts(m), plain(m), list(m._buffers)) for name, m in model.named_modules()}
    generators = raw(torch.get_rng_state()), repr(np.random.get_state()), hash(random.getstate())  # noqa: NPY002
    rest = torch.is_grad_enabled(), hook_counts(module_hooks), len(torch.overrides._get_current_function_mode_stack())
    return tensors, {n: raw(t) for n, t in model.state_dict().items() if torch.is_tensor(t)}, modules, generators, rest


@every
def test_a_run_leaves_no_trace(specimen):
    model = made(specimen)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    args, kwargs = specimen.batch()
    given = [raw(t) for t in (*args, *kwargs.values()) if torch.is_tensor(t)]
    before = state(model)
    run(model, Inputs(args, kwargs))
    assert state(model) == before
    assert given == [raw(t) for t in (*args, *kwargs.values()) if torch.is_tensor(t)]


class Meddler(nn.Module):
    """A forward that changes whatever it can reach, and then may raise."""

    def __init__(self, error=None):
        super().__init__()
        self.linear, self.drop, self.calls, self.seen, self.error = nn.Linear(6, 6), nn.Dropout(), 0, [], error
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("cache", torch.zeros(2), persistent=False)

    def train(self, mode=True):
        with torch.no_grad():
            self.linear.weight.mul_(2)  # as adapters do that merge their weights
        return super().train(mode)

    def forward(self, x):
        self.calls += 1
        self.seen.append(x)
        self.mean.add_(x.mean(0))
        self.cache = x[:2]
        self.register_buffer("late", x[:1])
        self.extra = torch.rand(1) + random.random() + np.random.rand()  # noqa: NPY002
        self.linear.weight.data.mul_(0.5)
        self.linear.bias[0] = 7
        self.linear.bias += 1
        x.relu_()
        self.eval()
        torch.manual_seed(99)
        self.linear.register_forward_hook(lambda *_: None)
        y = self.linear(x)
        if self.error:
            raise self.error
        return y


@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_what_a_forward_changes_is_put_back(error):
    model, x = Meddler(error), normal(4, 6)
    for buffer in (model.mean, model.cache):
        buffer.add_(float("nan"))
    before, given = state(model), raw(x)
    if error:
        with pytest.raises(
            ModelError, match=r"ValueError in module .*the model itself.*torch\.nn\.functional\.linear: no"
        ):
            traced(model, x)
    else:
        assert traced(model, x).ops[-1].kind == "linear"
    assert state(model) == before
    assert raw(x) == given
    assert not hasattr(model, "late")
    with torch.no_grad(), contextlib.suppress(ValueError):
        model(x.clone())
    assert state(model) != before  # so that the comparison above could have failed


def test_an_untouched_cuda_is_not_seeded():
    code = (
        "import torch; from fanwise.torch.trace.run import *; run(torch.nn.Linear(2, 2), Inputs((torch.ones(1, 2),)));"
    )
    code += "assert not torch.cuda._queued_calls or not any('seed' in str(c) for c in torch.cuda._queued_calls)"
    subprocess.run([sys.executable, "-c", code], check=True)


@every
def test_every_parameter_is_used_but_the_unused(specimen):
    trace = traced_specimen(specimen)
    dead = {path for path in specimen.traits.unused if path.startswith("fnet.pooler")}  # runs, but to no effect
    assert set(trace.unused) == set(specimen.traits.unused) - dead
    names = dict(made(specimen).named_parameters())
    assert list(trace.uses) == list(names)
    assert {p.path: p.shape for p in trace.parameters} == {n: tuple(t.shape) for n, t in names.items()}


@every
def test_maps_and_tables_have_a_layout_that_fits(specimen):
    trace = traced_specimen(specimen)
    maps = {"weight", "table", "recurrent", "query", "key", "value", "output"}
    for path, uses in trace.uses.items():
        for _, use in uses:
            assert (use.layout is not None) == (use.role in maps), (path, use)
            if use.layout is not None:
                assert use.layout.block_fans(trace.by_path[path].shape)


@every
def test_modules_of_torch_are_seen_as_what_they_are(specimen):
    """An independent count: the calls of torch's own weight modules, by hooks, against the ops."""
    wanted = {nn.Linear: "linear", nn.Conv1d: "conv", nn.Conv2d: "conv", nn.Conv3d: "conv", nn.Embedding: "embedding"}
    model, calls = made(specimen).eval(), []

    def note(module, inputs, output, path):
        calls.append((wanted[type(module)], path, tuple(output.shape)))

    for path, module in model.named_modules():
        if type(module) in wanted:
            module.register_forward_hook(lambda *a, path=path: note(*a, path))
    args, kwargs = specimen.batch()
    with torch.no_grad():
        model(*args, **kwargs)
    paths = {path for _, path, _ in calls}
    seen = [(op.kind, op.module, op.shape) for op in traced_specimen(specimen).ops if op.module in paths]
    assert [op for op in seen if op[0] in wanted.values()] == calls


# No memory

NOT_ON_META = {
    "xlnet": "makes its positions on the CPU",
    "bart": "asks its attention mask for values",
    "mbart": "asks its attention mask for values",
    "pegasus": "asks its attention mask for values",
    "skip_init": "is made with a tensor from the CPU",
    "layer_scale": "is made with a tensor from the CPU",
}
"""Models that cannot run on meta tensors, and why: plain PyTorch cannot run them there either."""


def on_meta(specimen):
    with torch.device("meta"):
        model = made(specimen)
    return model, Inputs(*torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.to("meta"), specimen.batch()))


@every
@pytest.mark.filterwarnings("ignore:for .*meta parameter in the checkpoint")
def test_meta_gives_the_same_trace(specimen):
    model, inputs = on_meta(specimen)
    if specimen.name in NOT_ON_META:
        with pytest.raises(ModelError, match=r"in module '.*', last op \w"):
            run(model, inputs)
    else:
        hidden = ("constant", "causal")  # whether a mask hides what comes later is told by its values
        assert without(run(model, inputs), *hidden) == without(traced_specimen(specimen), *hidden)


def without(trace, *details):
    """The ops but for these details and for ratios of values: numbers that tensors hold are not there on meta.

    Nor for the shapes that an attention reads: where tensors are fake, transformers repeats shared keys before it.
    """
    left = ({key: value for key, value in facts_of(op).items() if key not in details} for op in trace.ops)
    uses = (tuple(replace(use, ratio=1.0) for use in op.uses) for op in trace.ops)
    ops = [(replace(op, detail=None, uses=u), d) for op, d, u in zip(trace.ops, left, uses, strict=True)]
    ops = [(replace(op, reads=()) if op.kind == "attention" else op, detail) for op, detail in ops]
    return ops, trace.parameters, trace.outputs


@pytest.mark.parametrize("name", ["gpt2", "llama", "resnet", "mixtral", "nn_lstm", "mlp_batch_norm", "weight_norm"])
def test_fake_tensors_give_the_same_trace(name):
    if name not in ZOO:
        pytest.skip("transformers is not installed")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model = made(ZOO[name])
        args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, mode.from_tensor, ZOO[name].batch())
        trace = run(model, Inputs(args, kwargs))
    hidden = ("constant", "causal")  # transformers replaces the causal flag by a mask where tensors are fake
    assert without(trace, *hidden) == without(traced_specimen(ZOO[name]), *hidden)


BILLION = """
import resource, sys
import torch, transformers
from transformers import LlamaConfig, LlamaForCausalLM
from fanwise.torch.trace.run import Inputs, run
torch.zeros(1) @ torch.zeros(1)
config = LlamaConfig(vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                     num_attention_heads=32, num_key_value_heads=4)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
with torch.device("meta"):
    model = LlamaForCausalLM(config)
trace = run(model, Inputs((torch.zeros(2, 512, dtype=torch.long, device="meta"),)))
assert sum(p.numel() for p in model.parameters()) > 1e9 and not trace.unused
print(peak() - before)
"""


@pytest.mark.slow
def test_a_billion_parameters_take_no_memory():
    pytest.importorskip("transformers", reason="transformers is not installed")
    done = subprocess.run([sys.executable, "-c", BILLION], check=True, capture_output=True, text=True)
    assert float(done.stdout.split()[-1]) < 300  # MiB; the weights alone would take 4400


# What a visitor is shown, and may answer


class Visitor:
    def __init__(self, laws=None, factor=None):
        self.laws, self.factor, self.seen = laws or {}, factor, []

    def before(self, op, moment):
        self.seen.append((op.kind, moment(0)))
        return {use.path: self.laws[use.path] for use in op.uses if use.path in self.laws}

    def after(self, op, moment):
        self.seen.append((op.kind, moment(), op.shape))
        return self.factor


def test_a_visitor_sees_moments_and_scales_the_outputs():
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU())
    visitor = Visitor(factor=3.0)
    run(model, Inputs((X,)), visitor)
    y = F.linear(X, model[0].weight.detach())
    wanted = [X, y, 3 * y, (3 * y).relu()]
    assert [seen[1] for seen in visitor.seen] == [pytest.approx(float(t.square().mean()), rel=1e-5) for t in wanted]
    assert [seen[2] for seen in visitor.seen[1::2]] == [(4, 6), (4, 6)]


def test_a_visitor_replaces_weights_for_the_run_alone():
    model = nn.Linear(6, 5)
    before = state(model)
    visitor = Visitor({"weight": Zeros(), "bias": Normal(std=2.0)})
    run(model, Inputs((X,)), visitor)
    rows = visitor.seen[1][1]
    assert state(model) == before
    assert 0.5 < rows < 12  # the mean of five squares of std 2
    again = Visitor({"weight": Zeros(), "bias": Normal(std=2.0)})
    run(model, Inputs((X,)), again)
    assert again.seen == visitor.seen


def test_moments_stand_in_the_order_of_the_inputs():
    seen = []

    class First(Visitor):
        def before(self, op, moment):
            seen.append((op.kind, op.inputs, moment(0)))
            return {}

    run(Wrapped(lambda m, x: 100 * torch.ones(6) * x), Inputs((X,)), First())
    assert seen == [("mul", (-1,), pytest.approx(second_moment(X)))]


def test_elementwise_ops_can_be_replayed():
    trace = traced(Wrapped(lambda m, x: F.elu(x, 0.5) * torch.sigmoid(x)), X)
    z = np.linspace(-1, 1, 5)
    assert np.allclose(trace.ops[0].replay(z), np.where(z > 0, z, 0.5 * np.expm1(z)))
    assert np.allclose(trace.ops[2].replay(z, z), z * z)
    assert traced(nn.Linear(6, 6), X).ops[0].replay is None


# What cannot be run


def test_not_a_module():
    for thing in (None, 3, {"weight": X}, nn.Linear):
        with pytest.raises(TypeError, match=r"expected a torch.nn.Module"):
            traced(thing, X)


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_torchscript_is_named():
    model = nn.Sequential(nn.ReLU(), nn.Sequential(torch.jit.script(nn.Linear(6, 6))))
    with pytest.raises(TypeError, match=r"module '1\.0' is TorchScript"):
        traced(model, X)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_lazy_module_is_named_until_it_has_run():
    model = nn.Sequential(nn.ReLU(), nn.LazyLinear(3))
    with pytest.raises(TypeError, match=r"parameter '1\.weight' has no shape yet"):
        traced(model, X)
    with pytest.raises(TypeError, match="no shape yet"):
        parameters(model)
    model(X)
    assert kinds(traced(model, X)) == ["activation", "linear"]


def test_an_error_names_the_module_and_the_last_op():
    model = nn.Sequential(OrderedDict(body=nn.Sequential(nn.Linear(6, 5), nn.ReLU()), head=nn.Linear(4, 2)))
    with pytest.raises(ModelError, match=r"RuntimeError in module 'head', last op torch.nn.functional.linear: mat1"):
        traced(model, X)
    with pytest.raises(ModelError, match=r"TypeError in module '\(the model itself\)', last op none"):
        traced(nn.Identity())


def test_data_parallel_is_looked_through():
    trace = traced(nn.DataParallel(nn.Linear(6, 5)), X)
    assert list(trace.uses) == ["module.weight", "module.bias"]
    assert not trace.unused


def test_sparse_parameters_are_seen():
    model = Wrapped(lambda m, x: torch.sparse.mm(m.w, x.T))
    model.w = nn.Parameter(normal(5, 6).to_sparse())
    ((op, use),) = traced(model, X).uses["w"]
    assert (op.kind, use.role, use.layout.axes) == ("linear", "weight", ("out", "in"))


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions")
def test_quantized_parameters_are_seen():
    w = torch.quantize_per_tensor(normal(5, 6), 0.1, 0, torch.qint8)
    model = Wrapped(lambda m, x: F.linear(x, m.w.dequantize()))
    model.w = nn.Parameter(w, requires_grad=False)
    ((op, use),) = traced(model, X).uses["w"]
    assert (op.kind, use.role, use.steps) == ("linear", "weight", ("dequantize",))
    assert traced(model, X).by_path["w"].dtype == "qint8"


def test_modes_of_the_caller_are_kept():
    with torch.inference_mode():
        assert kinds(traced(nn.Linear(6, 5), normal(4, 6))) == ["linear"]
    with torch.device("meta"):
        assert kinds(traced(nn.Linear(6, 5, device="cpu"), X)) == ["linear"]
    with torch.autocast("cpu", torch.bfloat16):
        (op, use), *_ = traced(nn.Linear(6, 5), X).uses["weight"]
    assert (op.kind, use.layout.axes) == ("linear", ("out", "in"))


def test_an_op_says_in_which_shape_it_reads_each_of_its_inputs():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.ones(1, 1, 6))
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            joined = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
            return self.head(joined[:, 0]) + torch.ones(2)

    trace = run(Model(), Inputs((torch.ones(4, 5, 6),)))
    shapes = {op.kind: (op.reads, op.shape) for op in trace.ops}
    assert shapes["concat"] == (((4, 1, 6), (4, 5, 6)), (4, 6, 6))
    assert shapes["linear"] == (((4, 6),), (4, 2))  # one of six places
    assert all(len(op.reads) == len(op.inputs) for op in trace.ops)
