"""Rules on the batch: inputs that are broken, or not normalised."""

import math
from collections.abc import Iterator

from fanwise.check.findings import Fix
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import LINEAR_MAPS
from fanwise.graph.op import INPUT

LEAST_SHARE = 1e-5
"""Mean or std, over the rms, below which inputs have none."""
LOUD, FAINT = 8.0, 1e-3
"""Root mean square of an input beyond which it is not normalised."""


@rule(
    "INP002",
    severity="error",
    title="a batch that is not finite",
    page=Page(
        says="The batch itself holds values that are infinite or not a number (NaN).",
        why="Nothing that the model computes from them means anything; the model is not to blame.",
        measured="All values of the inputs of floating point. A single value that is infinite or NaN is enough.",
        example="A division by a standard deviation of 0 when the data were normalised; missing values in a table.",
        remedy="Clean the data, then check again.",
    ),
    source="IEEE 754-2019, section 6",
    explains=("DEA001", "NAN002"),
)
def broken_batch(subject: Subject) -> Iterator[Symptom]:
    """Inputs with values that are infinite or not a number."""
    bad = [i for i, signal in enumerate(subject.first.inputs) if signal.second_moment - signal.second_moment != 0]
    if bad:
        yield Symptom(
            f"input {bad[0]} holds values that are infinite or not a number",
            cause="the batch itself is broken",
            kind="input",
            evidence={"inputs": len(bad)},
            fix=Fix("clean the data"),
        )


@rule(
    "INP001",
    severity="warning",
    title="inputs that are not normalised",
    page=Page(
        says="The model's first layer reads inputs that are far from size 1.",
        why="Weights are sized for inputs of mean 0 and rms 1. The first layer multiplies what every later layer sees "
        "by the inputs' size, and its own gradient as well.",
        measured=f"The rms of each input that a linear map, a convolution or a recurrent cell reads as it is: "
        f"above {LOUD:g} or below {FAINT:g}.",
        example="Pixels from 0 to 255; a feature in dollars beside one in percent.",
        remedy="Subtract the mean of each feature and divide by its standard deviation.",
    ),
    source='LeCun et al., "Efficient backprop", 1998, section 4.3',
    explains=("BIA001", "WGT001", "WGT002"),
)
def not_normalised(subject: Subject) -> Iterator[Symptom]:
    """The first map that reads an input far from size 1."""
    for layer in subject.maps:
        fed = layer.fed
        direct = INPUT in layer.op.inputs and layer.op.kind in LINEAR_MAPS
        if direct and fed.rms > LOUD:
            yield _symptom(layer, f"inputs of rms {fed.rms:.3g} and mean {fed.mean:.3g}")
            return
        if direct and 0 < fed.rms < FAINT:
            yield _symptom(layer, f"inputs of rms {fed.rms:.2g}")
            return


def _symptom(layer: Map, words: str) -> Symptom:
    return Symptom(
        f"{words} enter {layer.name} as they are",
        layer.path,
        layer.op.index,
        "weights are sized for inputs of mean 0 and rms 1",
        "input",
        (),
        {"rms": layer.fed.rms, "mean": layer.fed.mean},
        Fix(f"normalise the inputs: {_normalised(layer)}"),
    )


def _normalised(layer: Map) -> str:
    """Code that normalises what a map reads; its numbers are those of this batch."""
    mean, size = layer.fed.mean, layer.fed.rms
    std = math.sqrt(max(size**2 - mean**2, 0.0))
    if min(std, abs(mean)) < LEAST_SHARE * size:
        return f"x = x / {size:.4g}"
    return f"x = (x {'-' if mean > 0 else '+'} {abs(mean):.6g}) / {std:.4g}"
