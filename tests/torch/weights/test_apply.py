"""`apply`: the plan's numbers in the model, and nothing else; or an error, and nothing at all."""

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

import fanwise as fw  # noqa: E402
import fanwise.torch as fwt  # noqa: E402
from fanwise import Key, Layout  # noqa: E402
from fanwise.laws.composite import ICNR, Blocks  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402
from fanwise.plan.row import Row  # noqa: E402
from fanwise.torch.weights.tensors import array_of  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import made, normal  # noqa: E402

ZOO = models("torch", "structure")

SEED = 3
OUT_IN = Layout.dense("out in")
KERNEL = Layout.conv("out in kernel kernel")


def row(path, tensor, law, layout=None, **options):
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Row(path, tuple(tensor.shape), dtype, law, layout, "weight", "linear", "test", **options)


HALF = fw.Normal(0.5)


def plan_of(model, law=HALF, **layouts):
    """The same law for every parameter."""
    return Plan([row(path, tensor, law, layouts.get(path)) for path, tensor in model.named_parameters()])


def held(**tensors):
    """A module with these parameters."""
    model = nn.Module()
    for name, tensor in tensors.items():
        parameter = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, tensor.is_floating_point())
        model.register_parameter(name, parameter)
    return model


def net(**options):
    return nn.Sequential(nn.Linear(20, 30, **options), nn.ReLU(), nn.Linear(30, 10, **options))


def state(model):
    """A hash of every dense parameter and buffer, its version, flags and identity."""
    found = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        version = None if tensor.is_inference() else tensor._version
        found.update(f"{name} {id(tensor)} {version} {tensor.requires_grad}".encode())
        if tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta:
            found.update(
                np.ascontiguousarray(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()).tobytes()
            )
    return found.hexdigest()


def expected(found, dtype="float32"):
    """The NumPy call that the row stands for."""
    key = Key(SEED).child(found.path)
    return found.law(found.shape or (1,), key=key, layout=found.layout, dtype=dtype).reshape(found.shape)


every = pytest.mark.parametrize("specimen", ZOO.values(), ids=ZOO)


@every
def test_every_row_is_the_numpy_call_and_all_else_is_as_before(specimen):
    model = made(specimen)
    args, kwargs = specimen.batch()
    plan = fwt.plan(model, fwt.Inputs(args, kwargs))
    before = {path: tensor.detach().clone() for path, tensor in model.state_dict(keep_vars=True).items()}
    flags = {path: (tensor.requires_grad, tensor.grad_fn) for path, tensor in model.named_parameters()}
    versions = {path: tensor._version for path, tensor in model.named_parameters()}
    random = torch.get_rng_state()
    assert fwt.apply(model, plan, SEED) is model
    assert torch.equal(torch.get_rng_state(), random)
    tensors = dict(model.named_parameters(remove_duplicate=False))
    drawn = {name for found in plan if found.law is not None for name in found.names}
    for found in plan:
        tensor = tensors[found.path]
        assert found.path in flags
        assert flags[found.path] == (tensor.requires_grad, tensor.grad_fn)
        if found.law is None:
            assert tensor._version == versions[found.path]
        elif tensor.is_complex():
            assert np.array_equal(array_of(tensor).real, expected(replace_scale(found, 0.5)))
        else:
            assert array_of(tensor).tobytes() == expected(found).tobytes(), found.path
            assert tensor._version > versions[found.path]
    kept = {path: tensor for path, tensor in model.state_dict(keep_vars=True).items() if path not in drawn}
    assert all(same_bits(tensor, before[path]) for path, tensor in kept.items() if not is_estimate(path))
    assert any(found.law is not None for found in plan)


def replace_scale(found, factor):
    return replace(found, law=replace(found.law, scale=found.law.scale * factor))


def same_bits(one, other):
    return array_of(one).tobytes() == array_of(other).tobytes()


def is_estimate(path):
    """Singular vectors that a spectral norm keeps."""
    return path.endswith(("._u", "._v", "weight_u", "weight_v"))


def test_tied_storage_is_drawn_once_by_its_path():
    model = nn.ModuleDict({"table": nn.Embedding(50, 8), "head": nn.Linear(8, 50, bias=False)})
    model["head"].weight = model["table"].weight
    version = model["head"].weight._version
    plan = Plan([row("table.weight", model["table"].weight, fw.Normal(1.0), aliases=("head.weight",))])
    fwt.apply(model, plan, SEED)
    assert model["head"].weight is model["table"].weight
    assert model["head"].weight._version == version + 1
    assert same_bits(
        model["head"].weight, torch.from_numpy(fw.Normal(1.0)((50, 8), key=Key(SEED).child("table.weight")))
    )


