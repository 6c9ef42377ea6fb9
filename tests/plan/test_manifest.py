import hashlib
import pickle
import re
import tomllib
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fanwise import Key, Normal, zeros
from fanwise.plan.manifest import Manifest, differences, digest_of, digest_of_all
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row

LINE = 'path = "h.{0..2}.w", law = "zeros", shape = [3], dtype = "float32"'


def file(*lines, seed="0"):
    return f"format = 1\nseed = {seed}\nparameter = [" + ", ".join(f"{{ {line} }}" for line in lines) + "]"


def digests_of(plan):
    return {row.path: hashlib.blake2b(row.path.encode(), digest_size=16).hexdigest() for row in plan if row.law}


def lines_of(text):
    return [line for line in text.split("\n") if line.startswith("  { ")]


# Digests


def test_known_answers():
    """Frozen: what a manifest says today must be found right for ever."""
    assert digest_of(np.arange(6, dtype=np.float32).reshape(2, 3)) == KNOWN["float32"]
    assert digest_of(np.arange(6).astype(ml_dtypes.bfloat16)) == KNOWN["bfloat16"]
    assert digest_of_all({"b": KNOWN["float32"], "a": KNOWN["bfloat16"]}) == KNOWN["all"]


KNOWN = {
    "float32": "5d9f9f2538aa17eddd3d503362c74bb5",
    "bfloat16": "db664a1e23100159ef757220c6268204",
    "all": "e5f6b05307447105440a27823fe6a3cb",
}


def test_the_definition():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    message = b"float32 2,3\n" + array.tobytes()
    assert digest_of(array) == hashlib.blake2b(message, digest_size=16).hexdigest()


@given(hnp.arrays(st.sampled_from(["<f4", "<f8", "<f2"]), hnp.array_shapes(max_dims=3, min_side=0)))
def test_memory_and_byte_order_do_not_matter(array):
    digest = digest_of(array)
    assert digest_of(np.asfortranarray(array)) == digest
    assert digest_of(array.astype(array.dtype.newbyteorder(">"))) == digest
    assert digest_of(np.repeat(array[..., None], 2, axis=-1)[..., 0]) == digest


def test_values_shapes_and_dtypes_matter():
    base = np.zeros((2, 3), np.float32)
    others = [base.T, base.reshape(6), base.astype(np.float16), -base, base.astype(ml_dtypes.bfloat16), base[:1]]
    assert len({digest_of(array) for array in [base, *others]}) == 7


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.int64, np.bool_, np.complex64])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)])
def test_any_dtype_and_shape(dtype, shape):
    assert re.fullmatch("[0-9a-f]{32}", digest_of(np.zeros(shape, dtype)))


@pytest.mark.parametrize("array", [[1.0], None, np.array([None]), np.array(["a"]), np.zeros(2, "f4,f4")])
def test_only_arrays_of_numbers(array):
    with pytest.raises(TypeError, match="expected a NumPy array of numbers"):
        digest_of(array)


def test_the_digest_of_all_depends_on_names_and_not_on_order():
    one, two = "0" * 32, "1" * 32
    assert digest_of_all({"a": one, "b": two}) == digest_of_all({"b": two, "a": one})
    assert len({digest_of_all(d) for d in ({"a": one}, {"b": one}, {"a": two}, {"a": one, "b": one}, {})}) == 5


# A manifest


def test_a_manifest_is_a_value(plan):
    manifest = Manifest(plan, np.int64(3), digests_of(plan))
    assert type(manifest.seed) is int
    assert manifest.stream == 1
    assert pickle.loads(pickle.dumps(manifest)) == manifest
    assert len(repr(manifest)) < 120


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (("plan", 0), TypeError, "plan = 'plan': expected a Plan"),
        ((None, -1), ValueError, "seed = -1 is out of range"),
        ((None, 1.5), TypeError, "seed = 1.5 is not an integer"),
        ((None, 0, ["a"]), TypeError, r"digests = \['a'\]: expected a mapping"),
        ((None, 0, {"a": "xyz"}), ValueError, "a: digest 'xyz', expected 32 hexadecimal digits"),
        ((None, 0, {"a": 3}), ValueError, "a: digest 3, expected"),
        ((None, 0, {"b": "0" * 32}), ValueError, "digests names 'b', no path of the plan: the nearest are 'a', 'c'"),
        ((None, 0, {"a": "0" * 32}), ValueError, "digests has 1 and misses 'c': expected all drawn, or none"),
        ((None, 0, {}, "0"), ValueError, "digest: digest '0', expected 32"),
        ((None, 0, {"a": "0" * 32, "c": "0" * 32}, "0" * 32), ValueError, "the digests of the parameters give"),
    ],
)
def test_bad_arguments(arguments, kind, words):
    rows = [Row(path, (3,), "float32", zeros, None, "", "", "") for path in ("a", "c")]
    with pytest.raises(kind, match=words):
        Manifest(arguments[0] or Plan(rows), *arguments[1:])


