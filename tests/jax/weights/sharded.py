"""Run in a process with eight devices: prints what was found of sharded arrays as JSON, for `test_shards`."""

import json
import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import fanwise
from fanwise import Blocks, Box, Layout
from fanwise.jax import apply, draw, fanwise_key, materialize, plan

KEY = jax.random.key(5)
COMMUNICATION = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
    "collective-broadcast",
)
CASES = {
    "normal": (fanwise.Normal(0.02), None, "float32"),
    "uniform bfloat16": (fanwise.glorot_uniform, None, "bfloat16"),
    "truncated float16": (fanwise.VarianceScaling(2.0, "fan_in", "truncated_normal"), None, "float16"),
    "blocks": (Blocks((fanwise.Zeros(), fanwise.Normal(0.1), fanwise.Uniform(1.0)), 1, (8, 24, 32)), None, "float32"),
    "stack": (fanwise.he_normal, Layout.dense("stack out"), "float32"),
}
SPECS = {"rows": P("x"), "columns": P(None, "x"), "whole": P()}
SHAPE = (64, 64)


def mesh(devices, kind=AxisType.Auto):
    return jax.make_mesh((devices,), ("x",), axis_types=(kind,), devices=jax.devices()[:devices])


def compiled(sharding, case):
    law, layout, dtype = CASES[case]
    function = jax.jit(lambda key: draw(law, key, SHAPE, layout=layout, dtype=dtype, out_sharding=sharding))
    return function.lower(KEY).compile()


def program(devices, spec, case):
    law, layout, dtype = CASES[case]
    expected = law(SHAPE, key=fanwise_key(KEY), layout=layout, dtype=dtype)
    sharding = NamedSharding(mesh(devices), SPECS[spec])
    made = compiled(sharding, case)
    memory = made.memory_analysis()
    text = made.as_text()
    eager = draw(law, KEY, SHAPE, layout=layout, dtype=dtype, out_sharding=sharding)
    answer = made(KEY)
    return {
        "traced": np.asarray(answer).tobytes() == expected.tobytes(),
        "eager": np.asarray(eager).tobytes() == expected.tobytes() and eager.sharding.is_equivalent_to(sharding, 2),
        "placed": answer.sharding.is_equivalent_to(sharding, 2),
        "communication": [word for word in COMMUNICATION if word in text],
        "output": memory.output_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "bytes": expected.nbytes,
    }


def explicit():
    """A mesh whose axes belong to the types of the arrays."""
    made = {}
    with jax.set_mesh(mesh(8, AxisType.Explicit)):
        law, expected = fanwise.Normal(0.02), fanwise.Normal(0.02)(SHAPE, key=fanwise_key(KEY))
        for name, run in (("eager", lambda f: f), ("jit", jax.jit)):
            answer = run(lambda key: draw(law, key, SHAPE, out_sharding=P("x")))(KEY)
            made[name] = bool(np.array_equal(answer, expected)) and len(answer.addressable_shards[0].data) == 8
    return made


def unset():
    """What is said where a sharding is one of an explicit mesh that is not set: by JAX, and by fanwise."""
    sharding, said = NamedSharding(mesh(8, AxisType.Explicit), P("x")), {}
    for name, run, where in (
        ("eager", lambda f: f, sharding),
        ("jit", jax.jit, sharding),
        ("eager spec", lambda f: f, P("x")),
        ("jit spec", jax.jit, P("x")),
    ):
        try:
            run(lambda key, where=where: draw(fanwise.Normal(0.02), key, SHAPE, out_sharding=where))(KEY)
            said[name] = ""
        except ValueError as error:
            said[name] = str(error)
    return said


def uneven():
    """Rows that eight devices cannot share evenly, each device's own drawn by its box and padded."""
    shape, rows = (10, 6), -(-10 // 8)
    expected = fanwise.Normal(1.0)(shape, key=fanwise_key(KEY))

    def shard(index):
        first, stop = index[0].start or 0, index[0].stop or rows * 8
        kept = max(min(stop, shape[0]) - first, 0)
        box = Box((min(first, shape[0]), 0), (kept, shape[1]))
        own = fanwise.Normal(1.0)(shape, key=fanwise_key(KEY), box=box)
        return np.pad(own, ((0, stop - first - kept), (0, 0)))

    made = jax.make_array_from_callback((rows * 8, shape[1]), NamedSharding(mesh(8), P("x")), shard)
    return bool(np.array_equal(np.asarray(made)[: shape[0]], expected))


def matrices():
    """Orthogonal matrices are no elements: they are made whole, and then agree to their tolerance."""
    made = jax.jit(lambda key: draw(fanwise.orthogonal, key, SHAPE, out_sharding=NamedSharding(mesh(8), P("x"))))(KEY)
    expected = fanwise.orthogonal(SHAPE, key=fanwise_key(KEY))
    return float(np.abs(np.asarray(made) - expected).max())


def materialized():
    """A planned model whose parameters go to their own shardings."""
    shapes = {"in": jax.ShapeDtypeStruct((64, 128), np.float32), "out": jax.ShapeDtypeStruct((128, 8), np.float32)}
    model = (lambda params, x: jax.nn.relu(x @ params["in"]) @ params["out"], shapes)
    made = plan(model, "4,64")
    places = {"in": NamedSharding(mesh(8), P(None, "x")), "out": NamedSharding(mesh(8), P("x"))}
    _, sharded = materialize(model, made, 3, places)
    _, by_function = materialize(model, made, 3, lambda path, shape: places[path])
    _, whole = materialize(model, made, 3)
    moved = apply((model[0], sharded), made, 4)[1]
    kept = all(moved[path].sharding.is_equivalent_to(places[path], 2) for path in shapes)
    same = all(np.array_equal(one[path], whole[path]) for path in shapes for one in (sharded, by_function))
    shards = {path: sharded[path].addressable_shards[0].data.shape for path in shapes}
    return {"same": same, "kept": kept, "shards": shards}


if __name__ == "__main__":
    found = {
        f"{devices} {spec} {case}": program(devices, spec, case)
        for devices, spec, case in (
            [(devices, spec, "normal") for devices in (1, 2, 4, 8) for spec in ("rows", "columns")]
            + [(8, spec, case) for case in CASES for spec in SPECS if (spec, case) != ("whole", "normal")]
        )
    }
    json.dump(
        {
            "programs": found,
            "explicit": explicit(),
            "unset": unset(),
            "uneven": uneven(),
            "orthogonal": matrices(),
            "model": materialized(),
        },
        sys.stdout,
    )
