"""Every model of the zoo: all parameters explained, nothing left behind, every plan applied and verified."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

import fanwise.keras as fwk  # noqa: E402
from fanwise.graph.visitor import Watcher  # noqa: E402
from fanwise.plan.manifest import Manifest  # noqa: E402
from zoo.registry import models  # noqa: E402

NAMES = [
    pytest.param(specimen, id=specimen.name, marks=[pytest.mark.slow] if specimen.traits.slow else [])
    for specimen in models("keras", "structure").values()
]


def built(specimen):
    """The model, with its weights, and its inputs."""
    keras.utils.set_random_seed(0)
    keras.utils.clear_session()
    model, (inputs,) = specimen.build(), specimen.batch().args
    model(inputs)
    return model, inputs


def state(model):
    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in model.variables]


def attributes(model):
    return [set(vars(layer)) for layer in model._flatten_layers()]


def same(before, after):
    return all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("specimen", NAMES)
def test_every_parameter_is_explained(specimen):
    model, inputs = built(specimen)
    before, names, add = state(model), attributes(model), keras.ops.add
    trace = fwk.run(model, fwk.Inputs((inputs,)))
    assert trace.unused == ()
    assert len(trace.parameters) == len(model.trainable_variables)
    assert [op for op in trace.ops if op.kind == "other"] == []
    assert trace.outputs
    assert same(before, state(model))
    assert (names, add) == (attributes(model), keras.ops.add)
    for op in trace.ops:
        assert all(source < op.index for source in op.inputs)
        for use in op.uses:
            if use.layout is not None:
                use.layout.checked(trace.by_path[use.path].shape)
            assert use.layout is not None or use.role not in ("weight", "recurrent", "table")


@pytest.mark.parametrize("specimen", NAMES)
def test_every_plan_is_applied_and_verified(specimen):
    model, inputs = built(specimen)
    before = state(model)
    plan = fwk.plan(model, inputs)
    assert same(before, state(model))
    assert len(plan.rows) == len(model.trainable_variables)
    assert {row.role for row in plan} & {"head", "tied_embedding", "branch_end"}
    assert "unused" not in {row.role for row in plan}
    kept = fwk.manifest(fwk.apply(model, plan, 7), plan, 7).to_toml()
    assert fwk.verify(model, Manifest.from_toml(kept)) == ()
    outputs = model(inputs)
    for tensor in outputs if isinstance(outputs, (list, tuple)) else [outputs]:
        assert np.isfinite(keras.ops.convert_to_numpy(tensor)).all()
    fwk.apply(model, plan, 8)
    assert fwk.verify(model, Manifest.from_toml(kept)) != ()


def test_plans_keep_the_signal():
    """The point of it: at the plan's values the maps of a deep network give unit second moments."""
    keras.utils.clear_session()
    hidden = [keras.layers.Dense(128, "relu", name=f"d{i}") for i in range(12)]
    model = keras.Sequential([keras.Input((128,)), *hidden, keras.layers.Dense(10, name="head")])
    inputs = np.random.default_rng(0).normal(size=(256, 128)).astype("float32")
    fwk.apply(model, fwk.plan(model, inputs), 0)
    assert 0.5 < deepest(model, inputs) < 2
    for layer in hidden:  # the mutant: Keras' default loses half at every layer
        layer.kernel.assign(keras.initializers.GlorotUniform(seed=0)(layer.kernel.shape))
    assert deepest(model, inputs) < 0.01


def deepest(model, inputs):
    moments = []

    class Look(Watcher):
        def after(self, op, moment):
            if op.kind == "linear" and "head" not in op.module:
                moments.append(moment())

    fwk.run(model, fwk.Inputs((inputs,)), Look())
    return moments[-1]
