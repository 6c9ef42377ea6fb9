import io
import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fanwise import (
    ICNR,
    INITIALIZERS,
    Blocks,
    Constant,
    DeltaOrthogonal,
    Identity,
    Layout,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    ones,
    zeros,
)
from fanwise.plan.change import Change
from fanwise.plan.folding import braces, fold, lattice
from fanwise.plan.formula import formula, short
from fanwise.plan.plan import Plan
from fanwise.plan.render.table import text_of
from fanwise.plan.row import Row
from fanwise.report.html import to_html
from fanwise.report.jsonable import to_json
from fanwise.report.terminal import render

GOLDEN = Path(__file__).parent / "golden"
DENSE = Layout.dense("out in")


def printed(item, width, **options):
    stream = io.StringIO()
    Console(file=stream, width=width, **options).print(item)
    return stream.getvalue()


def vector(path, law=zeros, **more):
    return Row(path, (3,), "float32", law, None, "bias", "linear", "", **more)


def matrix(law, layout=DENSE, shape=(4, 3), **more):
    return Row("w", shape, "float32", law, layout, "weight", "linear", "", **more)


# A plan as a container


def test_rows_in_order_and_by_any_name(plan):
    assert len(plan) == len(plan.rows) == 150
    assert [row.path for row in plan] == [row.path for row in plan.rows]
    assert plan["wte.weight"] is plan.rows[0]
    assert plan["adapter[1].mix[bold]"].path == "adapter[0].mix[bold]"
    assert "adapter[1].mix[bold]" in plan
    assert "nothing" not in plan


def test_an_unknown_name_lists_the_nearest(plan):
    with pytest.raises(KeyError, match=r"'h.3.atn.c_attn.weight': the nearest are 'h.3.attn.c_attn.weight'"):
        plan["h.3.atn.c_attn.weight"]
    with pytest.raises(KeyError, match="the plan is empty"):
        Plan(())["a"]


def test_kept_and_unused(plan):
    assert [row.path for row in plan.unused] == [row.path for row in plan.kept] == ["probe.weight"]
    assert len(plan.edit("wpe*", None).kept) == 2


@pytest.mark.parametrize(
    "rows",
    [
        [vector("a"), vector("a")],
        [vector("a", aliases=("b",)), vector("b")],
        [vector("a", aliases=("c",)), vector("b", aliases=("c",))],
    ],
)
def test_a_name_stands_once(rows):
    with pytest.raises(ValueError, match="stands in two rows, 'a' and "):
        Plan(rows)


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"rows holds \('a', \(3,\)\)"):
        Plan([("a", (3,))])
    with pytest.raises(TypeError, match="recipe = None"):
        Plan((), None)


def test_a_plan_is_a_value(plan):
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert hash(plan) == hash(Plan(plan.rows, plan.recipe, plan.framework, plan.inputs))
    assert len(repr(plan)) < 120
    assert repr(Plan(())) == "<Plan of 0 parameters>"


# Edits


def test_edit_takes_laws_names_and_configurations(plan):
    small = {"name": "normal", "std": 0.001}
    assert plan.edit("wpe.weight", Normal(0.3))["wpe.weight"].law == Normal(0.3)
    assert plan.edit("h.*.c_fc.weight", "he_uniform")["h.7.mlp.c_fc.weight"].law == he_uniform
    edited = plan.edit("h.[01].attn.*.weight", small, reason="tried")
    assert [row.path for row in edited if row.reason == "tried"] == [
        f"h.{i}.attn.{name}.weight" for i in (0, 1) for name in ("c_attn", "c_proj")
    ]
    assert plan.edit("wpe.weight", None)["wpe.weight"].law is None


def test_an_edit_leaves_the_plan_as_it_was(plan):
    before = plan.to_toml()
    edited = plan.edit("*.bias", ones)
    assert plan.to_toml() == before
    assert (edited.recipe, edited.framework, edited.inputs) == (plan.recipe, plan.framework, plan.inputs)


def test_names_that_look_like_patterns_match_themselves(plan):
    assert plan.edit("adapter[0].mix[bold]", he_normal)["adapter[0].mix[bold]"].law == he_normal