def test_another_stream_and_a_key_with_a_path():
    model = held(w=torch.zeros(4, 5))
    fwt.apply(model, Plan([row("w", model.w, fw.Normal(1.0), stream="elsewhere")]), Key(SEED).child("part"))
    assert (array_of(model.w) == fw.Normal(1.0)((4, 5), key=Key(SEED).child("part.elsewhere"))).all()


@pytest.mark.parametrize(
    ("only", "changed"),
    [
        (None, {"0.weight", "0.bias", "2.weight", "2.bias"}),
        ("2.*", {"2.weight", "2.bias"}),
        ("0.bias", {"0.bias"}),
        (("*.weight", "2.*"), {"0.weight", "2.weight", "2.bias"}),
        ((), set()),
    ],
)
def test_only(only, changed):
    model = net()
    before = {path: tensor.detach().clone() for path, tensor in model.named_parameters()}
    fwt.apply(model, plan_of(model), SEED, only=only)
    assert {path for path, tensor in model.named_parameters() if not torch.equal(tensor, before[path])} == changed


def test_skip_loaded_takes_the_keys_of_a_checkpoint():
    model = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.Linear(30, 10))
    loaded = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30)).state_dict()
    model.load_state_dict(loaded, strict=False)
    fwt.apply(model, plan_of(model), SEED, skip_loaded=loaded.keys())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in loaded.items())
    assert (array_of(model[2].bias) == fw.Normal(0.5)((10,), key=Key(SEED).child("2.bias"))).all()


def test_skip_loaded_knows_tied_names():
    model = nn.ModuleDict({"a": nn.Linear(5, 5, bias=False), "b": nn.Linear(5, 5, bias=False)})
    model["b"].weight = model["a"].weight
    plan = Plan([row("a.weight", model["a"].weight, fw.Normal(1.0), aliases=("b.weight",))])
    before = state(model)
    fwt.apply(model, plan, SEED, skip_loaded="b.weight")
    assert state(model) == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"only": "hed.*"}, ValueError, "only = 'hed.*' matches no parameter: the nearest are"),
        ({"only": ["0.*", "5.*"]}, ValueError, "only = '5.*' matches no parameter"),
        ({"only": 3}, TypeError, "only = 3: expected names"),
        ({"only": [3]}, TypeError, "only = [3]: expected names"),
        ({"skip_loaded": ["module.0.weight", "module.0.bias"]}, ValueError, "skip_loaded: none of the 2 names"),
        ({"skip_loaded": None}, TypeError, "skip_loaded = None"),
    ],
)
def test_names_that_mean_nothing_are_refused(options, error, message):
    model = net()
    before = state(model)
    with pytest.raises(error, match=re.escape(message)):
        fwt.apply(model, plan_of(model), SEED, **options)
    assert state(model) == before


def test_a_plan_for_another_model_is_refused_with_all_that_differs():
    other = nn.Sequential(nn.Linear(20, 31), nn.ReLU(), nn.Linear(31, 10), nn.Linear(10, 4))
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10, bias=False))
    model.extra = nn.Parameter(torch.zeros(3))
    before = state(model)
    with pytest.raises(ValueError, match="the plan is for another model, differences: 7") as raised:
        fwt.apply(model, plan_of(other), SEED)
    lines = {line.strip() for line in str(raised.value).splitlines()[1:]}
    assert lines == {
        "extra: not in the plan",
        "0.weight: shape (30, 20) in the model, (31, 20) in the plan",
        "0.bias: shape (30,) in the model, (31,) in the plan",
        "2.weight: shape (10, 30) in the model, (10, 31) in the plan",
        "2.bias: not in the model",
        "3.weight: not in the model",
        "3.bias: not in the model",
    }
    assert state(model) == before


def test_all_of_many_differences_are_listed():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(40)))
    with pytest.raises(ValueError, match="differences: 81") as raised:
        fwt.apply(model, plan_of(held(w=torch.zeros(1))), SEED)
    assert "39.bias: not in the plan" in str(raised.value)


