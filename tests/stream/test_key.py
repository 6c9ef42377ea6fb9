import itertools

import numpy as np
import pytest
import stream_reference
from hypothesis import given
from hypothesis import strategies as st

from fanwise import Key
from fanwise.stream.key import as_key

SEEDS = st.integers(0, 2**128 - 1)
NAMES = st.text(min_size=1, max_size=20)

EDGE_SEEDS = [0, 1, 2, 10, 11, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**53, 2**63 - 1, 2**63, 2**63 + 5]
EDGE_SEEDS += [2**64 - 1, 2**64, 2**64 + 1, 2**96, 10**30, 2**127, 2**128 - 1, 255, 256, 65536]


@given(SEEDS, NAMES, st.text(max_size=10))
def test_the_words_of_a_key_are_those_of_the_page(seed, path, domain):
    philox = Key(seed, path, domain).philox()
    assert [*philox.key, *philox.stream] == stream_reference.key_words(seed, path, domain)


@given(SEEDS, NAMES, NAMES)
def test_children_join_their_paths_by_dots(seed, a, b):
    assert Key(seed).child(a).child(b) == Key(seed).child(f"{a}.{b}")


def test_24_edge_seeds_have_24_streams():
    assert len({Key(seed).philox() for seed in EDGE_SEEDS}) == len(EDGE_SEEDS) == 24


def test_seed_path_and_domain_never_run_into_each_other():
    parts = ["", "a", "b", "ab", "a.b", "/", "\0"]
    keys = {Key(seed, path, domain) for seed, path, domain in itertools.product([0, 97], parts, parts)}
    assert len({key.philox() for key in keys}) == len(keys)


def test_numpy_integers_count_by_value():
    assert Key(np.int64(7)) == Key(7)
    assert Key(np.uint64(2**63 + 5)) == Key(2**63 + 5)
    assert type(Key(np.int64(7)).seed) is int


@pytest.mark.parametrize(
    "seed", [float("nan"), 1.5, 1.0, "42", True, np.bool_(True), None, [1, 2], np.array(3), np.random.default_rng(0)]
)
def test_a_seed_of_another_type_is_refused(seed):
    with pytest.raises(TypeError, match=r"expected an integer in \[0, 2\*\*128\)"):
        as_key(seed)


@pytest.mark.parametrize("seed", [-1, np.int8(-1), 2**128])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=r"seed = .* is out of range"):
        Key(seed)


def test_names_are_checked():
    with pytest.raises(ValueError, match="must not be empty"):
        Key(0).child("")
    with pytest.raises(ValueError, match="must not be empty"):
        Key(0).derive("")
    with pytest.raises(TypeError, match="name = 3 is not a str"):
        Key(0).child(3)


def test_derived_keys_nest():
    assert Key(0, "w").derive("a").derive("b") == Key(0, "w", "a/b")
    assert Key(0, "w").derive("a").child("x") == Key(0, "w.x", "a")
