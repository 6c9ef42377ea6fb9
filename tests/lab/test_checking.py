"""The check of the lab's network: its numbers against the PyTorch adapter's, and its verdict on every start."""

import json
import math
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

import fanwise as fw
from fanwise import lab
from fanwise.lab import demo
from fanwise.lab.experiment import Setup, run
from fanwise.lab.network import Architecture, initialize
from fanwise.lab.pages import Results, document, step_zero_table
from fanwise.lab.starts import Start, starts
from fanwise.lab.story import DIRECTIONS, tell
from fanwise.measure.observation import Observation, Signal, Values
from fanwise.report.html import to_html

NETWORKS = {
    "relu": Architecture((64, 30, 30, 10)),
    "relu-batch": Architecture((64, 30, 30, 10), "relu", "batch"),
    "relu-layer": Architecture((64, 30, 30, 10), "relu", "layer"),
    "tanh-batch": Architecture((64, 30, 30, 10), "tanh", "batch"),
    "sigmoid": Architecture((64, 30, 30, 10), "sigmoid"),
    "gelu-layer": Architecture((64, 30, 30, 10), "gelu", "layer"),
    "linear": Architecture((64, 30, 30, 10), "linear"),
    "narrow": Architecture((64, 4, 1, 3)),
}


def batch(architecture, count=48):
    rng = np.random.default_rng(0)
    x = rng.normal(0.3, 1.0, (count, architecture.widths[0])).astype(np.float32)
    return x, rng.integers(architecture.widths[-1], size=count)


def rough(architecture):
    """Parameters at which every number of an observation has something to tell."""
    rng = np.random.default_rng(1)
    found = initialize(architecture, fw.VarianceScaling(3.0), key=0)
    found = {name: array + (0.2 * rng.normal(size=array.shape)).astype(np.float32) for name, array in found.items()}
    first, second = found["layers.0.weight"], found["layers.1.weight"]
    first[:, 1] = first[:, 0]  # a unit twice
    first[:5, 2:] = 0  # zeros
    found["layers.0.bias"][3:4] = -50 if architecture.nonlinearity == "relu" else -4  # a dead unit, or a saturated one
    second[:, -1] *= 3  # parts of different size
    for one, other in (("layers.1.bias", "layers.0.bias"), ("layers.1.norm.scale", "layers.0.norm.scale")):
        if one in found and found[one].shape == found[other].shape:
            found[one] = found[other].copy()  # the same numbers in other memory
    return found