def test_other_ties_are_refused():
    tied = nn.ModuleDict({"a": nn.Linear(5, 5, bias=False), "b": nn.Linear(5, 5, bias=False)})
    apart = plan_of(tied)
    tied["b"].weight = tied["a"].weight
    with pytest.raises(ValueError, match="one parameter in the model, several in the plan"):
        fwt.apply(tied, apart, SEED)
    one = Plan([row("a.weight", tied["a"].weight, fw.Normal(1.0), aliases=("b.weight",))])
    tied["b"].weight = nn.Parameter(torch.zeros(5, 5))
    with pytest.raises(ValueError, match="one parameter in the plan, several in the model"):
        fwt.apply(tied, one, SEED)


@pytest.mark.parametrize("key", [None, "42", 1.5, True, np.float32(1), torch.Generator("cpu"), np.arange(2), [1]])
def test_wrong_kinds_of_keys_are_refused(key):
    model = net()
    before = state(model)
    with pytest.raises(TypeError, match="is not an integer"):
        fwt.apply(model, plan_of(model), key)
    assert state(model) == before


@pytest.mark.parametrize("seed", [-1, 2**128])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(ValueError, match="out of range"):
        fwt.apply(net(), plan_of(net()), seed)


def test_other_things_than_models_and_plans_are_refused():
    with pytest.raises(TypeError, match="model = list"):
        fwt.apply([], plan_of(net()), 0)
    with pytest.raises(TypeError, match="plan = dict: expected a fanwise Plan"):
        fwt.apply(net(), {}, 0)


class _Wrapper(torch.Tensor):
    """A tensor that keeps its elements elsewhere."""

    @staticmethod
    def __new__(cls, shape):
        return torch.Tensor._make_wrapper_subclass(cls, shape)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return cls(args[0].shape)
        raise NotImplementedError(str(func))


def overlapping():
    storage = torch.zeros(60)
    return {"bad": storage[:20].view(4, 5), "other": storage[15:35].view(4, 5)}


def sparse():
    return torch.zeros(4, 5).to_sparse()


def inference():
    with torch.inference_mode():
        return nn.Parameter(torch.zeros(4, 5))


BAD = {
    "meta": (
        lambda: torch.zeros(4, 5, device="meta"),
        ValueError,
        "on the meta device and has no memory: use materialize",
    ),
    "inference": (inference, ValueError, "was made in inference mode"),
    "expanded": (lambda: torch.zeros(1, 5).expand(4, 5), ValueError, "share memory (expanded or overlapping)"),
    "sparse": (sparse, TypeError, "has layout torch.sparse_coo"),
    "integers": (lambda: torch.zeros(4, 5, dtype=torch.int8), TypeError, "has dtype torch.int8"),
    "subclass": (lambda: _Wrapper((4, 5)), TypeError, "whose elements are kept elsewhere"),
    "conjugate": (lambda: torch.zeros(4, 5, dtype=torch.complex64).conj(), ValueError, "is a conjugate view"),
}