def test_an_alias_matches(plan):
    assert plan.edit("adapter?1?.mix?bold?", he_normal)["adapter[0].mix[bold]"].law == he_normal


def test_a_pattern_that_matches_nothing_lists_the_nearest(plan):
    with pytest.raises(ValueError, match=r"pattern 'wpe.wieght' matches no parameter: the nearest are 'wpe.weight'"):
        plan.edit("wpe.wieght", None)


@pytest.mark.parametrize(
    ("law", "kind", "words"),
    [
        ("he_norml", ValueError, "for 'wpe.weight': initializer 'he_norml': expected one of zeros"),
        ({"name": "normal"}, TypeError, "missing 1 required positional argument: 'std'"),
        ({"name": "normal", "std": -1}, ValueError, "std = -1"),
        (0.02, TypeError, "law = 0.02 for 'wpe.weight': expected an initializer, its name"),
        (Blocks((zeros, ones), axis=2), ValueError, "parameter 'wpe.weight': axis = 2"),
    ],
)
def test_edits_with_bad_laws(plan, law, kind, words):
    with pytest.raises(kind, match=words):
        plan.edit("wpe.weight", law)


def test_a_pattern_is_text(plan):
    with pytest.raises(TypeError, match="pattern = 3: expected a str"):
        plan.edit(3, None)


def test_override_by_several_patterns(plan):
    laws = {"*.c_proj.weight": zeros, "h.0.*.c_proj.weight": "zeros", "w?e.weight": Normal(0.1)}
    edited = plan.override(laws, reason="zero ends")
    assert sum(row.reason == "zero ends" for row in edited) == 24 + 2


def test_all_that_is_wrong_with_an_override_is_told_at_once(plan):
    laws = {"*.c_fc.weight": zeros, "h.3.mlp.*.weight": ones, "nope": None, "wpe.wieght": None}
    with pytest.raises(ValueError, match="different laws") as raised:
        plan.override(laws)
    told = str(raised.value).split("; ")
    assert len(told) == 3
    assert told[0].startswith("pattern 'nope' matches no parameter: the nearest are ")
    assert told[1].startswith("pattern 'wpe.wieght' matches no parameter: the nearest are 'wpe.weight'")
    assert told[2] == "patterns '*.c_fc.weight' and 'h.3.mlp.*.weight' give 'h.3.mlp.c_fc.weight' different laws"


def test_laws_that_draw_differently_but_are_equal_do_not_fight():
    assert Plan([matrix(zeros)]).override({"w": "he_normal", "*": he_normal})["w"].law == he_normal


# Differences


def test_no_difference(plan):
    diff = plan.diff(plan)
    assert not diff
    assert "no parameter differs" in str(diff)


def test_a_difference_names_the_fields(plan):
    edited = plan.edit("h.*.c_proj.weight", Normal(0.02))
    less = Plan([*edited.rows[1:], vector("new.bias")], "other", plan.framework, plan.inputs)
    diff = plan.diff(less)
    assert [row.path for row in diff.added] == ["new.bias"]
    assert [row.path for row in diff.removed] == ["wte.weight"]
    assert len(diff.changed) == 24
    assert diff.changed[0].fields == ("law", "reason", "source")
    assert diff.changed[0].std_ratio == pytest.approx(24**0.5)
    assert diff.headings == {"recipe": ("depth", "other")}
    assert not diff.reordered


def test_an_order_is_a_difference(plan):
    diff = plan.diff(Plan(plan.rows[::-1], plan.recipe, plan.framework, plan.inputs))
    assert diff
    assert (diff.changes, diff.reordered) == ((), True)
    assert "the order differs" in str(diff)


def test_the_std_ratio_is_unknown_where_one_std_is():
    a, b = vector("a", zeros), vector("a", Normal(1.0))
    kept = vector("a", None)
    ratios = [Change(*pair).std_ratio for pair in [(a, b), (b, a), (b, kept), (kept, b), (None, b), (b, None)]]
    assert ratios == [None, 0.0, None, None, None, None]


