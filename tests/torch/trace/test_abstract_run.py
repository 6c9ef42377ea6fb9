"""`structure`: the trace of a run, from a pass in which nothing is computed; and what such a pass leaves behind."""

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from fanwise.torch import plan  # noqa: E402
from fanwise.torch.measure.joined_batches import joined  # noqa: E402
from fanwise.torch.trace import abstract_run  # noqa: E402
from fanwise.torch.trace.abstract_run import structure  # noqa: E402
from fanwise.torch.trace.run import Inputs, run  # noqa: E402

from ..traced import Wrapped, normal  # noqa: E402


def views() -> Any:
    return Wrapped(lambda self, x: torch.relu(x @ self.w.T[:, :8]) @ self.w[:8], w=normal(16, 16))


def tied() -> Any:
    model = nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 16), nn.Linear(16, 20, bias=False))
    model[2].weight = model[0].weight
    return model


CASES = {
    "convolutions": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)),
        (2, 3, 6, 6),
    ),
    "recurrent": (lambda: nn.LSTM(8, 8, batch_first=True), (2, 5, 8)),
    "encoder": (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (2, 5, 16)),
    "weight norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 8)), nn.ReLU()), (2, 8)),
    "views": (views, (4, 16)),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_trace_of_a_run(name):
    build, shape = CASES[name]
    model, inputs = build(), Inputs((normal(*shape),))
    assert structure(model, inputs) == run(model, inputs)


def test_ties_are_seen():
    model, inputs = tied(), Inputs((torch.randint(20, (2, 7)),))
    found = structure(model, inputs)
    assert found == run(model, inputs)
    assert found.by_path["0.weight"].aliases == ("2.weight",)


@pytest.mark.parametrize("name", CASES)
def test_the_model_keeps_its_own_tensors(name):
    build, shape = CASES[name]
    model = build().train()
    before = copy.deepcopy(model.state_dict())
    held = [*model.parameters(), *model.buffers()]
    x = normal(*shape)
    structure(model, Inputs((x,)))
    assert all(a is b for a, b in zip(held, [*model.parameters(), *model.buffers()], strict=True))
    assert all(torch.equal(tensor, before[path]) for path, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert torch.isfinite(torch.as_tensor(model(x)[0])).all()


def test_what_depends_on_values_has_no_structure():
    model = Wrapped(lambda self, x: self.a(x[: int(x.numpy().sum() > 0) + 1]), a=nn.Linear(4, 4))
    assert structure(model, Inputs((normal(3, 4),))) is None
    assert model(normal(3, 4)).shape[1] == 4


def test_batches_are_joined_in_nested_inputs():
    one, other = ({"x": normal(2, 3), "more": [normal(2), 5]} for _ in range(2))
    found = joined([Inputs((one,)), Inputs((other,))]).args[0]
    assert found["x"].shape == (4, 3)
    assert found["more"][0].shape == (4,)
    assert found["more"][1] == 5


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), "differ in the first axis alone"),
        (torch.ones(()), torch.ones(()), "differ in the first axis alone"),
        (3, 4, "expected equal values"),
        ([1], [1, 2], "hold 1, 2 values"),
        ({"a": 1}, {"b": 1}, "other names"),
        (1, "1", "hold int, str"),
    ],
)
def test_batches_of_other_shapes_are_refused(first, second, match):
    with pytest.raises(ValueError, match=match):
        joined([Inputs((first,)), Inputs((second,))])


def grid(self: Any, x: Any) -> Any:
    positions = torch.arange(x.shape[1], device=x.device).to(x.dtype)
    return self.a(x + positions.to(x.device) + torch.ones(4))


def written(self: Any, x: Any) -> Any:
    out = torch.zeros(x.shape[0], 4)
    out[:, :2] = self.a(x)[:, :2]
    return self.b(out.mul_(x))


def moved(self: Any, x: Any) -> Any:
    return self.a(x.to("cpu").to(device=torch.device("cpu"), dtype=torch.float32).cpu()) + x.new_ones(4)


@pytest.mark.parametrize("forward", [grid, written, moved])
def test_constants_stand_beside_what_has_no_values(forward):
    model, inputs = Wrapped(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4)), Inputs((normal(3, 4),))
    assert structure(model, inputs) == run(model, inputs)


def test_a_model_sees_the_device_that_its_tensors_have():
    seen = []

    def forward(self: Any, x: Any) -> Any:
        seen.extend([x.device, self.a.weight.device])
        return self.a(x)

    structure(Wrapped(forward, a=nn.Linear(4, 4)), Inputs((normal(3, 4),)))
    assert {str(device) for device in seen} == {"cpu"}


def test_no_cache_keeps_a_tensor_without_values():
    """Not in a dictionary either, which nobody could find again."""
    kept: dict[int, Any] = {}

    def forward(self: Any, x: Any) -> Any:
        if x.shape[1] not in kept:
            kept[x.shape[1]] = torch.arange(x.shape[1], device=x.device).float()
        return self.a(x + kept[x.shape[1]])

    structure(Wrapped(forward, a=nn.Linear(4, 4)), Inputs((normal(3, 4),)))
    assert kept[4].tolist() == [0, 1, 2, 3]


def test_parameters_that_overlap_do_so_without_values():
    memory = normal(6, 4)
    model = Wrapped(lambda self, x: self.a(x) @ self.c.T, a=nn.Linear(4, 4, bias=False), c=nn.Parameter(memory[2:6]))
    model.a.weight = nn.Parameter(memory[:4])
    assert structure(model, Inputs((normal(3, 4),))) == run(model, Inputs((normal(3, 4),)))


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_the_same_from_a_pass_without_values(name, monkeypatch):
    build, shape = CASES[name]
    model, x = build(), normal(*shape)
    measured = plan(model, x)
    monkeypatch.setattr(abstract_run, "SMALL", -1)
    assert plan(model, x) == measured


def test_a_plan_follows_the_run_where_a_pass_without_values_goes_another_way(monkeypatch):
    monkeypatch.setattr(abstract_run, "SMALL", -1)
    model = Wrapped(
        lambda self, x: self.a(x) if bool((x > 9).all()) else self.b(x), a=nn.Linear(4, 4), b=nn.Linear(4, 4)
    )
    assert [row.role for row in plan(model, normal(8, 4))] == ["unused", "unused", "head", "head_bias"]
