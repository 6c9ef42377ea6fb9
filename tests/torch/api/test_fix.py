"""`fix`: what the safe fixes of a report would draw anew, and the code that does the same without fanwise."""

import math
import re
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

import fanwise as fw  # noqa: E402
import fanwise.torch as fwt  # noqa: E402
from fanwise import Layout  # noqa: E402
from fanwise.check.findings import Finding, Fix  # noqa: E402
from fanwise.check.report import Report  # noqa: E402
from fanwise.laws.composite import ICNR  # noqa: E402
from fanwise.laws.resolve import resolved_parts  # noqa: E402
from fanwise.plan.codegen import pasted  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402
from fanwise.plan.row import Row, holds  # noqa: E402
from fanwise.torch.api.fix import fix  # noqa: E402
from fanwise.torch.weights.tensors import array_of  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import made  # noqa: E402

ZOO = models("torch", "structure")


def report(*findings):
    return Report(findings, (), ())


def finding(*paths, safe=True, text="He normal", follows=(), design=False):
    fixed = Fix(text, safe, paths)
    return Finding("FWD001", "warning", "message", fix=fixed, follows=follows, design=design)


def net():
    return nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))


def state(model):
    return {path: tensor.detach().clone() for path, tensor in model.state_dict().items()}


def run_code(code, model):
    torch.manual_seed(0)
    exec(compile(code, "pasted", "exec"), {"model": model})


def assert_close(values, std, mean=0.0):
    """Std and mean within 5 standard errors; exact where all values are equal. Code has six digits."""
    values = torch.view_as_real(values) * math.sqrt(2) if values.is_complex() else values
    found, count = values.detach().double(), values.numel()
    if std == 0:
        assert torch.allclose(found, torch.tensor(mean, dtype=torch.float64), rtol=1e-5)
        return
    assert abs(float(found.std(correction=0)) / std - 1) < 5 / math.sqrt(2 * count) + 1 / count + 1e-5
    assert abs(float(found.mean()) - mean) < 5 * std / math.sqrt(count)


def assert_follows(tensor, row):
    """Every map of a parameter has the std that its law says, and orthogonal ones are orthogonal."""
    assert not holds(row.law, ICNR)
    for part in resolved_parts(row.law, row.shape, row.layout):
        promised = part.law.moments(part.box.shape, layout=part.layout)
        values = tensor[part.box.slices()].detach()
        if holds(part.law, fw.Orthogonal):
            assert_orthogonal(values, promised.high)
        else:
            assert_close(values, promised.std, promised.mean)


def assert_orthogonal(values, singular):
    matrix = values.double().flatten(1)
    found = torch.linalg.svdvals(matrix)
    assert torch.allclose(found, torch.full_like(found, singular), rtol=1e-4)


@pytest.mark.parametrize("specimen", ZOO.values(), ids=ZOO)
def test_the_code_draws_every_parameter_of_the_zoo_by_its_law(specimen):
    model = made(specimen)
    args, kwargs = specimen.batch()
    plan = fwt.plan(model, fwt.Inputs(args, kwargs))
    rows = [row for row in plan if row.law is not None]
    before = state(model)
    code = pasted(rows, recipe=plan.recipe)
    run_code(code, model)
    held = dict(model.named_parameters(remove_duplicate=False))
    lacking = set(re.findall(r'# weights\["(.*?)"\]: .* has no call', code))
    assert lacking == set()
    for row in rows:
        assert_follows(held[row.path], row)
    drawn = {name for row in rows for name in row.names}
    rest = {path: tensor for path, tensor in state(model).items() if path not in drawn}
    assert all(array_of(tensor).tobytes() == array_of(before[path]).tobytes() for path, tensor in rest.items())
    assert "fanwise" not in code.replace("by fanwise", "", 1)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_wrong_std_is_noticed(factor):
    model = net()
    plan = fwt.plan(model, "64,784")
    run_code(pasted([plan["0.weight"]]), model)
    assert_follows(model[0].weight, plan["0.weight"])
    with torch.no_grad():
        model[0].weight.mul_(factor)
    with pytest.raises(AssertionError):
        assert_follows(model[0].weight, plan["0.weight"])