def test_a_change_is_of_one_parameter():
    for pair in [(None, None), (vector("a"), vector("b"))]:
        with pytest.raises(ValueError, match="expected rows of one parameter"):
            Change(*pair)


def test_differences_are_folded(plan, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    diff = plan.diff(plan.edit("h.*.c_proj.weight", Normal(0.02)).edit("wpe.weight", None))
    text = str(diff)
    (line,) = (line.split("  ") for line in text.splitlines() if "mlp" in line)
    assert [part.strip() for part in line if part] == [
        "h.{0..11}.mlp.c_proj.weight ×12",  # noqa: RUF001
        "law, reason, source",
        "N(0, 0.00408²)",
        "N(0, 0.02²)",
        "4.9",
    ]
    assert text_of(diff.table(full=True), 120).count("mlp.c_proj.weight") == 12
    assert printed(diff, 120) == text + "\n"


# What is printed


@pytest.mark.parametrize("width", [80, 120, 160])
def test_golden_file(plan, width):
    """Run with UPDATE_GOLDEN=1 to write the files anew; then read what changed."""
    text, golden = printed(plan, width), GOLDEN / f"plan-{width}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8", newline="\n")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_no_line_is_wider_than_the_terminal(plan, convnet, width):
    assert max(len(line) for item in (plan, convnet) for line in printed(item, width).splitlines()) <= width


def test_paths_are_whole_where_80_letters_hold_them(plan):
    assert "h.{0..11}.attn.c_attn.weight ×12  768x2304   N(0, 0.0361²)" in printed(plan, 80)  # noqa: RUF001


def test_str_is_what_rich_prints(plan, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert str(plan) + "\n" == printed(plan, 90)


def test_the_report_prints_the_same(plan):
    stream = io.StringIO()
    render(plan.table(width=120), Console(file=stream, width=120))
    assert stream.getvalue() == printed(plan, 120)


def test_full_shows_every_row(plan):
    def lines(full):
        return [row.cells[0] for row in plan.table(full=full).sections[0].blocks[0].rows]

    assert lines(full=True) == [row.path for row in plan]
    assert len(lines(full=False)) == 18


def test_other_renderers_take_it(plan):
    assert "h.{0..11}.attn.c_attn.weight" in to_html(plan.table())
    assert json.loads(to_json(plan.table()))["title"] == "Plan 'depth'"


def test_totals(plan):
    assert "125 M numbers in 150 parameters: 148 derived, 1 guessed (marked !), 1 kept, 1 unused." in printed(plan, 120)


def test_an_empty_plan_prints():
    assert "0 numbers in 0 parameters: 0 derived." in str(Plan(()))
    assert "no parameter differs" in str(Plan(()).diff(Plan(())))


def test_markup_and_control_characters_are_shown_as_they_are():
    hostile = "a[bold]b[/x]:smile:\x1b[2J"
    text = printed(Plan([vector(hostile)], hostile, hostile, hostile), 120, force_terminal=True)
    assert text.count("a[bold]b[/x]:smile:?[2J") >= 2
    assert "\x1b[2J" not in text


def test_an_ascii_terminal_gets_ascii(plan):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=stream, width=120).print(plan.edit("wpe.weight", "he_uniform"))
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")
    assert "h.{0..11}.attn.c_attn.weight x12" in text
    assert "N(0, 0.0361^2)" in text
    assert "U(+-" in text


FORMULAS = [
    (None, "kept"),
    (zeros, "0"),
    (Normal(0.0), "0"),
    (ones, "1"),
    (Constant(-0.25), "-0.25"),
    (Normal(0.02), "N(0, 0.02²)"),
    (Uniform(0.0884), "U(±0.0884)"),
    (TruncatedNormal(0.02), "N(0, 0.02²) ±2σ"),  # noqa: RUF001
    (TruncatedNormal(0.02, -1.0, 3.0), "N(0, 0.02²) in [-1, 3]σ"),  # noqa: RUF001
    (lecun_normal, "N(0, 0.5²)"),
    (Orthogonal(), "orthogonal"),
    (Orthogonal(2**0.5), "orthogonal × 1.41"),  # noqa: RUF001
    (Orthogonal(2.0, "norm"), "orthogonal × 2 (norm)"),  # noqa: RUF001
    (Identity(), "identity"),
    (Sparse(3), "sparse 3"),
    (ICNR(Normal(0.1), 2), "ICNR 2: N(0, 0.1²)"),
    (Blocks((zeros, ones, ones, Normal(0.1)), axis=0), "0 | 1 | N(0, 0.1²)"),
]