@pytest.mark.parametrize(("make", "error", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_parameter_that_cannot_be_filled_is_refused_and_no_other_changed(make, error, message, place):
    bad = make()
    bad = bad if isinstance(bad, nn.Parameter) else nn.Parameter(bad, requires_grad=False)
    good = {"good": torch.zeros(3, 3), "fine": torch.zeros(7)}
    model = held(**({"bad": bad} | good if place == "first" else good | {"bad": bad}))
    rows = [
        Row(path, tuple(t.shape), "float32", fw.Normal(1.0), None, "", "", "") for path, t in model.named_parameters()
    ]
    before = [(t.detach().clone(), t._version) for t in (model.good, model.fine)]
    with pytest.raises(error, match=re.escape(message)) as raised:
        fwt.apply(model, Plan(rows), SEED)
    assert "'bad'" in str(raised.value)
    for tensor, (values, version) in zip((model.good, model.fine), before, strict=True):
        assert torch.equal(tensor, values)
        assert tensor._version == version
    fwt.apply(model, Plan(rows).edit("bad", None), SEED)
    assert model.good.any()


@pytest.mark.filterwarnings("ignore:.*not writable:UserWarning")
def test_read_only_memory_is_refused(tmp_path):
    (tmp_path / "weights").write_bytes(bytes(80))
    model = held(good=torch.zeros(3), bad=torch.from_numpy(np.memmap(tmp_path / "weights", np.float32, "r")))
    with pytest.raises(ValueError, match="parameter 'bad' lies in memory that is mapped read-only"):
        fwt.apply(model, plan_of(model), SEED)
    assert not model.good.any()


@pytest.mark.filterwarnings("ignore:.*quantize:DeprecationWarning", "ignore:.*quantiz.*:UserWarning")
def test_quantized_parameters_are_refused():
    bad = torch.quantize_per_tensor(torch.zeros(4, 5), 0.1, 0, torch.qint8)
    model = held(good=torch.zeros(3))
    model.register_parameter("bad", nn.Parameter(bad, requires_grad=False))
    rows = [row("good", model.good, fw.Normal(1.0)), Row("bad", (4, 5), "qint8", fw.Normal(1.0), None, "", "", "")]
    with pytest.raises(TypeError, match=r"parameter 'bad' has dtype torch\.qint8, which is quantized"):
        fwt.apply(model, Plan(rows), SEED)
    assert not model.good.any()


def test_parameters_that_overlap_are_refused_and_neighbours_are_not():
    model = held(**overlapping())
    with pytest.raises(ValueError, match="parameters 'bad' and 'other' share memory without being the same tensor"):
        fwt.apply(model, plan_of(model), SEED)
    assert not model.bad.any()
    fwt.apply(model, plan_of(model).edit("other", None), SEED)
    square = torch.zeros(6, 6)
    with pytest.raises(ValueError, match="share memory"):
        fwt.apply(held(a=square, b=square.T), plan_of(held(a=square, b=square.T)), SEED)
    columns = torch.zeros(8, 10)
    fused = held(a=columns[:, :4], b=columns[:, 4:])
    fwt.apply(fused, plan_of(fused), SEED)
    assert (array_of(fused.b) == fw.Normal(0.5)((8, 6), key=Key(SEED).child("b"))).all()


HALVES = Blocks((fw.Normal(1.0), fw.Normal(1e6)), axis=0)
RANGES = {
    "float16 std": (torch.float16, fw.Normal(70000.0), None),
    "float16 small std": (torch.float16, fw.Normal(1e-9), None),
    "float16 second block": (torch.float16, HALVES, OUT_IN),
    "float16 block of blocks": (torch.float16, Blocks((fw.Normal(1.0), HALVES), axis=1), OUT_IN),
    "float16 sub-pixels": (torch.float16, ICNR(fw.Normal(1e6), 2), OUT_IN),
    "float16 fused fans": (torch.float16, fw.VarianceScaling(1e10), OUT_IN.fuse(0, (1, 3))),
    "float16 orthogonal": (torch.float16, fw.Orthogonal(1e6), OUT_IN),
    "float16 constant": (torch.float16, fw.Constant(1e6), None),
    "float32 constant": (torch.float32, fw.Constant(1e40), None),
    "bfloat16 std": (torch.bfloat16, fw.Normal(1e39), None),
    "float8 std": (torch.float8_e4m3fn, fw.Normal(448.0), None),
    "float8 small": (torch.float8_e4m3fn, fw.Normal(1e-6), None),
    "complex64 std": (torch.complex64, fw.Normal(1e39), None),
    "complex orthogonal": (torch.complex64, fw.Orthogonal(), OUT_IN),
}


@pytest.mark.parametrize(("dtype", "law", "layout"), RANGES.values(), ids=RANGES)
def test_numbers_that_a_dtype_cannot_hold_are_refused_before_the_first_write(dtype, law, layout):
    model = held(good=torch.zeros(3), bad=torch.zeros(4, 6).to(dtype))
    before = state(model)
    with pytest.raises(ValueError, match="parameter 'bad'"):
        fwt.apply(model, Plan([row("good", model.good, fw.Normal(1.0)), row("bad", model.bad, law, layout)]), SEED)
    assert state(model) == before


def test_a_factor_counts_for_the_range():
    model = held(good=torch.zeros(3), bad=torch.zeros(4, 6, dtype=torch.float16))
    rows = [row("good", model.good, fw.Normal(1.0)), row("bad", model.bad, fw.Normal(100.0), factor=1000.0)]
    with pytest.raises(ValueError, match=r"more than torch\.float16 can hold"):
        fwt.apply(model, Plan(rows), SEED)
    assert not model.good.any()


NUMPY = {torch.float64: "float64", torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


@pytest.mark.parametrize("dtype", NUMPY, ids=str)
def test_every_dtype_is_drawn_by_the_law_in_it(dtype):
    model = held(w=torch.zeros(7, 9, dtype=dtype))
    fwt.apply(model, plan_of(model), SEED)
    assert array_of(model.w).tobytes() == fw.Normal(0.5)((7, 9), key=Key(SEED).child("w"), dtype=NUMPY[dtype]).tobytes()


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_float8_parameters_are_float32_rounded(dtype, factor):
    model = held(w=torch.zeros(50, 60).to(dtype))
    fwt.apply(model, Plan([row("w", model.w, fw.Normal(0.5), factor=factor)]), SEED)
    drawn = fw.Normal(0.5)((50, 60), key=Key(SEED).child("w")) * np.float32(factor)
    assert torch.equal(model.w.float(), torch.from_numpy(drawn).to(dtype).float())


@pytest.mark.parametrize("dtype", NUMPY, ids=str)
@pytest.mark.parametrize("law", [fw.Normal(0.5), fw.Orthogonal(), Blocks((fw.Normal(1.0), fw.zeros), axis=0)])
def test_a_factor_multiplies_before_the_one_rounding(dtype, law):
    model = held(w=torch.zeros(8, 9, dtype=dtype))
    fwt.apply(model, Plan([row("w", model.w, law, OUT_IN, factor=0.7)]), SEED)
    working = np.float64 if dtype == torch.float64 else np.float32
    drawn = law((8, 9), key=Key(SEED).child("w"), layout=OUT_IN, dtype=working) * working(0.7)
    assert torch.equal(model.w, torch.from_numpy(drawn).to(dtype))


def test_complex_parameters_have_the_laws_second_moment():
    model = held(w=torch.zeros(300, 400, dtype=torch.complex64), scale=torch.zeros(5, dtype=torch.complex64))
    fwt.apply(model, Plan([row("w", model.w, fw.he_normal, OUT_IN), row("scale", model.scale, fw.ones)]), SEED)
    squares = model.w.detach().abs().square() * 200
    assert float(squares.mean()) == pytest.approx(1, abs=5 / 120_000**0.5)  # |z|^2 is exponential: its std is 1
    parts = torch.view_as_real(model.w.detach()).flatten(0, 1).T
    assert abs(float(torch.corrcoef(parts)[0, 1])) < 5 / 120_000**0.5
    real = fw.VarianceScaling(1.0)((300, 400), key=Key(SEED).child("w"), layout=OUT_IN)
    assert (array_of(model.w).real == real).all()
    assert torch.equal(model.scale.detach(), torch.ones(5, dtype=torch.complex64))


def test_memory_formats_and_precisions_have_the_same_logical_values():
    model = nn.Sequential(nn.Conv2d(6, 8, 3), nn.Conv2d(8, 8, 3, groups=2))
    plan = fwt.plan(model, "2,6,9,9")
    fwt.apply(model, plan, SEED)
    wanted = {path: tensor.detach().clone() for path, tensor in model.named_parameters()}
    last = fwt.apply(
        nn.Sequential(nn.Conv2d(6, 8, 3), nn.Conv2d(8, 8, 3, groups=2)).to(memory_format=torch.channels_last),
        plan,
        SEED,
    )
    assert last[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(tensor, wanted[path]) for path, tensor in last.named_parameters())
    short = fwt.apply(nn.Sequential(nn.Conv2d(6, 8, 3), nn.Conv2d(8, 8, 3, groups=2)).bfloat16(), plan, SEED)
    assert all(torch.equal(tensor, wanted[path].bfloat16()) for path, tensor in short.named_parameters())
    with torch.device("meta"):
        meta = nn.Sequential(nn.Conv2d(6, 8, 3), nn.Conv2d(8, 8, 3, groups=2))
    assert not fwt.materialize(meta, plan, SEED)
    assert all(torch.equal(tensor, wanted[path]) for path, tensor in meta.named_parameters())


def test_the_order_of_construction_changes_nothing():
    parts = {"a": lambda: nn.Linear(5, 6), "b": lambda: nn.Conv1d(6, 7, 3), "c": lambda: nn.Embedding(9, 5)}
    models = [nn.ModuleDict({name: parts[name]() for name in order}) for order in ("abc", "cba")]
    for model in models:
        fwt.apply(model, plan_of(models[0]), SEED)
    assert all(torch.equal(models[0].state_dict()[name], value) for name, value in models[1].state_dict().items())


CANONICAL = {
    "linear": ((30, 20), OUT_IN, (1, 0), Layout.dense("in out"), fw.he_normal),
    "conv": ((8, 6, 3, 5), KERNEL, (2, 3, 1, 0), Layout.conv(), fw.VarianceScaling(2.0, "fan_out")),
    "orthogonal": ((30, 20), OUT_IN, (1, 0), Layout.dense("in out"), fw.orthogonal),
    "stack": ((4, 30, 20), Layout.dense("stack out in"), (0, 2, 1), Layout.dense("stack in out"), fw.lecun_normal),
}


@pytest.mark.parametrize(("shape", "layout", "axes", "port", "law"), CANONICAL.values(), ids=CANONICAL)
def test_canonical_order_is_that_of_a_port(shape, layout, axes, port, law):
    """A Linear (out, in) and an array (in, out) hold the same numbers, transposed; in storage order they do not."""
    model = held(w=torch.zeros(shape))
    fwt.apply(model, Plan([row("w", model.w, law, layout, order="canonical")]), SEED)
    there = law(tuple(shape[axis] for axis in axes), key=Key(SEED).child("w"), layout=port)
    assert (array_of(model.w).transpose(axes) == there).all()
    fwt.apply(model, Plan([row("w", model.w, law, layout)]), SEED)
    assert not (array_of(model.w).transpose(axes) == there).all()


def test_canonical_order_moves_blocks_along():
    law = Blocks((fw.Normal(1.0), fw.zeros), axis=0)
    model = held(w=torch.zeros(6, 5))
    fwt.apply(model, Plan([row("w", model.w, law, OUT_IN, order="canonical")]), SEED)
    there = Blocks((fw.Normal(1.0), fw.zeros), axis=1)((5, 6), key=Key(SEED).child("w"))
    assert (there == array_of(model.w).T).all()
    assert not model.w[3:].any()


def test_canonical_order_of_complex_parameters():
    model = held(w=torch.zeros(6, 5, dtype=torch.complex64))
    fwt.apply(model, Plan([row("w", model.w, fw.Normal(1.0), OUT_IN, order="canonical")]), SEED)
    there = fw.Normal(0.5**0.5)((5, 6), key=Key(SEED).child("w"))
    assert (there == array_of(model.w).real.T).all()


@pytest.mark.parametrize("old", [False, True], ids=["parametrization", "hook"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore:.*spectral_norm:FutureWarning")
def test_spectral_norms_see_the_new_weights(old, training):
    wrap = nn.utils.spectral_norm if old else parametrizations.spectral_norm
    model = nn.Sequential(wrap(nn.Linear(200, 300)), nn.ReLU(), wrap(nn.Conv2d(3, 8, 3))).train(training)
    names = [name for name, tensor in model.named_parameters() if tensor.dim() > 1]
    random = torch.get_rng_state()
    fwt.apply(model, plan_of(model, fw.Normal(3.0)), SEED)
    assert torch.equal(torch.get_rng_state(), random)
    assert len(names) == 2
    assert all(module.training == training for module in model.modules())
    for weight in (model.eval()[0].weight, model[2].weight.flatten(1)):
        assert float(torch.linalg.matrix_norm(weight.detach(), 2)) == pytest.approx(1, abs=0.02)


def test_a_spectral_norm_that_was_not_drawn_keeps_its_vectors():
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(9, 9)), nn.Linear(9, 9))
    before = {name: value.clone() for name, value in model[0].state_dict().items()}
    fwt.apply(model, plan_of(model), SEED, only="1.*")
    assert all(torch.equal(value, before[name]) for name, value in model[0].state_dict().items())


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, nn.utils.weight_norm], ids=["parametrization", "hook"])
def test_rows_of_a_weight_norm_have_the_planned_length(wrap):
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), wrap(nn.Linear(64, 400)), nn.ReLU(), nn.Linear(400, 10))
    plan = fwt.plan(model, fwt.Inputs((normal(4000, 64),)))
    fwt.apply(model, plan, SEED)
    model.requires_grad_(False)
    fed = model[1](model[0](normal(4000, 64)))
    lengths = model[2].weight.detach().norm(dim=1)
    assert float(lengths.std() / lengths.mean()) < 1e-5
    assert float(lengths[0]) == pytest.approx(float(1 / fed.square().mean().sqrt()), rel=0.05)
    assert float(model[2](fed).square().mean()) == pytest.approx(1, abs=0.05 + 5 * (2 / 400) ** 0.5)


def test_a_model_that_requires_grad_trains_on():
    model = net()
    fwt.apply(model, plan_of(model), SEED)
    model(normal(4, 20)).sum().backward()
    assert all(tensor.grad is not None for tensor in model.parameters())
    loss = model(normal(4, 20)).sum()
    fwt.apply(model, plan_of(model), SEED)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_nan_never_reaches_a_plan():
    with pytest.raises(ValueError, match="std = nan"):
        fw.Normal(float("nan"))
