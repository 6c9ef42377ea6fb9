"""Each specimen of the zoo is what its entry says."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from zoo.model import Model  # noqa: E402
from zoo.registry import models  # noqa: E402

from .traced import block_names  # noqa: E402

ZOO = models("torch", "structure")
TRANSFORMERS = {name: specimen for name, specimen in ZOO.items() if specimen.family == "hf"}

DEEP = 64


def made(specimen: Model, depth: int | None = None) -> Any:
    torch.manual_seed(0)
    return specimen.build() if depth is None else specimen.build(depth)


def run(specimen: Model, model: Any) -> Any:
    args, kwargs = specimen.batch()
    torch.manual_seed(1)
    return model(*args, **kwargs)


def floats(output: Any) -> Iterator[Any]:
    """Every tensor in an output that a gradient can start from."""
    if isinstance(output, torch.Tensor):
        if output.requires_grad:
            yield output
    elif isinstance(output, Mapping):
        yield from floats(tuple(output.values()))
    elif isinstance(output, tuple | list):
        for part in output:
            yield from floats(part)


def without_gradient(model: Any) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None}


every = pytest.mark.parametrize("specimen", ZOO.values(), ids=ZOO)


@every
def test_forward_is_finite_and_its_logits_range_over_the_classes(specimen):
    model = made(specimen).eval()
    assert model is not made(specimen)
    with torch.no_grad():
        output = run(specimen, model)
    assert (specimen.traits.classes is None) == (specimen.traits.logits is None)
    if specimen.traits.logits is not None:
        logits = specimen.traits.logits(output)
        assert logits.shape[-1] == specimen.traits.classes
        assert logits.isfinite().all()


@every
def test_blocks_are_as_many_as_the_depth(specimen):
    for depth in (specimen.traits.shallowest, specimen.traits.depth, 3):
        names = block_names(specimen, made(specimen, depth))
        assert len(names) == (0 if specimen.traits.blocks is None else depth)
        assert not any(name.startswith(f"{other}.") for name in names for other in names)


@every
def test_unused_parameters_are_those_without_a_gradient(specimen):
    model = made(specimen)
    sum(part.sum() for part in floats(run(specimen, model))).backward()
    assert without_gradient(model) == set(specimen.traits.unused)
    assert len(specimen.traits.unused) == len(set(specimen.traits.unused))


@every
def test_build_and_forward_repeat_bit_for_bit(specimen):
    first, second = made(specimen), made(specimen)
    assert first.training
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    outputs = [tuple(floats(run(specimen, model))) for model in (first, second)]
    assert outputs[0]
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize("specimen", [s for s in ZOO.values() if s.traits.deep], ids=lambda specimen: specimen.name)
def test_a_deep_one_has_64_blocks_and_runs(specimen):
    model = made(specimen, DEEP).eval()
    assert specimen.traits.blocks is None or len(block_names(specimen, model)) == DEEP
    with torch.no_grad():
        run(specimen, model)


def test_the_zoo_is_large():
    pytest.importorskip("transformers", reason="transformers is not installed")
    assert len(TRANSFORMERS) >= 32
    assert len(ZOO) - len(TRANSFORMERS) >= 50
    assert {specimen.traits.data for specimen in ZOO.values()} == {"text", "image", "audio", "other"}