def test_what_is_wrong_with_a_model_is_named(plan):
    digests = digests_of(plan)
    manifest = Manifest(plan, 0, digests)
    wrong = dict(digests, extra="0" * 32, **{"h.3.ln_1.bias": "0" * 32, "adapter[0].mix[bold]": "0" * 32})
    del wrong["wpe.weight"]
    told = differences(manifest, wrong)
    assert differences(manifest, digests) == ()
    assert [line.split(": ")[0] for line in told] == ["wpe.weight", "h.3.ln_1.bias", "adapter[0].mix[bold]", "extra"]
    assert told[0].endswith("none came")
    assert told[1].endswith(f"expected {digests['h.3.ln_1.bias']}, got {'0' * 32}")
    assert "agree to a tolerance" in told[2]


def test_one_digest_is_enough_to_see_that_something_is_wrong(plan):
    digests = digests_of(plan)
    brief = Manifest(plan, 0, digests).brief()
    assert differences(brief, digests) == ()
    assert differences(brief, digests | {"probe.weight": "0" * 32, "adapter[0].mix[bold]": "0" * 32}) == ()
    (told,) = differences(brief, digests | {"h.3.ln_1.bias": "0" * 32})
    assert told.startswith("some of 148 parameters differ")
    del digests["ln_f.bias"]
    assert differences(brief, digests) == ("ln_f.bias: expected a digest, none came",)


def test_what_is_kept_counts_only_where_it_was_recorded(plan):
    digests = digests_of(plan)
    recorded = Manifest(plan, 0, digests | {"probe.weight": "1" * 32})
    assert recorded.digest == Manifest(plan, 0, digests).digest
    assert differences(recorded, digests | {"probe.weight": "2" * 32})[0].startswith("probe.weight: expected 1111")
    assert differences(Manifest(plan, 0, digests), digests | {"probe.weight": "2" * 32}) == ()


def test_nothing_to_compare_with_is_an_error(plan):
    with pytest.raises(ValueError, match="the manifest has no digests"):
        differences(Manifest(plan, 0), {})


def test_a_plan_and_a_seed_fix_the_bits():
    """The numbers of two makings from one file have the digests that the file records."""
    rows = [Row(f"h.{i}.w", (4, 3), "float32", Normal(0.1), None, "", "", "") for i in range(3)]
    plan = Plan(rows)

    def made(manifest):
        root = Key(manifest.seed)
        return {row.path: digest_of(row.law(row.shape, key=root.child(row.path))) for row in manifest.plan}

    manifest = Manifest(plan, 2**100, made(Manifest(plan, 2**100)))
    read = Manifest.from_toml(manifest.to_toml())
    assert differences(read, made(read)) == ()
    assert differences(read, made(Manifest(plan, 7)))


# Files


def test_round_trips(plan, convnet, large):
    for one in (plan, convnet, large, Plan(())):
        manifest = Manifest(one, 7, digests_of(one))
        assert Manifest.from_toml(manifest.to_toml(full=True)) == manifest
        assert Manifest.from_toml(manifest.to_toml()) == manifest.brief()
        assert Manifest.from_toml(Manifest(one, 7).to_toml()) == Manifest(one, 7)


def test_a_thousand_parameters_take_a_few_kilobytes(plan, large):
    assert len(large) == 1002
    manifest = Manifest(large, 0, digests_of(large))
    assert len(manifest.to_toml()) < 5000
    assert len(lines_of(manifest.to_toml())) == len(lines_of(Manifest(plan, 0).to_toml())) == 18
    assert len(manifest.to_toml(full=True)) < 5000 + 40 * len(large)
    assert len(large.to_toml()) < 250 * len(large)


def test_rows_that_differ_in_what_was_measured_share_a_line():
    rows = [
        Row(f"h.{i}.w", (3,), "float32", Normal(0.1), None, "", "", "", fed=1 / (i + 1), factor=1 + i / 7)
        for i in range(4)
    ]
    manifest = Manifest(Plan(rows), 0)
    (line,) = lines_of(manifest.to_toml(full=True))
    assert "fed = [1.0, 0.5, 0.3333333333333333, 0.25]" in line
    assert "factor = [1.0, 1.1428571428571428, " in line
    assert Manifest.from_toml(manifest.to_toml(full=True)) == manifest
    assert [row.factor for row in Manifest.from_toml(manifest.to_toml()).plan] == [row.factor for row in rows]
    assert "fed" not in manifest.to_toml()


def test_signs_of_zero_are_kept_apart():
    law = "{ name = 'constant', value = %s }"
    text = file(
        *(f'path = "h.{i}", law = {law % z}, shape = [3], dtype = "float32"' for i, z in enumerate(("0.0", "-0.0")))
    )
    read = Manifest.from_toml(Manifest.from_toml(text).to_toml())
    assert [str(row.law.value) for row in read.plan] == ["0.0", "-0.0"]


@pytest.mark.parametrize("path", ["h.{0..1}.w", "h.{0,2}.{}", "a..{0}", "{", "\x00.1"])
def test_paths_with_braces_stay_what_they_are(path):
    rows = [Row(f"{path}.{i}", (3,), "float32", zeros, None, "", "", "") for i in range(3)]
    rows.append(Row(path, (3,), "float32", zeros, None, "", "", ""))
    manifest = Manifest(Plan(rows), 0)
    assert Manifest.from_toml(manifest.to_toml()) == manifest