def twin(architecture, parameters):
    """The same network in PyTorch, its parameters under the same names and in the same shapes."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    functional = torch.nn.functional

    class Norm(torch.nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.kind = kind

        def forward(self, x):
            if self.kind == "batch":
                return functional.batch_norm(x, None, None, self.scale, self.shift, training=True)
            return functional.layer_norm(x, x.shape[-1:], self.scale, self.shift)

    class Dense(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer
            self.norm = Norm(layer.norm)

        def forward(self, x):
            x = functional.linear(x, self.weight.T, self.bias)
            x = x if self.layer.norm == "none" else self.norm(x)
            name = self.layer.nonlinearity
            return x if name == "linear" else {"gelu": functional.gelu}.get(name, vars(torch).get(name))(x)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(map(Dense, architecture.layers))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    network = Network()
    for name, array in parameters.items():
        module, _, own = name.rpartition(".")
        network.get_submodule(module).register_parameter(own, torch.nn.Parameter(torch.tensor(array)))
    return network


def observed_by_torch(architecture, parameters, x, y):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from fanwise.torch.measure.observe import observe  # noqa: PLC0415  (where PyTorch is)
    from fanwise.torch.trace.run import Inputs  # noqa: PLC0415

    inputs = Inputs((torch.tensor(x),), {})
    return observe(twin(architecture, parameters), inputs, torch.tensor(y), "cross_entropy")


def same(one, other, size=1.0):
    """Equal up to the rounding of float32 sums; means up to that of what cancels in them."""
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if one is None or other is None or isinstance(one, (str, bool, int)):
        return one == other
    return one == pytest.approx(other, rel=2e-4, abs=2e-6 * size, nan_ok=True)


def unlike(one, other):
    """Names of the fields in which two records differ."""
    size = math.sqrt(other.second_moment) if isinstance(other, Signal | Values) and other.second_moment >= 0 else 1.0
    rounded = 1e-6 if isinstance(other, Values) else 0.0  # a bias before a batch norm has the gradient 0, but for it
    sizes = {"mean": size, "second_moment": 0.0, "gradient": rounded}
    return [
        field.name
        for field in fields(one)
        if not same(vars(one)[field.name], vars(other)[field.name], sizes.get(field.name, 1.0))
    ]


def differences(ours: Observation, theirs: Observation):
    """Every place at which two observations differ, in words."""
    found = [f"signal {i} {unlike(*pair)}" for i, pair in enumerate(zip(ours.signals, theirs.signals, strict=True))]
    found += [f"input {unlike(*pair)}" for pair in zip(ours.inputs, theirs.inputs, strict=True)]
    found += [f"outputs {unlike(ours.outputs, theirs.outputs)}", f"loss {unlike(ours.loss, theirs.loss)}"]
    assert ours.values.keys() == theirs.values.keys()
    found += [f"{name} {unlike(ours.values[name], theirs.values[name])}" for name in ours.values]
    return [text for text in found if not text.endswith("[]")]


def told(op):
    """What the rules read of an op."""
    detail = op.nonlinearity, op.norm, op.given
    return op.index, op.kind, op.name, op.module, op.call, op.ordinal, op.inputs, op.uses, op.shape, op.axis, detail


@pytest.fixture(scope="module", params=NETWORKS)
def both(request):
    """An observation of one network by the lab and by the PyTorch adapter."""
    architecture = NETWORKS[request.param]
    given = architecture, rough(architecture), *batch(architecture)
    return lab.observe(*given), observed_by_torch(*given)


def test_every_number_is_what_the_pytorch_adapter_measures(both):
    ours, theirs = both
    assert differences(ours, theirs) == []
    assert (ours.given, ours.seed, ours.backward) == (theirs.given, theirs.seed, theirs.backward)


def test_the_trace_is_the_one_that_the_pytorch_adapter_records(both):
    ours, theirs = both
    assert [told(op) for op in ours.trace.ops] == [told(op) for op in theirs.trace.ops]
    assert {one.path: one for one in ours.trace.parameters} == {one.path: one for one in theirs.trace.parameters}
    assert ours.trace.outputs == theirs.trace.outputs


def test_every_field_has_something_to_tell_somewhere():
    """The comparison above would say little of numbers that are 0 or NaN in every network."""
    found = [lab.observe(each, rough(each), *batch(each)) for each in NETWORKS.values()]
    signals = [vars(signal) for one in found for signal in one.signals]
    values = [vars(value) for one in found for value in one.values.values()]
    told_apart = {"zeros", "silent", "saturated", "likeness", "gradient"}
    assert all(any(0 < signal[name] < 1 for signal in signals) for name in told_apart)
    measured = {field.name for field in fields(Values)} - {"infinite", "blocks", "block_means", "kin", "elsewhere"}
    assert all(any(value[name] for value in values) for name in measured)


def off(value):
    """A number or several that are a little wrong."""
    if isinstance(value, tuple):
        return tuple(1.01 * item + 1 for item in value)
    if isinstance(value, (str, bool)):
        return "other" if isinstance(value, str) else not value
    return 0.5 if math.isnan(value) else 1.01 * value + 0.01


@pytest.mark.parametrize("name", [field.name for field in fields(Signal)])
def test_a_wrong_signal_would_be_noticed(name):
    """The mutants: each number of each op made a little wrong in turn."""
    one = lab.observe(NETWORKS["relu-batch"], rough(NETWORKS["relu-batch"]), *batch(NETWORKS["relu-batch"]))
    for i, signal in enumerate(one.signals):
        wrong = replace(signal, **{name: off(vars(signal)[name])})
        mutant = replace(one, signals=(*one.signals[:i], wrong, *one.signals[i + 1 :]))
        assert differences(mutant, one) == [f"signal {i} ['{name}']"]


@pytest.mark.parametrize("name", [field.name for field in fields(Values)])
def test_a_wrong_value_would_be_noticed(name):
    one = lab.observe(NETWORKS["relu"], rough(NETWORKS["relu"]), *batch(NETWORKS["relu"]))
    path = "layers.1.weight"
    value = vars(one.values[path])[name]
    wrong = replace(one.values[path], **{name: off(value) if value != () else (1.0,)})
    mutant = replace(one, values={**one.values, path: wrong})
    assert differences(mutant, one) == [f"{path} ['{name}']"]


def test_a_wrong_moment_in_the_lab_would_be_noticed(monkeypatch):
    """The mutant: a variance where the second moment belongs."""
    given = NETWORKS["relu"], rough(NETWORKS["relu"]), *batch(NETWORKS["relu"])
    theirs = observed_by_torch(*given)
    for module in ("measure.signal_statistics", "numpy.observing"):
        monkeypatch.setattr(f"fanwise.{module}.moment_of", lambda values: float(values.var(dtype=np.float64)))
    assert "signal 0 ['second_moment', 'gradient']" in differences(lab.observe(*given), theirs)


@pytest.mark.parametrize("value", [0.0, 0.25, -1.0])
def test_equal_weights_are_measured_alike(value):
    architecture = NETWORKS["relu"]
    parameters = initialize(architecture, fw.he_normal, key=0)
    parameters["layers.1.weight"][:] = value
    given = architecture, parameters, *batch(architecture)
    assert differences(lab.observe(*given), observed_by_torch(*given)) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_counted(bad):
    architecture = NETWORKS["relu"]
    parameters = initialize(architecture, fw.he_normal, key=0)
    whole = lab.observe(architecture, parameters, *batch(architecture)).values["layers.0.weight"]
    parameters["layers.0.weight"][3, 5] = bad
    values = lab.observe(architecture, parameters, *batch(architecture)).values["layers.0.weight"]
    assert values.infinite == pytest.approx(1 / (64 * 30))
    assert values.second_moment == pytest.approx(whole.second_moment, rel=0.01)
    assert values.histogram == ()
    parameters["layers.0.weight"][:] = bad
    assert lab.observe(architecture, parameters, *batch(architecture)).values["layers.0.weight"].infinite == 1
    assert lab.check(architecture, parameters, *batch(architecture)).findings[0].code == "NAN001"


def test_squares_beyond_float32_are_still_told(digits):
    architecture = Architecture((784, 20, 10))
    parameters = initialize(architecture, fw.Normal(1e20), key=0)
    found = lab.observe(architecture, parameters, digits.test_x, digits.test_y)
    assert found.signals[0].rms == pytest.approx(28e20, rel=0.2)
    assert found.values["layers.0.weight"].std == pytest.approx(1e20, rel=0.05)


VERDICTS = {
    "zeros": ("ZER001", "error"),
    "constant": ("CON001", "error"),
    "tiny": ("WGT001", "warning"),
    "small": None,
    "huge": ("WGT002", "error"),
    "lecun": None,
    "he": None,
    "glorot": None,
    "orthogonal": None,
    "huge-batch": ("WGT002", "warning"),
    "huge-layer": ("WGT002", "warning"),
    "tiny-batch": ("WGT001", "warning"),
    "tiny-layer": ("WGT001", "warning"),
}
"""The first finding on each start of the demo's network, 784-100-100-10, under any seed; None where it is healthy."""

