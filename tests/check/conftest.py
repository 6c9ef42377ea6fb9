"""Reports as a check would make them, written down by hand: no model is run."""

import math

import pytest

from fanwise.check.findings import Finding, Fix
from fanwise.check.report import Report
from fanwise.check.report_data import Layer
from fanwise.graph.op import Op, Parameter, Use
from fanwise.graph.trace import Trace
from fanwise.measure.observation import Observation, ObservedLoss, Place, Signal, Values

TORCH = "U(±sqrt(1/fan_in)), torch default"
BELL = tuple(round(1000 * math.exp(-(((i - 15.5) / 6) ** 2) / 2)) for i in range(32))
NAN = math.nan


def parameter_values(size, std, *, gradient=3e-5):
    return Values(
        size, 0.0, std * std, kurtosis=1.8, largest=1.73 * std, histogram=BELL, reached=True, gradient=gradient**2
    )


def observed(names, *, shape=(64, 64, 3, 3), seed=0, loss=None):
    """A run of weight ops in a row, each with a weight and a bias."""
    parameters, values, ops = [], {}, []
    for i, name in enumerate(names):
        weight, bias = f"{name}.weight", f"{name}.bias"
        parameters += [Parameter(weight, shape, "float32"), Parameter(bias, shape[:1], "float32")]
        values[weight] = parameter_values(math.prod(shape), 0.0241)
        values[bias] = Values(shape[0], 0.0, 0.0, zeros=1.0)
        uses = (Use(weight, "weight"), Use(bias, "bias"))
        ops.append(Op(i, "conv", "conv2d", name, 0, 0, (i - 1,), uses, (8, 64, 24, 24), 1))
    signals = tuple(Signal(0.0, 1.0) for _ in ops)
    return Observation(Trace(tuple(ops), tuple(parameters)), signals, values, loss=loss, seed=seed)


def layer(number, name, **changes):
    known = {"rms": 0.9, "gradient": 3.1e-5, "expected": 0.9, "dead": 0.03, "saturated": NAN} | changes
    said = {"predicted": known["expected"], "predicted_gradient": 3e-5}
    said["band"] = (0.9 * said["predicted"], 1.1 * said["predicted"])
    return Layer(number, number - 1, name, known.pop("kind", "conv"), known.pop("law", TORCH), **said | known)


def vision_layers():
    names = ["stem.conv", *(f"body.{i}.conv{j}" for i in range(12) for j in (1, 2)), "head.fc"]
    layers = []
    for number, name in enumerate(names, 1):
        rms = 0.58 * 0.58 ** max(0, number - 1)
        known = {"rms": rms, "expected": 1.0, "gradient": 3.1e-7 * 1.4**number}
        if name == "body.0.conv1":
            known |= {"severity": "error", "codes": ("FWD001",)}
        if name == "body.3.conv2":
            known |= {"design": "zero-initialised end of a branch", "rms": 0.0, "expected": 0.0, "law": "0"}
        if name == "body.7.conv1":
            known |= {"severity": "warning", "codes": ("DED001",), "dead": 0.61}
        if name == "head.fc":
            known |= {"kind": "linear", "law": "N(0, 1)", "severity": "error", "codes": ("LOS001",), "dead": NAN}
        layers.append(layer(number, name, **known))
    return tuple(layers)