@pytest.mark.parametrize("order", [range(12), range(11, -1, -1), [5, 0, 7, 2, 11, 4, 9, 1, 3, 10, 8, 6]])
def test_the_order_of_rows_survives(order):
    names = [f"{a}.{b}.{c}" for a in "xy" for b in range(3) for c in range(2)]
    manifest = Manifest(Plan([Row(names[i], (3,), "float32", zeros, None, "", "", "") for i in order]), 0)
    assert Manifest.from_toml(manifest.to_toml()) == manifest


@pytest.mark.parametrize("seed", [0, 2**63 - 1, 2**63, 2**128 - 1])
def test_seeds_are_integers_where_toml_has_them(plan, seed):
    text = Manifest(plan, seed).to_toml()
    assert type(tomllib.loads(text)["seed"]) is (int if seed < 2**63 else str)
    assert Manifest.from_toml(text).seed == seed


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("format = 1", ValueError, "seed is missing: expected a manifest"),
        (file(seed="-1"), ValueError, "seed = -1"),
        (file(seed="'x'"), ValueError, "seed = 'x'"),
        (file(seed=f"'{2**128}'"), ValueError, "out of range"),
        (file(seed="1.5"), TypeError, "seed = 1.5"),
        (file() + "\ndigest = 3", TypeError, "digest = 3"),
        (file() + "\ndigest = 'x'", ValueError, "digest 'x'"),
        (file() + "\ndigests = 3", ValueError, "unknown key 'digests'"),
        (file("path = 3, place = [0, 1]"), ValueError, "unknown key 'place'"),
        (file(f"{LINE}, place = 3"), ValueError, "parameter 1 ('h.{0..2}.w'), key 'place': 3, expected the first"),
        (file(f"{LINE}, place = [0]"), ValueError, "a step for each of the 1 ranges"),
        (file(f"{LINE}, place = [0, 1.0]"), ValueError, "key 'place': [0, 1.0]"),
        (file(f"{LINE}, place = [0, true]"), ValueError, "key 'place': [0, True]"),
        (file(f"{LINE}, place = [0, 2]"), ValueError, "position 4 of 'h.2.w' is taken or past the 3"),
        (file(f"{LINE}, place = [0, 0]"), ValueError, "position 0 of 'h.1.w' is taken"),
        (file(f"{LINE}, place = [-1, 1]"), ValueError, "position -1"),
        (file(f"{LINE}, place = [0, {10**30}]"), ValueError, "position 1000000000000000000000000000000"),
        (file(LINE.replace("0..2", "0..999999999999") + ", place = [0, 1]"), ValueError, "a range of 2 to 262144"),
        (file(LINE.replace("0..2", "5..2") + ", place = [0, 1]"), ValueError, "a range of 2 to 262144"),
        (file(LINE.replace("{0..2}", "{0..99999}.{0..99999}") + ", place = [0, 1, 1]"), ValueError, "describes 10000"),
        (file(*[LINE.replace("2}", "199999}") + ", place = [0, 1]"] * 2), ValueError, "describes 400000 parameters"),
        (file(f"{LINE}, place = [0, 1], digests = ['x']"), ValueError, "key 'digests': ['x'], expected a list of 3"),
        (file(f"{LINE}, place = [0, 1], digests = 3"), ValueError, "key 'digests': 3"),
        (file(f"{LINE}, place = [0, 1], digests = ['x', 'x', 3]"), ValueError, "digest 'x', expected 32"),
        (file(f"{LINE}, place = [0, 1], fed = [1, 2]"), ValueError, "key 'fed': [1, 2], expected a list of 3"),
        (file(f"{LINE}, place = [0, 1], fed = [1, 2, -3]"), ValueError, "parameter 1: parameter 'h.2.w': fed = -3"),
        (file(f"{LINE}, place = [0, 1], factor = [nan, 1, 1]"), ValueError, "'h.0.w': factor = nan"),
        (file(f"{LINE}, place = [0, 1], shape = 3".replace("shape = [3], ", "")), TypeError, "key 'shape': 3"),
        (file(f"{LINE}, place = [0, 1]", f"{LINE}, place = [3, 1]"), ValueError, "'h.0.w' stands in two rows"),
        (file("path = 'a', law = 'zeros'"), ValueError, "parameter 1 ('a'): key 'shape' is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(text, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        Manifest.from_toml(text)


def test_a_manifest_is_no_plan(plan):
    with pytest.raises(ValueError, match="heading: unknown key 'seed'"):
        Plan.from_toml(Manifest(plan, 0).to_toml())


def test_brief_keeps_what_fixes_the_bits(plan):
    measured = Plan([replace(row, fed=2.0, gives=1.0) for row in plan])
    brief = Manifest(measured, 0).brief()
    assert [(row.fed, row.gives) for row in brief.plan] == [(None, None)] * len(plan)
    assert [(row.path, row.law, row.factor) for row in brief.plan] == [(r.path, r.law, r.factor) for r in plan]
