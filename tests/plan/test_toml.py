"""A file comes from anywhere: what is wrong in it is a ValueError or TypeError that names parameter and key."""

import contextlib
import dataclasses
import math
import re
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanwise
from fanwise import (
    ICNR,
    INITIALIZERS,
    Blocks,
    Constant,
    Layout,
    Normal,
    TruncatedNormal,
    VarianceScaling,
    he_normal,
    zeros,
)
from fanwise.plan.manifest import Manifest
from fanwise.plan.plan import Plan
from fanwise.plan.render.toml import MOST_LETTERS, STREAM
from fanwise.plan.row import ORDERS, Row
from fanwise.stream.key import SPEC

from_toml, to_toml = Plan.from_toml, Plan.to_toml

HEADING = 'format = 1\nfanwise = "0.1.0"\nstream = 1\n'
GOOD = {"path": '"a"', "law": '"zeros"', "shape": "[4, 3]", "dtype": '"float32"', "layout": '"out in"'}


def file(**changes):
    """A file of one parameter, some of its values replaced; None takes the key out."""
    pairs = ", ".join(f"{key} = {value}" for key, value in (GOOD | changes).items() if value is not None)
    return f"{HEADING}parameter = [\n  {{ {pairs} }},\n]\n"


# What is written


def test_the_round_trip_is_exact(plan, convnet):
    for one in (plan, convnet, Plan(())):
        assert from_toml(to_toml(one)) == one
        assert Plan.from_toml(one.to_toml()).to_toml() == one.to_toml()


def test_the_file_is_one_line_a_parameter(plan):
    text = to_toml(plan)
    lines = [line for line in text.split("\n") if line.startswith("  { path = ")]
    assert len(lines) == len(plan)
    assert text.split("\n")[:5] == [
        "# fanwise plan: one line a parameter; edit a law and load it again.",
        "format = 1",
        f'fanwise = "{fanwise.__version__}"',
        "stream = 1",
        'recipe = "depth"',
    ]
    assert lines[2] == (
        '  { path = "h.0.ln_1.weight", law = "ones", shape = [768], dtype = "float32", role = "norm_scale", '
        'op = "norm", reason = "A norm\'s scale starts at 1." },'
    )
    assert ', layout = { axes = "in out", fused = { axis = 1, count = 3 } }, ' in lines[4]


def test_what_stands_at_its_default_is_left_out():
    plan = Plan([Row("a", (3,), "float32", zeros, None, "", "", "")])
    assert '  { path = "a", law = "zeros", shape = [3], dtype = "float32" },\n' in to_toml(plan)


def test_the_stream_has_the_version_of_its_key():
    assert SPEC.decode().endswith(f" v{STREAM}")


def test_numbers_of_numpy_are_written_as_numbers():
    law = Blocks((Normal(np.float32(0.1)), Constant(np.int64(2))), axis=np.int64(0))
    plan = Plan([Row("a", (4, 3), "float32", law, None, "", "", "")])
    assert from_toml(to_toml(plan)) == plan


def test_a_law_of_ones_own_has_no_file():
    class Mine(type(zeros)):
        """Not in the registry."""

    with pytest.raises(TypeError, match="not one of fanwise's initializers"):
        to_toml(Plan([Row("a", (3,), "float32", Mine(), None, "", "", "")]))


def test_importing_fanwise_and_plans_loads_no_writer():
    code = "import sys, fanwise, fanwise.plan.manifest; sys.exit(' '.join({'tomli_w', 'rich'} & set(sys.modules)) or 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr.strip()) == (0, "")


# What is read


def test_presets_defaults_and_tables_are_read():
    row = from_toml(file(law='"orthogonal"', shape="[4, 4]"))["a"]
    assert row.law == INITIALIZERS["orthogonal"].example
    assert (row.role, row.op, row.reason, row.guess, row.factor) == ("", "", "", False, 1.0)
    assert from_toml(file(law='"keep"'))["a"].law is None
    assert from_toml(file(law='"kaiming_normal"'))["a"].law == he_normal
    assert from_toml(file(law='{ name = "normal", std = 1 }', layout=None))["a"].law == Normal(1.0)