LAWS = {
    "uniform": (fw.Uniform(0.5), (64, 64), "out in", "init.uniform_("),
    "glorot": (fw.glorot_uniform, (64, 32), "out in", "init.uniform_("),
    "truncated": (fw.TruncatedNormal(0.3), (64, 64), "out in", "init.trunc_normal_("),
    "one-sided": (fw.TruncatedNormal(0.3, 0.0, math.inf), (64, 64), "out in", 'b=float("inf")'),
    "constant": (fw.Constant(0.25), (8,), None, "init.constant_("),
    "orthogonal": (fw.Orthogonal(2.0), (32, 64), "out in", "init.orthogonal_("),
    "orthogonal, in out": (fw.Orthogonal(2.0), (64, 32), "in out", "init.orthogonal_("),
    "orthogonal kernel": (fw.Orthogonal(), (16, 8, 3, 3), "out in kernel kernel", "init.orthogonal_("),
}


@pytest.mark.parametrize(("law", "shape", "axes", "call"), LAWS.values(), ids=LAWS)
def test_the_code_of_single_laws(law, shape, axes, call):
    layout = None if axes is None else Layout(tuple(axes.split()))
    model = nn.Module()
    model.w = nn.Parameter(torch.full(shape, math.nan))
    row = Row("w", shape, "float32", law, layout, "weight", "linear", "why")
    code = pasted([row])
    assert call in code
    run_code(code, model)
    assert_follows(model.w, row)
    run_code(pasted([replace(row, factor=1.0 if holds(law, fw.Orthogonal) else 3.0)]), model)
    if not holds(law, fw.Orthogonal):
        promised = law.moments(shape, layout=layout)
        assert_close(model.w, 3 * promised.std, 3 * promised.mean)


def test_groups_and_stacks_are_orthogonal_one_by_one():
    model = nn.Module()
    model.g, model.s = nn.Parameter(torch.zeros(16, 4, 3)), nn.Parameter(torch.zeros(5, 6, 4))
    rows = [
        Row("g", (16, 4, 3), "float32", fw.orthogonal, Layout.conv("out in kernel", groups=4), "weight", "conv", ""),
        Row("s", (5, 6, 4), "float32", fw.orthogonal, Layout.dense("stack in out"), "weight", "linear", ""),
    ]
    run_code(pasted(rows), model)
    for part in model.g.chunk(4):
        assert_orthogonal(part, 1.0)
    for part in model.s:
        assert_orthogonal(part, 1.0)


def test_what_torch_has_no_call_for_is_told():
    layout = Layout.conv("out in kernel")
    row = Row("w", (8, 4, 3), "float32", fw.delta_orthogonal, layout, "weight", "conv", "")
    code = pasted([row])
    assert '# weights["w"]: delta orthogonal has no call in torch.nn.init, fanwise.torch.apply draws it' in code
    model = nn.Module()
    model.w = nn.Parameter(torch.zeros(8, 4, 3))
    run_code(code, model)
    assert not model.w.any()


def test_blocks_of_other_fans_are_slices():
    layout = Layout.dense("out in").fuse(0, (64, 16, 16))
    row = Row("w", (96, 64), "float32", fw.glorot_normal, layout, "weight", "linear", "each by its own fans")
    code = pasted([row])
    assert 'weights["w"][0:64], std=0.125)' in code
    assert 'weights["w"][80:96], std=0.158114)' in code
    model = nn.Module()
    model.w = nn.Parameter(torch.zeros(96, 64))
    run_code(code, model)
    assert_follows(model.w, row)


def test_repeated_layers_are_a_loop():
    layout = Layout.dense("out in")
    rows = [
        Row(f"h.{i}.fc.weight", (8, 4), "float32", fw.he_normal, layout, "weight", "linear", "He.") for i in range(12)
    ]
    code = pasted(rows)
    assert 'for name in [f"h.{i}.fc.weight" for i in range(12)]:' in code
    assert code.count("init.") == 1
    odd = [replace(row, path=f'h.{3 * i + 1}.{{x}}.w"') for i, row in enumerate(rows)]
    model = nn.Module()
    for row in odd:
        holder = nn.Module()
        inner = nn.Module()
        inner.register_parameter('w"', nn.Parameter(torch.zeros(8, 4)))
        holder.add_module("{x}", inner)
        if not hasattr(model, "h"):
            model.h = nn.Module()
        model.h.add_module(row.path.split(".")[1], holder)
    run_code(pasted(odd), model)
    assert all(tensor.all() for tensor in model.parameters())


def test_no_rows_no_code():
    assert pasted([]) == ""
    assert pasted([Row("w", (3,), "float32", None, None, "unused", "", "")]) == ""