def vision_findings():
    follows = (
        Finding("BWD001", "warning", "gradient grows 1.4x per layer over 24 layers", "body.11.conv2", 24),
        Finding("OUT001", "error", "outputs for different inputs are alike: cosine 0.9998", "head.fc", 25),
        Finding("BWD001", "warning", "gradient of the stem is 3.4e-07 of that of the head", "stem.conv", 0),
    )
    return (
        Finding(
            "LOS001",
            "error",
            "initial loss 37.9 is 16.5 x ln 10: the head starts confidently wrong",
            "head.fc",
            25,
            cause="std 1.0 at fan_in 512, where 0.044 keeps the variance",
            kind="scale",
            paths=("head.fc.weight",),
            evidence={"loss": 37.9, "chance": 2.302585, "classes": 10},
            fix=Fix("small head: N(0, 0.01) on 1 weight", safe=True, paths=("head.fc.weight",)),
        ),
        Finding(
            "FWD001",
            "error",
            "signal shrinks 0.58x per layer over 24 layers, starting at body.0.conv1",
            "body.0.conv1.weight",
            1,
            cause="U(±sqrt(1/fan_in)) has a third of the variance that keeps a signal through ReLU",
            kind="scale",
            paths=tuple(f"body.{i}.conv{j}.weight" for i in range(12) for j in (1, 2)),
            evidence={"slope": -1.0895, "layers": 24, "lowest": 1.2e-6},
            fix=Fix("He normal on 24 weights", safe=True, paths=("body.0.conv1.weight",)),
            follows=follows,
        ),
        Finding(
            "DED001",
            "warning",
            "61 % of the units of the activation are silent for the whole batch",
            "body.7.conv1",
            15,
            cause="its bias is -2.1 on average, three standard deviations below what the weights give",
            kind="bias",
            evidence={"silent": 0.61},
            fix=Fix("remove the shift of the bias, or normalise what the layer reads"),
        ),
        Finding(
            "DSN001",
            "info",
            "1 branch ends in zeros and begins as the identity",
            "body.3.conv2",
            8,
            cause="zero-initialised end of a branch",
            design=True,
        ),
        Finding("NRM001", "info", "the input has mean 0.45 and std 0.23 per channel", "", None),
    )


@pytest.fixture(scope="session")
def broken():
    """Two errors, one of which others follow from, a warning, a layer that is by design, notes."""
    layers = vision_layers()
    loss = ObservedLoss(37.9, "cross_entropy", chance=2.302585, classes=10)
    names = [one.name for one in layers]
    runs = tuple(observed(names, seed=seed, loss=loss) for seed in range(3))
    return Report(
        vision_findings(),
        layers,
        runs,
        model="VisionNet",
        framework="torch 2.13.0",
        batch="64,3,96,96:float32",
        parameters=11_173_962,
        weights=(26, 25),
        places={"": Place("train.py", 12), "body.0": Place("models/net.py", 41), "head.fc": Place("models/net.py", 58)},
        notes=("weight aux.fc.weight was not used by this run.", "Dropout was off: the check runs in eval mode."),
        suppressed=1,
    )


@pytest.fixture(scope="session")
def healthy():
    """Nothing found, no loss, no gradients."""
    layers = tuple(layer(i, f"{i - 1}", kind="linear", gradient=NAN, dead=NAN) for i in range(1, 4))
    runs = (observed([one.name for one in layers], shape=(100, 100), seed=None),)
    return Report((), layers, runs, model="Sequential", framework="torch 2.13.0", weights=(3, 3), parameters=30_300)


@pytest.fixture(scope="session")
def large():
    """200 layers with long names and histograms; the signal explodes from the 121st on, where findings start."""
    return large_report()


def large_report(depth=200):
    layers = []
    for number in range(1, depth + 1):
        late = max(0, number - 120)
        name = f"model.layers.{number // 4}.self_attention.{'qkvo'[number % 4]}_proj"
        known = {"rms": (0.93 + 0.05 * math.sin(number)) * 1.5**late, "gradient": 2e-5 * 1.02 ** (depth - number)}
        known |= {"expected": 0.93, "dead": 0.02 * (number % 3)}
        if number in (121, 133, 160):
            known |= {"severity": "error", "codes": ("FWD002",)}
        if number in (60, 61):
            known |= {"severity": "warning", "codes": ("DED001", "EQU001")}
        layers.append(layer(number, name, **known))
    findings = [
        Finding(
            "FWD002",
            "error",
            f"signal grows 1.5x per layer over 80 layers, starting at {one.name}",
            one.name,
            one.op,
            cause="2/sqrt(fan_in) where sqrt(2/fan_in) is meant: the std is 1.41 times too large",
            fix=Fix("He normal on 80 weights", safe=True),
            follows=tuple(
                Finding("BWD002", "warning", f"gradient of {other.name} is 12 times that of its neighbour", other.name)
                for other in layers[number : number + 4]
            ),
        )
        for number, one in enumerate(layers)
        if one.severity == "error"
    ]
    run = observed([one.name for one in layers], loss=ObservedLoss(912.5, "cross_entropy", chance=10.8, classes=50257))
    return Report(
        tuple(findings),
        tuple(layers),
        (run,),
        model="TransformerForCausalLM",
        framework="torch 2.13.0",
        batch="8,128:int64",
        parameters=124_439_808,
        weights=(depth, depth),
    )
