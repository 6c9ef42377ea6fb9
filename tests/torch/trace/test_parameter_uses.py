"""Uses of the parameters behind a call's tensors."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from fanwise.graph.op import OpKind, UseRole  # noqa: E402
from fanwise.graph.tracking.tracker import drawn_values  # noqa: E402
from fanwise.laws.elementwise import Normal  # noqa: E402
from fanwise.laws.layout import Layout  # noqa: E402
from fanwise.torch.trace.calls import Call, Part  # noqa: E402
from fanwise.torch.trace.invocation import Invocation  # noqa: E402
from fanwise.torch.trace.parameter_uses import UseReader  # noqa: E402
from fanwise.torch.trace.provenance import ParameterProvenance, parameters  # noqa: E402

OUT_IN = Layout.dense("out in")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(3, 5)


@pytest.fixture
def reader(model):
    return UseReader(
        {parameter.path: parameter for parameter in parameters(model)},
        dict(model.named_parameters()),
        ParameterProvenance(model),
    )


def use_of(reader, tensor, layout=OUT_IN):
    (use,) = reader.uses(Part(tensor, UseRole.WEIGHT, layout), reader.provenance.find(tensor))
    return use


def test_the_parameter_itself(model, reader):
    use = use_of(reader, model.weight)
    assert (use.path, use.role, use.layout, use.steps) == ("weight", UseRole.WEIGHT, OUT_IN, ())
    assert (use.ratio, use.seen) == (1.0, None)


def test_a_transposed_view_has_the_layout_of_the_parameter(model, reader):
    assert use_of(reader, model.weight.T, Layout.dense("in out")).layout == OUT_IN
    assert use_of(reader, model.weight, None).layout is None


def test_a_constant_factor_counts_and_is_seen(model, reader):
    scaled = model.weight.detach() * 4.0
    reader.provenance.derive(scaled, [model.weight], Invocation(torch.mul, "mul", (model.weight, 4.0), {}))
    use = use_of(reader, scaled)
    assert use.steps == ("mul",)
    assert use.ratio == pytest.approx(4.0)
    numbers = scaled.double()
    assert use.seen == pytest.approx((numbers.mean().item(), numbers.std(unbiased=False).item()), rel=1e-5)


def test_another_step_has_no_ratio(model, reader):
    squared = model.weight.detach() ** 2
    reader.provenance.derive(squared, [model.weight], Invocation(torch.pow, "pow", (model.weight, 2), {}))
    assert use_of(reader, squared).ratio == 1.0


def test_values_drawn_for_the_tensors_of_a_call(model, reader):
    call = Call(OpKind.LINEAR, (), (Part(model.weight, UseRole.WEIGHT, OUT_IN), Part(model.bias, UseRole.BIAS)))
    laws = {"weight": Normal(2.0)}
    drawn = reader.drawn(call, laws)
    assert list(drawn) == [id(model.weight)]
    expected = drawn_values(reader.parameters["weight"], laws["weight"], OUT_IN)
    assert np.array_equal(drawn[id(model.weight)].numpy(), expected)
    assert reader.drawn(call, {}) == {}