def test_only_what_safe_fixes_name_changes():
    model = net()
    inner = finding("2.weight", "2.bias")
    by_design = finding("4.weight", design=True)
    unsafe = finding("4.weight", safe=False, text="add a norm")
    found = report(finding("0.weight", follows=(inner,)), by_design, unsafe)
    before = state(model)
    mending = fix(model, found, "64,784")
    assert [row.path for row in mending.rows] == ["0.weight", "2.weight", "2.bias"]
    assert mending.unsafe == ("add a norm",)
    assert all(torch.equal(value, before[path]) for path, value in state(model).items())
    others = [path for path in before if path not in ("0.weight", "2.weight", "2.bias")]
    beside = fwt.plan(model, "64,784", keep=others)
    assert all(mending.plan[row.path].law == beside[row.path].law for row in mending.rows)
    first = mending.rows[0]
    assert first.found == "U(±sqrt(1/fan_in)), torch default"
    assert first.before == pytest.approx(1 / math.sqrt(3 * 784), rel=0.02)
    assert first.after == pytest.approx(784**-0.5, rel=1e-5)


@pytest.mark.parametrize("way", ["apply", "plan", "code"])
def test_the_ways_to_do_it_touch_the_same(way):
    model = net()
    found = report(finding("0.weight", "2.weight"))
    before = state(model)
    mending = fix(model, found, "64,784", apply=way == "apply", key=5)
    if way == "plan":
        fwt.apply(model, mending.plan, 5)
    if way == "code":
        run_code(mending.code, model)
    changed = {path for path, value in state(model).items() if not torch.equal(value, before[path])}
    assert changed == {"0.weight", "2.weight"}
    for row in mending.rows:
        assert_follows(dict(model.named_parameters())[row.path], mending.plan[row.path])
    if way != "code":
        drawn = mending.plan["0.weight"].law((100, 784), key=fw.Key(5).child("0.weight"), layout=Layout.dense("out in"))
        assert (array_of(model[0].weight) == drawn).all()


def test_a_target_is_no_input():
    batch = (torch.ones(4, 784), torch.zeros(4, dtype=torch.int64))
    with_loss = fix(net(), report(finding("0.weight")), batch, loss="cross_entropy")
    without = fix(net(), report(finding("0.weight")), batch)
    assert [row.law for row in with_loss.rows] == [row.law for row in without.rows]


def test_aliases_are_the_same_parameter():
    model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 8), nn.Linear(8, 50, bias=False))
    model[2].weight = model[0].weight
    mending = fix(model, report(finding("2.weight")), "2,3:int64[0,50)")
    assert [row.path for row in mending.rows] == ["0.weight"]


def test_nothing_to_mend_runs_nothing():
    mending = fix(nn.Linear(3, 3), report(Finding("X", "error", "m"), finding(safe=True, text="lower it")), "no spec")
    assert not mending
    assert (mending.code, mending.rows, len(mending.plan)) == ("", (), 0)
    assert mending.unsafe == ("lower it",)
    assert [section.title for section in mending.table.sections] == ["For you to decide"]
    assert not fix(nn.Linear(3, 3), report())
    assert "no finding has a fix" in mending_text(fix(nn.Linear(3, 3), report()))


def mending_text(mending):
    return str(mending.table)


def test_the_table_folds_and_gives_reasons_once():
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(6)))
    paths = [f"{i}.weight" for i in range(6)]
    with torch.no_grad():
        for layer in model:
            layer.weight.fill_(0.5)
    table = fix(model, report(finding(*paths)), "512,64").table
    what, why, _after = table.sections
    lines = what.blocks[0].rows
    assert lines[0].cells[1] == "constant 0.5"
    assert lines[0].cells[3] == "0"
    assert len(why.blocks) < 6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((net(), [finding("0.weight")], "64,784"), TypeError, "report = list: expected what check returns"),
        ((net(), report(finding("1.weight")), "64,784"), ValueError, "the report is on another model: no parameter"),
        ((3, report(finding("1.weight")), "64,784"), TypeError, "expected a torch.nn.Module"),
    ],
)
def test_what_cannot_be_mended(arguments, error, message):
    with pytest.raises(error, match=message):
        fix(*arguments)


def test_a_fix_value_is_a_plan():
    assert isinstance(fix(net(), report(finding("0.weight")), "64,784").plan, Plan)