def test_a_file_with_headed_tables_is_read():
    text = HEADING + '[[parameter]]\npath = "a"\nlaw = "zeros"\nshape = [3]\ndtype = "float32"\n'
    assert from_toml(text)["a"].shape == (3,)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"path": None}, ValueError, "parameter 1 (''): key 'path' is missing"),
        ({"law": None}, ValueError, "parameter 1 ('a'): key 'law' is missing"),
        ({"shape": None}, ValueError, "key 'shape' is missing"),
        ({"dtype": None}, ValueError, "key 'dtype' is missing"),
        ({"lwa": "1"}, ValueError, "parameter 1 ('a'): unknown key 'lwa': the nearest are 'law'"),
        ({"path": "3"}, TypeError, "parameter 1: path = 3"),
        ({"path": '""'}, ValueError, "parameter 1: path = ''"),
        ({"law": '"he_norml"'}, ValueError, "parameter 1 ('a'), key 'law': initializer 'he_norml': expected one of"),
        ({"law": "0.02"}, TypeError, "('a'), key 'law': 0.02: expected a name"),
        ({"law": "{ std = 0.02 }"}, TypeError, "key 'law': config = "),
        ({"law": '{ name = ["normal"] }'}, ValueError, "key 'law': initializer ['normal']"),
        ({"law": '{ name = "normal" }'}, TypeError, "key 'law': "),
        ({"law": '{ name = "normal", std = nan }'}, ValueError, "key 'law': std = nan: expected a finite number"),
        ({"law": '{ name = "normal", std = inf }'}, ValueError, "key 'law': std = inf: expected a finite number"),
        ({"law": '{ name = "normal", std = true }'}, TypeError, "key 'law': std = True: expected a number"),
        ({"law": '{ name = "normal", std = "1" }'}, TypeError, "key 'law': std = '1'"),
        ({"law": '{ name = "normal", std = 1, gain = 1 }'}, TypeError, "has no parameter 'gain'"),
        ({"law": '{ name = "constant", value = 1' + "0" * 400 + " }"}, ValueError, "key 'law': "),
        ({"law": '{ name = "blocks", laws = 3, axis = 0 }'}, TypeError, "key 'law': "),
        ({"law": '{ name = "blocks", laws = ["zeros"], axis = 0 }'}, TypeError, "key 'law': laws holds 'zeros'"),
        ({"law": '"he_normal"', "layout": None}, ValueError, "parameter 1: parameter 'a': law = "),
        ({"law": '"he_normal"', "shape": "[4]"}, ValueError, "parameter 1: parameter 'a': shape = (4,) has 1 axes"),
        ({"shape": "[4, -3]"}, ValueError, "parameter 1: parameter 'a': shape = (4, -3): -3 is negative"),
        ({"shape": "[4, 3.0]"}, TypeError, "3.0 is not an integer"),
        ({"shape": "[4, true]"}, TypeError, "True is not an integer"),
        ({"shape": "12"}, TypeError, "key 'shape': 12: expected a list"),
        ({"shape": "[9223372036854775807, 3]"}, ValueError, "the limit is 2**63 - 1"),
        ({"shape": f"[{'1, ' * 65}]"}, ValueError, "key 'shape': a list of 65: expected at most 64"),
        ({"dtype": '"torch.float32"'}, ValueError, "dtype = 'torch.float32'"),
        ({"layout": "3"}, TypeError, "key 'layout': 3: expected roles"),
        ({"layout": '"out inn"'}, ValueError, "key 'layout': axes = ('out', 'inn')"),
        ({"layout": '""'}, ValueError, "key 'layout': an empty list"),
        ({"layout": "{ groups = 2 }"}, TypeError, "expected roles such as"),
        ({"layout": '{ axes = "out in", group = 2 }'}, ValueError, "unknown key 'group': the nearest are 'groups'"),
        ({"layout": '{ axes = "out in", groups = 3 }'}, ValueError, "groups = 3 do not divide"),
        ({"layout": '{ axes = "out in", groups = "3" }'}, TypeError, "groups = '3'"),
        ({"layout": '{ axes = "out in", grouped = [] }'}, ValueError, "grouped = []"),
        ({"layout": '{ axes = "out in", transposed = 1 }'}, TypeError, "transposed = 1"),
        ({"layout": '{ axes = "out kernel", stride = [0] }'}, ValueError, "stride = 0"),
        ({"layout": '{ axes = "out kernel", stride = [2, 2] }'}, ValueError, "stride = (2, 2)"),
        ({"layout": '{ axes = "out kernel", stride = 2 }'}, TypeError, "2: expected a list"),
        ({"layout": '{ axes = "out in", fused = 3 }'}, TypeError, "fused = 3: expected { axis, count }"),
        ({"layout": '{ axes = "out in", fused = { axis = 0, sizes = [] } }'}, ValueError, "an empty list"),
        ({"layout": '{ axes = "out in", fused = { axis = 0, sizes = [1, 2] } }'}, ValueError, "do not fill axis 0"),
        ({"layout": '{ axes = "out in", fused = { axis = 0, sizes = [-1, 5] } }'}, ValueError, "-1 is negative"),
        ({"layout": '{ axes = "out in", fused = { axis = 2, count = 2 } }'}, ValueError, "axis = 2"),
        ({"layout": '{ axes = "out in", fused = { axis = 0, count = 0 } }'}, ValueError, "fused count = 0"),
        ({"layout": '{ axes = "out in", fused = { axis = 0, count = 4000000000 } }'}, ValueError, "at most 4096"),
        ({"role": "3"}, TypeError, "parameter 1: parameter 'a': role = 3"),
        ({"order": '"fortran"'}, ValueError, "order = 'fortran'"),
        ({"aliases": '"b"'}, TypeError, "key 'aliases': 'b': expected a list"),
        ({"aliases": "[1]"}, TypeError, "aliases = 1"),
        ({"fed": "nan"}, ValueError, "fed = nan"),
        ({"gives": "-1"}, ValueError, "gives = -1"),
        ({"factor": "0"}, ValueError, "factor = 0"),
        ({"factor": "inf"}, ValueError, "factor = inf"),
        ({"guess": '"no"'}, TypeError, "guess = 'no'"),
        ({"reason": "1979-05-27"}, TypeError, "reason = datetime.date"),
    ],
)
def test_what_is_wrong_is_named(changes, kind, words):
    with pytest.raises(kind, match=re.escape(words)) as raised:
        from_toml(file(**changes))
    assert str(raised.value).startswith("parameter 1")


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", ValueError, "format is missing"),
        ('parameter = [{ path = "a" }]', ValueError, "format is missing"),
        ("format = 2", ValueError, r"format = 2: this fanwise \(.*\) knows 1, update it"),
        ("format = 0", ValueError, "format = 0"),
        ("format = true", TypeError, "format = True"),
        ('format = "1"', TypeError, "format = '1'"),
        ("format = 1\nstream = 2", ValueError, "stream = 2: this fanwise"),
        ("format = 1\nrecipe = 3", TypeError, "recipe = 3"),
        ("format = 1\nrecepi = 3", ValueError, "heading: unknown key 'recepi': the nearest are 'recipe'"),
        ("format = 1\nseed = 3", ValueError, "heading: unknown key 'seed'"),
        ("format = 1\nparameter = 3", TypeError, "parameter = 3: expected a list of tables"),
        ("format = 1\nparameter = { path = 3 }", TypeError, "expected a list of tables"),
        ("format = 1\nparameter = [3]", TypeError, "parameter 1: 3, expected a table"),
        ("format = ", ValueError, r"not a TOML file: Invalid value \(at end of document\)"),
        ("format = 1\nformat = 1", ValueError, "not a TOML file: Cannot overwrite a value"),
        ("format = 1" + "0" * 5000, ValueError, "not a TOML file: "),
        ("format = 0x1" + "0" * 5000, ValueError, "format = a number of thousands of digits"),
        ("\ufeffformat = 1", ValueError, "not a TOML file"),
        ("x = " + "[" * 100_000, ValueError, "nests tables or lists too deep"),
        ("x = " + "{ a = " * 100_000, ValueError, "nests tables or lists too deep"),
        ("x = " + "[" * 100_000 + "]" * 100_000, ValueError, "nests tables or lists too deep"),
        ("a." * 1_000_000 + "b = 1", ValueError, "a key of more than 8 components"),
        ("[" + "a ." * 1_000_000 + "b]", ValueError, "a key of more than 8 components"),
        ("[" + "'a' . \"b\"." * 1_000_000 + "b]", ValueError, "a key of more than 8 components"),
        ('x = ["""a"""", {' + "a." * 1000 + "b = 1}]", ValueError, "a key of more than 8 components"),
        ("x = '''\n'''\n" + "a." * 1000 + "b = 1 #'''", ValueError, "a key of more than 8 components"),
        ("# '''\n" + "a." * 1000 + "b = 1", ValueError, "a key of more than 8 components"),
        (b"format = 1", TypeError, "expected the text of a TOML file"),
        (None, TypeError, "text = None"),
        ("#" * (MOST_LETTERS + 1), ValueError, r"the file has \d+ letters: expected at most 67108864"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, str | bytes) else None,
)
def test_files_that_are_no_plans(text, kind, words):
    start = time.perf_counter()
    with pytest.raises(kind, match=words):
        from_toml(text)
    if isinstance(text, str) and "seed" not in words:
        with pytest.raises(kind, match=words):
            Manifest.from_toml("seed = 0\n" + text)
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    "opener", ['"""', "'''", '"', "'", '"""\\"', "''''", "a" * 100, "a  .", "#'", "0x", "\\", "[["]
)
def test_no_text_takes_quadratic_time(opener):
    text = "x = " + opener * (4_000_000 // len(opener))
    start = time.perf_counter()
    with pytest.raises(ValueError, match="file"):
        from_toml(text)
    assert time.perf_counter() - start < 20


def test_paths_of_many_components_are_no_long_keys():
    path = ".".join("abcdefghijklmnopqrstuvwxyz")
    assert from_toml(f"# {path}\n" + file(path=f'"{path}"'))[path].path == path


def test_laws_nested_too_deep_are_named():
    def nested(depth):
        law = '"zeros"' if not depth else nested(depth - 1)
        return f'{{ name = "icnr", base = {law} }}' if depth else '{ name = "zeros" }'

    conv = {"shape": "[4, 3, 3]", "layout": '"out in kernel"'}
    assert from_toml(file(law=nested(8), **conv))["a"].std == 0
    for depth in (30, 100):
        with pytest.raises(ValueError, match=r"parameter 1 \('a'\), key 'law': nested too deep"):
            from_toml(file(law=nested(depth), **conv))


def test_the_second_of_two_equal_paths_is_refused():
    line = file().split("\n")[4]
    with pytest.raises(ValueError, match="name 'a' stands in two rows"):
        from_toml(HEADING + f"parameter = [\n{line}\n{line}\n]")


def test_messages_stay_short():
    for changes in ({"path": f'"{"a" * 100_000}"', "shape": "[-1]"}, {"law": f'"{"a" * 100_000}"'}):
        with pytest.raises(ValueError, match="a") as raised:
            from_toml(file(**changes))
        assert len(str(raised.value)) < 1000
    with pytest.raises(ValueError, match="unknown key") as raised:
        from_toml("format = 1\n" + "a" * 100_000 + " = 1")
    assert len(str(raised.value)) < 1000


# Anything at all

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LAWS = st.one_of(
    st.none(),
    st.just(zeros),
    st.builds(Normal, st.floats(0, 1e6)),
    st.builds(Constant, st.floats(-1e6, 1e6)),
    st.builds(TruncatedNormal, st.floats(0, 10), st.floats(-9, -0.1), st.floats(0.1, 9) | st.just(math.inf)),
    st.builds(VarianceScaling, st.floats(0, 9), st.sampled_from(["fan_in", "fan_avg"]), st.just("uniform")),
    st.builds(lambda a, b: Blocks((a, b), axis=0), st.builds(Normal, st.floats(0, 9)), st.just(he_normal)),
    st.just(ICNR(he_normal, 2)),
)
LAYOUTS = st.sampled_from(
    [
        Layout.dense("out in"),
        Layout.dense("out in").fuse(0, 2),
        Layout.dense("out in").fuse(1, (1, 2)),
        Layout.conv("out kernel", stride=2),
        Layout.conv_transpose("out kernel", stride=3),
    ]
)
NUMBERS = st.floats(0, allow_infinity=False)


@st.composite
def rows(draw, path):
    return Row(
        path,
        (4, 3),
        draw(st.sampled_from(["float32", "bfloat16", "float8_e4m3fn"])),
        draw(LAWS),
        draw(LAYOUTS),
        draw(TEXT),
        draw(TEXT),
        draw(TEXT),
        source=draw(TEXT),
        stream=draw(TEXT),
        order=draw(st.sampled_from(ORDERS)),
        fed=draw(st.none() | NUMBERS),
        gives=draw(st.none() | NUMBERS),
        guess=draw(st.booleans()),
        factor=draw(st.just(1.0) | st.floats(1e-300, 1e300)),
    )


@st.composite
def plans(draw):
    part = st.sampled_from(["h", "0", "1", "2", "3", "{0..2}", "w"]) | TEXT.filter(bool)
    paths = draw(st.lists(st.lists(part, min_size=1, max_size=3).map(".".join), unique=True, max_size=6))
    common = draw(rows("x"))
    kinds = draw(st.lists(st.booleans(), min_size=len(paths), max_size=len(paths)))
    built = [
        dataclasses.replace(common, path=path) if same else draw(rows(path))
        for path, same in zip(paths, kinds, strict=True)
    ]
    return Plan(built, draw(TEXT), draw(TEXT), draw(TEXT))


@settings(max_examples=300, deadline=None)
@given(plans())
def test_any_plan_comes_back(plan):
    assert from_toml(to_toml(plan)) == plan
    assert tomllib.loads(to_toml(plan))["format"] == 1


@settings(max_examples=300, deadline=None)
@given(plans(), st.integers(0, 2**128 - 1))
def test_any_manifest_comes_back(plan, seed):
    digests = {row.path: f"{i:032x}" for i, row in enumerate(plan)}
    manifest = Manifest(plan, seed, digests)
    assert Manifest.from_toml(manifest.to_toml(full=True)) == manifest
    assert Manifest.from_toml(manifest.to_toml()) == manifest.brief()


VALUES = st.recursive(
    st.sampled_from(
        ["nan", "-inf", "1e400", "true", "''", '"zeros"', '"out in"', "[]", "{}", "1979-05-27", "0x" + "f" * 30]
    )
    | st.integers().map(str)
    | st.floats().map(repr),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(
            st.sampled_from(
                ["name", "std", "axes", "fused", "axis", "count", "sizes", "stride", "laws", "base", "low"]
            ),
            inner,
            max_size=4,
        ).map(lambda items: "{" + ", ".join(f"{k} = {v}" for k, v in items.items()) + "}")
    ),
    max_leaves=8,
)
PARAMETERS = sorted({field for entry in INITIALIZERS.values() for field in vars(entry.example)})
LAW_VALUES = st.builds(
    lambda name, items: "{" + ", ".join([f'name = "{name}"', *(f"{k} = {v}" for k, v in items.items())]) + "}",
    st.sampled_from(sorted(INITIALIZERS)),
    st.dictionaries(
        st.sampled_from(PARAMETERS),
        VALUES | st.floats(-9, 9).map(repr),
        max_size=4,
    ),
)
KEYS = st.sampled_from([*Row.__dataclass_fields__, "place", "digests", "x"])


@settings(max_examples=600, deadline=None)
@given(st.dictionaries(KEYS, VALUES | LAW_VALUES, max_size=3), st.booleans())
def test_hostile_values_are_refused_or_read(changes, folded):
    more = {"path": '"h.{0..1}.w"', "place": "[0, 1]"} if folded else {}
    for read in (from_toml, lambda text: Manifest.from_toml("seed = 0\n" + text)):
        with contextlib.suppress(TypeError, ValueError):
            read(file(**(more | changes)))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), TEXT, st.booleans())
def test_damaged_files_are_refused_or_read(start, length, text, full):
    manifest = Manifest(
        Plan([Row(f"h.{i}.w", (4, 3), "float32", Normal(0.1), None, "", "", "x") for i in (0, 1, 2)]), 3
    )
    for whole, read in [(manifest.plan.to_toml(), from_toml), (manifest.to_toml(full=full), Manifest.from_toml)]:
        at = start % len(whole)
        with contextlib.suppress(TypeError, ValueError):
            read(whole[:at] + text + whole[at + length :])