DEEP = {
    "zeros": {"ZER001"},
    "constant": {"CON001"},
    "tiny": {"FWD001", "WGT001"},
    "small": {"FWD001"},
    "huge": {"FWD002", "WGT002", "LOS001"},
    "lecun": {"FWD001"},
    "he": set(),
    "slip": {"FWD002", "LAW001", "LOS001"},
    "glorot": {"FWD001"},
    "orthogonal": set(),
    "huge-batch": {"WGT002", "LOS001"},
    "huge-layer": {"WGT002", "LOS001"},
}
"""What is found over 30 layers of 128, as one cause and what follows from it; there may be more that follows."""


NORMED = ("huge-batch", "huge-layer")


def verdict(report):
    return (report.findings[0].code, report.findings[0].severity) if report.findings else None


def checked(name, digits, *, seed, depth=3, width=100):
    start = starts()[name]
    architecture = Architecture((784, *(width,) * (depth - 1), 10), "relu", start.norm)
    return lab.check(architecture, initialize(architecture, start.law, seed), digits.test_x, digits.test_y)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", VERDICTS)
def test_every_start_gets_its_verdict(name, seed, digits):
    assert verdict(checked(name, digits, seed=seed)) == VERDICTS[name]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", DEEP)
def test_every_start_of_a_deep_network_gets_its_verdict(name, seed, digits):
    report = checked(name, digits, seed=seed, depth=30, width=128)
    severity = "warning" if name in NORMED else "error"  # the first loss is below 10 times ln 10
    assert [finding.severity for finding in report.findings] == ([severity] if DEEP[name] else [])
    found = {each.code for finding in report.findings for each in finding.walk()}
    assert found >= DEEP[name]
    assert not found - DEEP[name] - {"BWD001", "BWD002", "DEA001", "GRD003", "UPD001", "FWD002"}


