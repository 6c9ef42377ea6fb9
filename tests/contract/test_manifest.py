"""`manifest` and `verify` in every framework: digests by hashlib, and what differs named by its path."""

import dataclasses
import hashlib

import numpy as np
import pytest

import fanwise
from fanwise.plan.manifest import Manifest

from .frameworks import planned
from .networks import CONV, MLP, NORM, shapes, weights

NETWORKS = {network.name: network for network in (MLP, CONV, NORM)}


def applied(framework, network, seed=7):
    plan = planned(framework, network)
    return framework.api.apply(framework.build(network, weights(network)), plan, seed), plan


def digest(array):
    """BLAKE2b-128 of dtype, shape and the elements in C order."""
    heading = f"{array.dtype.name} {','.join(map(str, array.shape))}\n".encode()
    return hashlib.blake2b(heading + np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()


@pytest.mark.parametrize("name", NETWORKS)
def test_digests_are_those_of_what_is_stored(framework, name):
    model, plan = applied(framework, NETWORKS[name])
    found = framework.api.manifest(model, plan, 7)
    assert found.seed == 7
    assert found.plan == plan
    assert found.digests == {row.path: digest(framework.api.read(model, row.path)) for row in plan}
    assert framework.api.verify(model, found) == ()


@pytest.mark.parametrize("full", [False, True])
def test_a_file_keeps_it(framework, full):
    model, plan = applied(framework, MLP)
    kept = Manifest.from_toml(framework.api.manifest(model, plan, 7).to_toml(full=full))
    assert framework.api.verify(model, kept) == ()
    again, _ = applied(framework, MLP)
    assert framework.api.verify(again, kept) == ()


def test_what_differs_is_named(framework):
    model, plan = applied(framework, MLP)
    expected = framework.api.manifest(model, plan, 7)
    other = framework.api.apply(model, plan, 8, only=framework.path("b.weight"))
    (told,) = framework.api.verify(other, expected)
    assert told.startswith(f"{framework.path('b.weight')}: expected ")
    (told,) = framework.api.verify(other, expected.brief())
    assert "some of 6 parameters differ" in told


def test_ports_that_share_a_stream_share_digests(framework):
    """Whatever a framework calls a parameter and however it stores it, the numbers are the same."""
    network, law = CONV, fanwise.Normal(0.3)
    model, plan = applied(framework, network)
    names = {framework.path(label): label for label in shapes(network)}
    rows = [dataclasses.replace(row, stream=names[row.path], order="canonical", law=law) for row in plan]
    plan = dataclasses.replace(plan, rows=rows)
    found = framework.api.manifest(framework.api.apply(model, plan, 7), plan, 7).digests
    for path, label in names.items():
        assert found[path] == digest(law(shapes(network)[label], key=fanwise.Key(7).child(label))), path


def test_a_seed_may_be_large(framework):
    model, plan = applied(framework, MLP, 2**127)
    assert framework.api.verify(model, Manifest.from_toml(framework.api.manifest(model, plan, 2**127).to_toml())) == ()


BAD = {
    "no plan": (TypeError, "plan = int: expected a fanwise Plan", lambda plan, other: (3, 7)),
    "another model's": (ValueError, "the plan is for another model", lambda plan, other: (other, 7)),
    "no seed": (TypeError, "expected an integer", lambda plan, other: (plan, "7")),
    "a negative seed": (ValueError, "expected an integer in", lambda plan, other: (plan, -7)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_of_manifest(framework, case):
    error, match, make = BAD[case]
    model, plan = applied(framework, MLP)
    with pytest.raises(error, match=match):
        framework.api.manifest(model, *make(plan, applied(framework, CONV)[1]))


def test_bad_arguments_of_verify(framework):
    model, plan = applied(framework, MLP)
    other = framework.api.manifest(*applied(framework, CONV), 7)
    with pytest.raises(TypeError, match="expected = str: expected a fanwise Manifest"):
        framework.api.verify(model, "manifest")
    with pytest.raises(ValueError, match="the plan is for another model"):
        framework.api.verify(model, other)
    with pytest.raises(ValueError, match="no digests"):
        framework.api.verify(model, Manifest(plan, 7))


def test_seed_is_an_old_name_of_key(framework):
    model, plan = applied(framework, CONV)
    with pytest.warns(DeprecationWarning, match="key="):
        old = framework.api.manifest(model, plan, seed=7)
    assert old == framework.api.manifest(model, plan, key=7)
    with pytest.raises(TypeError, match="expected key"):
        framework.api.manifest(model, plan)