@pytest.mark.parametrize(("law", "text"), FORMULAS, ids=[text for _, text in FORMULAS])
def test_formulas(law, text):
    assert formula(matrix(law, shape=(4, 4))) == text


def test_formulas_of_fused_maps():
    layout = DENSE.fuse(1, (100, 400))
    assert formula(matrix(lecun_normal, layout, (4, 500))) == "N(0, 0.1²) | N(0, 0.05²)"
    conv = Layout.conv("out in kernel")
    assert formula(matrix(DeltaOrthogonal(), conv, (4, 4, 3))) == "delta orthogonal"


@pytest.mark.parametrize("entry", INITIALIZERS.values(), ids=lambda entry: entry.name)
def test_every_initializer_has_a_formula(entry):
    layout = Layout.conv("kernel kernel in out")
    for shape, own in [((3, 3, 4, 16), layout), ((4, 16), Layout.dense())]:
        try:
            row = matrix(entry.example, own, shape)
        except ValueError:
            continue
        assert 0 < len(formula(row)) <= 40


@given(st.floats(-1e12, 1e12))
def test_short_numbers_are_near(number):
    assert float(short(number)) == pytest.approx(number, rel=0.005, abs=1e-300)


# Folding


def test_stages_and_gaps(convnet):
    shown = [row.cells[0] for row in convnet.table().sections[0].blocks[0].rows]
    times = "×"  # noqa: RUF001
    assert shown == [
        "layer1.0.conv1.weight",
        f"layer1.{{1,2}}.conv1.weight {times}2",
        "layer2.0.conv1.weight",
        f"layer2.{{1,2}}.conv1.weight {times}2",
        f"tail.{{0,3,6,8}}.weight {times}4",
    ]


def test_experts_fold_twice():
    names = [f"blocks.{b}.experts.{e}.w{w}" for b in range(4) for e in range(8) for w in (1, 2)]
    folds = fold(names, [name[-2:] for name in names])
    assert [item.pattern for item in folds] == ["blocks.{0..3}.experts.{0..7}.w1", "blocks.{0..3}.experts.{0..7}.w2"]
    assert folds[1].steps == (16, 2)


@pytest.mark.parametrize("names", [["a.01", "a.1"], ["a.x", "a.y"], ["a.1", "b.2"], ["a.1", "a.1.2"], ["1", "a"]])
def test_other_names_stay_apart(names):
    assert len(fold(names, ["same", "same"])) == 2


def test_braces():
    assert [braces(v) for v in ((0, 1), (0, 2), (0, 2, 4), (1, 2, 3, 7), (5, 6, 7))] == [
        "{0,1}",
        "{0,2}",
        "{0..4..2}",
        "{1..3,7}",
        "{5..7}",
    ]


PATHS = st.lists(st.sampled_from(["a", "b", "0", "1", "2", "3", "01", ""]), min_size=1, max_size=4).map(".".join)


@given(st.lists(st.tuples(PATHS, st.booleans()), unique_by=lambda pair: pair[0], max_size=40), st.booleans())
def test_folds_are_a_partition(items, regular):
    names, kinds = [name for name, _ in items], [kind for _, kind in items]
    folds = fold(names, kinds, regular=regular)
    assert sorted(i for item in folds for i in item.members) == list(range(len(names)))
    firsts = [min(item.members) for item in folds]
    assert firsts == sorted(firsts)
    for item in folds:
        assert item.names == tuple(names[i] for i in item.members)
        assert len({kinds[i] for i in item.members}) == 1
        assert all(axis.values == tuple(sorted(set(axis.values))) for axis in item.axes)
        if regular:
            sizes = [len(axis.values) for axis in item.axes]
            assert lattice(item.members[0], item.steps, sizes) == item.members