@pytest.mark.parametrize("name", ["tiny-batch", "tiny-layer"])
def test_a_norm_that_is_drowned_by_its_epsilon_is_noticed(name, digits):
    """Over 30 layers the norms give rms 0.5, 0.1 ... 1e-10 ... 1e-17 and less; it stays at ln 10 for 20 epochs."""
    report = checked(name, digits, seed=0, depth=30, width=128)
    norms = [op.index for op in report.observations[0].trace.ops if op.kind == "norm"]
    assert report.observations[0].signals[norms[-1]].rms < 1e-15
    assert report.findings


@pytest.mark.parametrize("seed", range(3))
def test_the_slip_is_named(seed, digits):
    report = checked("slip", digits, seed=seed)
    assert [finding.code for finding in report.findings] == ["LAW001"]
    assert report.findings[0].severity == "warning"
    deep = checked("slip", digits, seed=seed, depth=30, width=128)
    assert "LAW001" in [finding.code for finding in deep.findings[0].follows]


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("nonlinearity", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("depth", [3, 8, 30])
def test_he_weights_are_healthy_at_every_depth(nonlinearity, norm, depth, digits):
    architecture = Architecture((784, *(100,) * (depth - 1), 10), nonlinearity, norm)
    seeds = [initialize(architecture, fw.he_normal, seed) for seed in range(3)]
    assert lab.check(architecture, seeds, digits.test_x, digits.test_y).findings == ()


def test_a_report_tells_what_was_judged(digits):
    architecture = Architecture((784, 20, 10))
    seeds = [initialize(architecture, fw.he_normal, seed) for seed in range(3)]
    report = lab.check(architecture, seeds, digits.test_x, digits.test_y)
    assert (report.model, report.batch) == ("relu network 784-20-10", "360,784:float32")
    assert report.framework.startswith("numpy ")
    assert (report.parameters, report.weights) == (784 * 20 + 20 + 200 + 10, (2, 2))
    assert [one.seed for one in report.observations] == [0, 1, 2]
    assert [(layer.name, layer.law) for layer in report.layers] == [
        ("layers.0", "He normal"),
        ("layers.1", "He normal"),
    ]
    assert "healthy: nothing found" in str(report)
    assert json.loads(report.to_json())["loss"]["name"] == "cross_entropy"
    alone = lab.check(architecture, seeds[0], digits.test_x, digits.test_y)
    assert alone.observations[0] == replace(report.observations[0], seed=None)


def test_rules_are_chosen_as_everywhere(digits):
    architecture = Architecture((784, 20, 10))
    given = architecture, initialize(architecture, fw.zeros, 0), digits.test_x, digits.test_y
    assert [finding.code for finding in lab.check(*given, select=["GRD"]).findings] == ["GRD003"]
    assert lab.check(*given, ignore=["ZER", "GRD"]).findings == ()
    good = architecture, initialize(architecture, fw.he_normal, 0), digits.test_x, digits.test_y
    assert verdict(lab.check(*good, optimizer="sgd:100")) == ("UPD001", "warning")
    assert lab.check(*good, optimizer="sgd:100").ok
    assert not lab.check(*good, optimizer="sgd:100", fail_on="warning").ok


def test_what_cannot_be_checked_is_refused(digits):
    architecture = Architecture((784, 20, 10))
    parameters = initialize(architecture, fw.he_normal, 0)
    x, y = digits.test_x, digits.test_y
    for given, options, message in (
        ((parameters, x[:, :64], y), {}, "widths\\[0\\] is 784"),
        ((parameters, x, y + 1), {}, r"expected integers in \[0, 10\)"),
        (({"layers.0.weight": x}, x, y), {}, "is missing or too many"),
        (([], x, y), {}, "parameters holds none"),
        ((parameters, x, y), {"select": ["FWX"]}, "code 'FWX'"),
        ((parameters, x, y), {"fail_on": "fatal"}, "fail_on = 'fatal'"),
        ((parameters, x, y), {"optimizer": "sgd"}, "expected a learning rate after the name"),
    ):
        with pytest.raises(ValueError, match=message):
            lab.check(architecture, *given, **options)


def test_a_check_needs_no_framework():
    code = "import sys\nsys.modules['torch'] = None\nfrom fanwise import he_normal, lab\n"
    code += "net, data = lab.Architecture((784, 20, 10)), lab.load_digits()\n"
    code += "print(lab.check(net, lab.initialize(net, he_normal, 0), data.test_x, data.test_y).ok)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"


@pytest.fixture(scope="module")
def results(digits):
    """Every start of the demo before its first step, judged over three seeds."""
    setup, known = Setup(digits, recipe=lab.Recipe(epochs=0)), tuple(starts().values())
    return Results(
        setup, tuple(run(setup, each) for each in known), {}, tuple(demo.checked(setup, each) for each in known)
    )


def test_the_table_shows_the_verdict(results):
    table = step_zero_table(results)
    shown = {row.cells[0]: row.cells[-1] for row in table.rows}
    expected = {name: "healthy" if found is None else found[0] for name, found in VERDICTS.items()} | {"slip": "LAW001"}
    assert shown == {starts()[name].label: code for name, code in expected.items()}
    assert table.columns[-1].label == "check"
    assert "`fanwise explain ZER001`" in table.caption


def test_the_page_and_the_json_show_the_verdict(results):
    page = to_html(document(results))
    assert "ZER001, and with it GRD003: layers.0.weight is all zeros" in page
    found = {start["start"]: start["check"] for start in demo.jsonable(results)["starts"]}
    assert found["he"] == ()
    assert [finding.code for finding in found["huge"]] == ["WGT002"]
    assert [finding.code for finding in found["huge"][0].follows] == ["LOS001"]


def test_a_remark_leaves_a_start_healthy(results):
    remark = replace(results.checks[0][0], severity="info")
    row = step_zero_table(replace(results, checks=((remark,), *results.checks[1:]))).rows[0]
    assert row.cells[-1] == "healthy"


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("depth", [3, 10])
def test_no_story_contradicts_the_check(nonlinearity, depth, digits):
    few = replace(digits, train_x=digits.train_x[:300], train_y=digits.train_y[:300])
    setup = Setup(few, depth, nonlinearity=nonlinearity, recipe=lab.Recipe(epochs=0), seeds=1)
    for start in starts(nonlinearity).values():
        findings = demo.checked(setup, start)
        story, codes = tell(run(setup, start), setup, findings), {each.code for one in findings for each in one.walk()}
        said = [word for word in ("shrinks", "grows") if f"The signal {word} x" in story]
        assert not said or not findings or DIRECTIONS.get(findings[0].code, said[0]) == said[0], (start, story)
        assert "is kept" not in story or codes <= {"LOS001"}, (start, story)
        assert ("LOS001" in codes) == ("confidently wrong" in story), (start, story)


def test_a_story_says_where_a_norm_does_not_reach_std_1(digits):
    """Weights of std 1e-4: the variance of the pre-activations, 7e-6 and less, is below the norms' epsilon, 1e-5."""
    setup = Setup(digits, recipe=lab.Recipe(epochs=0), seeds=1)
    for name in ("tiny-batch", "tiny-layer"):
        outcome = run(setup, starts()[name])
        architecture = Architecture(setup.widths, "relu", starts()[name].norm)
        parameters = initialize(architecture, starts()[name].law, 0)
        passed = lab.forward(architecture, parameters, digits.train_x)
        std = min(float(layer.normalized.std()) for layer in passed.layers[:-1])
        assert std == pytest.approx(0.11, abs=0.05)
        said = float(tell(outcome, setup).partition("input to about std ")[2].partition(" only")[0])
        assert said == pytest.approx(std, rel=0.5)  # one digit, from all variances together
    assert "back to std 1." in tell(run(setup, starts()["huge-batch"]), setup)


def test_a_story_tells_of_a_finding_that_the_scale_does_not_show(digits):
    setup = Setup(digits, 10, nonlinearity="sigmoid", recipe=lab.Recipe(epochs=0), seeds=1)
    start = Start("he", "He", fw.he_normal)
    findings = demo.checked(setup, start)
    assert findings[0].code == "OUT001"
    outcome = run(setup, start)
    assert tell(outcome, setup, findings).startswith("The outputs do not depend on the input")
    assert tell(outcome, setup).startswith("The ")
    assert "do not depend" not in tell(outcome, setup)
