"""`calibrate`: targets are reached in one forward pass, on every kind of model, and what is left says why."""

import copy
import functools
import itertools
import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from fanwise.plan.plan import Plan  # noqa: E402
from fanwise.torch import ModelError, apply, calibrate, manifest, plan, verify  # noqa: E402

from ..traced import Wrapped, normal  # noqa: E402

FLOAT32 = 1e-5
"""What is promised of float32: |std - 1| of every calibrated op, in a run afterwards."""
MAPS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding, nn.Bilinear)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def std(tensor: Any) -> float:
    """Std over all values, their sum of squares divided by their number."""
    return float(tensor.detach().double().std(correction=0))


def outputs(model: Any, *inputs: Any) -> dict[str, list[Any]]:
    """What each module with a weight gives in a run of its own, in evaluation mode, by path."""
    found: dict[str, list[Any]] = {}

    def keep(path: str) -> Any:
        return lambda module, given, output: found.setdefault(path, []).append(
            output[0] if isinstance(output, tuple) else output.clone()
        )

    kinds = (*MAPS, nn.MultiheadAttention)
    named = [(path, module) for path, module in model.named_modules() if isinstance(module, kinds)]
    hooks = [module.register_forward_hook(keep(path)) for path, module in named]
    flag = model.training
    with torch.no_grad():
        model.eval()(*inputs)
    model.train(flag)
    for hook in hooks:
        hook.remove()
    return found


def stds(model: Any, *inputs: Any) -> dict[str, float]:
    """Std of what each module with a weight gives."""
    return {path: std(found[0]) for path, found in outputs(model, *inputs).items()}


def stack(depth: int, width: int = 64, act: Any = nn.ReLU) -> Any:
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), act())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Any) -> Any:
        return x + self.second(torch.relu(self.first(x)))


def resnet(blocks: int = 4, width: int = 16) -> Any:
    stem, head = nn.Conv2d(3, width, 3, padding=1), nn.Linear(width, 10)
    return nn.Sequential(stem, *(Residual(width) for _ in range(blocks)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def cnn() -> Any:
    convs = [(3, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2)]
    layers = [part for n, m, s in convs for part in (nn.Conv2d(n, m, 3, stride=s), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 3 * 3, 10))


# Targets


def test_thirty_layers_reach_unit_std_in_one_forward():
    model, x = stack(30, 128), normal(256, 128)
    result = calibrate(model, x)
    found = stds(model, x)
    assert len(result.factors) == len(found) == 31
    assert max(abs(one - 1) for one in list(found.values())[:-1]) <= FLOAT32
    assert found["60"] == pytest.approx(math.sqrt(0.04 * math.log(10)), abs=FLOAT32)


def test_a_target_that_is_off_by_a_thousandth_would_be_seen():
    """The mutant of the test before: the bound tells 1.001 from 1."""
    model, x = stack(3), normal(256, 64)
    calibrate(model, x, target=1.001)
    assert min(abs(one - 1) for one in stds(model, x).values()) > FLOAT32


def test_convolutions_reach_unit_std():
    model, x = cnn(), normal(16, 3, 24, 24)
    calibrate(model, x, head="target")
    assert max(abs(one - 1) for one in stds(model, x).values()) <= FLOAT32


def test_branches_of_a_residual_network_get_their_share_of_the_stream():
    """With B branches of variance stream / B, each uncorrelated with the stream, it grows by (1 + 1/B)^B."""
    model, x = resnet(), normal(32, 3, 12, 12)
    streams: dict[str, float] = {}
    result = calibrate(model, x)
    found = outputs(model, x)
    for path, module in model.named_modules():
        if isinstance(module, Residual):
            module.register_forward_pre_hook(lambda _, given, path=path: streams.update({path: std(given[0])}))
    model(x)
    for path, stream in streams.items():
        assert std(found[f"{path}.first"][0]) == pytest.approx(1, abs=FLOAT32)
        assert std(found[f"{path}.second"][0]) == pytest.approx(stream / 2, rel=FLOAT32)
    assert {line.role for line in result.lines} == {"weight", "branch_end", "head"}


def test_branches_can_be_as_loud_as_everything_else():
    model, x = resnet(), normal(32, 3, 12, 12)
    calibrate(model, x, branches="target", head="target")
    assert max(abs(one - 1) for one in stds(model, x).values()) <= FLOAT32


@pytest.mark.parametrize("classes", [10, 1000])
def test_the_head_starts_near_the_loss_of_a_guess(classes):
    """For C classes std sqrt(0.04 ln C), at most 0.5: the excess over ln C is s^2 / 2 for normal logits."""
    model, x = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, classes)), normal(512, 64)
    calibrate(model, x)
    wanted = min(0.5, math.sqrt(0.04 * math.log(classes)))
    assert std(model(x)) == pytest.approx(wanted, abs=FLOAT32)
    loss = functional.cross_entropy(model(x), torch.randint(classes, (512,)))
    assert float(loss.detach()) == pytest.approx(math.log(classes) + wanted**2 / 2, abs=5 * wanted / math.sqrt(512))


def test_the_second_moment_may_be_the_statistic():
    model, x = stack(4), normal(256, 64) + 0.5
    calibrate(model, x, statistic="second_moment", target=2.0, head="target")
    for found in outputs(model, x).values():
        assert float(found[0].double().square().mean().sqrt()) == pytest.approx(2, abs=2 * FLOAT32)


@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Softplus])
def test_the_target_may_hold_after_the_activation(act):
    model, x = stack(4, act=act), normal(256, 64)
    result = calibrate(model, x, gain_after=True, statistic="second_moment")
    hidden = x
    model.requires_grad_(requires_grad=False)
    for part in model[:-1]:
        hidden = part(hidden)
        if isinstance(part, act):
            assert float(hidden.double().square().mean().sqrt()) == pytest.approx(1, abs=FLOAT32)
    assert all("held after" in line.note for line in result.lines[:-1])


def test_a_target_that_an_activation_cannot_give_is_said():
    model, x = stack(2, act=nn.Tanh), normal(256, 64)
    result = calibrate(model, x, gain_after=True)
    assert all("no factor lets tanh give 1" in line.note for line in result.lines[:-1])
    assert max(abs(one - 1) for one in list(stds(model, x).values())[:-1]) <= FLOAT32


def test_directions_and_proportions_of_the_biases_are_kept():
    model, x = stack(3), normal(256, 64)
    before = copy.deepcopy(model)
    result = calibrate(model, x)
    for path, factor in result.factors.items():
        for name in (path, path.replace("weight", "bias")):
            assert torch.equal(model.get_parameter(name), before.get_parameter(name) * factor)


# Channels


@pytest.mark.parametrize("seed", range(3))
def test_every_unit_gets_mean_0_and_variance_1(seed):
    torch.manual_seed(seed)
    model, x = stack(8), normal(512, 64)
    calibrate(model, x, mode="channel", head="target")
    for found in outputs(model, x).values():
        units = found[0].double()
        assert float(units.mean(0).abs().max()) <= 3e-7
        assert float((units.var(0, correction=0) - 1).abs().max()) <= 2e-7


def test_layer_mode_leaves_the_units_unequal():
    """The mutant of the test before: scaled as a whole, units keep their own means and variances."""
    model, x = stack(8), normal(512, 64)
    calibrate(model, x, head="target")
    units = outputs(model, x)["2"][0].double()
    assert float(units.mean(0).abs().max()) > 0.1
    assert float((units.var(0, correction=0) - 1).abs().max()) > 0.1


def test_channels_of_convolutions_plain_transposed_and_grouped():
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, groups=4),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 12, 3, stride=2, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 6, 3),
    )
    x = normal(16, 4, 10, 10)
    calibrate(model, x, mode="channel", head="target")
    for found in outputs(model, x).values():
        units = found[0].double().movedim(1, 0).flatten(1)
        assert float(units.mean(1).abs().max()) <= FLOAT32
        assert float((units.var(1, correction=0) - 1).abs().max()) <= FLOAT32


def test_without_a_bias_the_means_stay_and_that_is_said():
    model, x = nn.Sequential(nn.Linear(64, 32, bias=False), nn.ReLU(), nn.Linear(32, 8)), normal(256, 64) + 1
    result = calibrate(model, x, mode="channel", head="target")
    first = outputs(model, x)["0"][0].double()
    assert float((first.var(0, correction=0) - 1).abs().max()) <= FLOAT32
    assert float(first.mean(0).abs().max()) > 0.1
    assert "the means stay" in result.lines[0].note


def test_constant_units_are_counted_and_left():
    model, x = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)), normal(256, 64)
    with torch.no_grad():
        model[0].weight[:3] = 0
    before = model[0].weight[:3].clone(), model[0].bias[:3].clone()
    result = calibrate(model, x, mode="channel")
    assert "3 of 32 units are constant" in result.lines[0].note
    assert torch.equal(model[0].weight[:3], before[0])
    assert torch.equal(model[0].bias[:3], before[1])
    assert all(bool(tensor.isfinite().all()) for tensor in model.parameters())


def test_channels_of_a_weight_that_is_seen_transposed():
    model = Wrapped(
        lambda self, x: torch.relu(x @ self.w.T + self.b) @ self.v, w=normal(32, 16), b=normal(32), v=normal(32, 8)
    )
    x = normal(256, 16)
    calibrate(model, x, mode="channel", head="target")
    hidden = (x @ model.w.T).detach().double()
    assert float((hidden.var(0, correction=0) - 1).abs().max()) <= FLOAT32


# One pass, nothing else changed


def test_the_model_is_called_once():
    model, x = stack(5), normal(64, 64)
    called: list[int] = []
    model.register_forward_hook(lambda *_: called.append(1))
    result = calibrate(model, x)
    assert (len(called), result.forwards) == (1, 1)


def test_balancing_calls_it_once_more():
    model, x = stack(5), normal(64, 64)
    called: list[int] = []
    model.register_forward_hook(lambda *_: called.append(1))
    result = calibrate(model, (x, torch.randint(10, (64,))), balance=True, loss="cross_entropy")
    assert (len(called), result.forwards) == (2, 2)


def test_a_model_that_asks_for_values_is_run_twice_and_says_so():
    def forward(self: Any, x: Any) -> Any:
        return self.a(x) if float(x.numpy().max()) > 100 else self.b(x)

    model, x = Wrapped(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 8)), normal(64, 8)
    result = calibrate(model, x, head="target")
    assert result.forwards == 2
    assert list(result.factors) == ["b.weight"]
    assert std(model(x)) == pytest.approx(1, abs=FLOAT32)


def test_a_run_that_goes_another_way_than_without_values_is_begun_anew():
    """``all()`` is taken to hold where there are no values: the structural pass goes the way that the run does not."""

    def forward(self: Any, x: Any) -> Any:
        return self.a(x) if bool((x > 100).all()) else self.b(x)

    model, x = Wrapped(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 8)), normal(64, 8)
    result = calibrate(model, x, head="target")
    assert result.forwards == 3
    assert list(result.factors) == ["b.weight"]
    assert std(model(x)) == pytest.approx(1, abs=FLOAT32)


def test_caches_of_a_model_keep_no_tensor_without_values():
    @functools.lru_cache
    def positions(count: int) -> Any:
        return torch.arange(count, dtype=torch.float32)

    model = Wrapped(lambda self, x: self.head(x + positions(8)), head=nn.Linear(8, 8))
    calibrate(model, normal(64, 8))
    assert type(positions(8)) is torch.Tensor
    assert positions(8).tolist() == list(range(8))


def test_hooks_are_not_shown_tensors_without_values():
    model, x = stack(2), normal(64, 64)
    seen: list[type] = []
    model[0].register_forward_pre_hook(lambda _, given: seen.append(type(given[0])))
    model[0].register_forward_hook(lambda _, given, output: seen.append(type(output)))
    calibrate(model, x)
    assert seen == [torch.Tensor, torch.Tensor]
    assert len(model[0]._forward_hooks) == len(model[0]._forward_pre_hooks) == 1


def test_nothing_but_the_scaled_parameters_changes():
    model = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 4)).train()
    before = copy.deepcopy(model)
    state = torch.get_rng_state()
    x = normal(32, 16)
    kept = x.clone()
    calibrate(model, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, kept)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), before.buffers(), strict=True))
    assert all(tensor.grad is None for tensor in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model[1].weight, before[1].weight)


def test_a_second_calibration_changes_nothing_to_speak_of():
    model, x = stack(10), normal(256, 64)
    calibrate(model, x)
    again = calibrate(model, x)
    assert max(abs(factor - 1) for factor in again.factors.values()) <= FLOAT32


def test_where_a_forward_fails_nothing_was_changed():
    def forward(self: Any, x: Any) -> Any:
        hidden = self.a(x)
        if self.broken:
            raise RuntimeError("no further")
        return hidden

    model = Wrapped(forward, a=nn.Linear(8, 8), broken=False)
    made = plan(model, normal(4, 8))
    model.broken = True
    before = copy.deepcopy(model.state_dict())
    for options in ({}, {"plan": made, "key": 0}):
        with pytest.raises(ModelError, match="no further"):
            calibrate(model, normal(4, 8), **options)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_where_a_factor_cannot_be_held_nothing_was_changed():
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8)).half()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="would reach"):
        calibrate(model, (normal(64, 8) / 1000).half(), target=1000.0, head="target")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# Models on which sequential calibrators go wrong


def test_a_module_used_several_times_is_settled_by_its_first_use():
    layer = nn.Linear(64, 64)
    model, x = nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(64, 10)), normal(256, 64)
    result = calibrate(model, x)
    seen = outputs(model, x)["0"]
    assert std(seen[0]) == pytest.approx(1, abs=FLOAT32)
    for line in result.lines[1:3]:
        assert line.factors == ()
        assert "settled where it is used first" in line.note
    assert stds(model, x)["6"] == pytest.approx(math.sqrt(0.04 * math.log(10)), abs=FLOAT32)


def test_one_weight_with_two_biases():
    def forward(self: Any, x: Any) -> Any:
        return self.head(functional.linear(torch.relu(functional.linear(x, self.w, self.b)), self.w, self.c))

    model = Wrapped(forward, w=normal(32, 32), b=normal(32), c=2 * normal(32), head=nn.Linear(32, 10))
    x = normal(256, 32)
    calibrate(model, x)
    assert std(functional.linear(x, model.w, model.b)) == pytest.approx(1, abs=FLOAT32)
    assert std(model(x)) == pytest.approx(math.sqrt(0.04 * math.log(10)), abs=FLOAT32)


def test_one_bias_with_two_weights():
    def forward(self: Any, x: Any) -> Any:
        return self.head(functional.linear(torch.relu(functional.linear(x, self.w, self.b)), self.v, self.b))

    model = Wrapped(forward, w=normal(32, 32), v=normal(32, 32), b=normal(32), head=nn.Linear(32, 10))
    x = normal(256, 32)
    for mode in ("layer", "channel"):
        twin = copy.deepcopy(model)
        calibrate(twin, x, mode=mode)
        assert std(twin(x)) == pytest.approx(math.sqrt(0.04 * math.log(10)), abs=FLOAT32)


def test_a_tied_table_is_left():
    def forward(self: Any, ids: Any) -> Any:
        return functional.linear(self.body(self.table(ids)), self.table.weight)

    model = Wrapped(forward, table=nn.Embedding(50, 32), body=nn.Sequential(nn.Linear(32, 32), nn.GELU()))
    before = model.table.weight.detach().clone()
    result = calibrate(model, torch.randint(50, (16, 12)))
    assert torch.equal(model.table.weight, before)
    assert result.left["table.weight"].startswith("it is the head too")
    assert list(result.factors) == ["body.0.weight"]


def test_an_embedding_gives_tokens_of_unit_std():
    model = nn.Sequential(nn.Embedding(50, 32), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10))
    with torch.no_grad():
        model[0].weight.mul_(0.02)
    ids = torch.randint(50, (16, 12))
    calibrate(model, ids)
    assert std(model[0](ids)) == pytest.approx(1, abs=FLOAT32)
    assert std(model[1](model[0](ids))) == pytest.approx(1, abs=FLOAT32)


def test_registration_in_another_order_than_execution():
    model = Wrapped(
        lambda self, x: self.a(torch.relu(self.b(torch.relu(self.c(x))))),
        a=nn.Linear(64, 10),
        b=nn.Linear(64, 64),
        c=nn.Linear(64, 64),
    )
    x = normal(256, 64)
    result = calibrate(model, x)
    found = stds(model, x)
    assert [line.paths for line in result.lines] == [("c.weight",), ("b.weight",), ("a.weight",)]
    assert max(abs(found[path] - 1) for path in "bc") <= FLOAT32


@pytest.mark.parametrize("mode", ["layer", "channel"])
def test_dead_and_constant_outputs_are_reported_and_left(mode):
    model, x = stack(3), normal(64, 64)
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1.0)  # constant, and dead behind the ReLU: all that follows gives its biases
        model[2].bias.zero_()
    before = copy.deepcopy(model.state_dict())
    result = calibrate(model, x, mode=mode)
    assert result.left["0.weight"] == "its output is constant: no factor changes that"
    assert result.left["2.weight"] == "its output is 0: dead"
    assert result.left["4.weight"] == "its output is the same at every example: its bias alone"
    assert torch.equal(model[0].weight, before["0.weight"])
    assert all(bool(tensor.isfinite().all()) for tensor in model.parameters())


def test_an_output_that_is_not_finite_is_left():
    model, x = stack(2), normal(64, 64)
    with torch.no_grad():
        model[0].weight[0, 0] = math.inf
    result = calibrate(model, x)
    assert set(result.left.values()) == {"its output is not finite"}


def test_several_inputs_by_name_and_in_order():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(16, 32), nn.Linear(8, 32), nn.Linear(32, 10)

        def forward(self, x: Any, y: Any) -> Any:
            return self.head(torch.relu(self.a(x) + self.b(y)))

    model = Two()
    x, y = normal(256, 16), 5 * normal(256, 8)
    calibrate(model, (x, y))
    assert std(model.a(x)) == pytest.approx(1, abs=FLOAT32)
    assert std(model.b(y)) == pytest.approx(1, abs=FLOAT32)
    calibrate(model, {"y": x[:, :8], "x": 2 * x})
    assert std(model.a(2 * x)) == pytest.approx(1, abs=FLOAT32)
    assert std(model.b(x[:, :8])) == pytest.approx(1, abs=FLOAT32)


def test_functional_weights_are_calibrated():
    model = Wrapped(lambda self, x: torch.relu(x @ self.w) @ self.v, w=normal(64, 32), v=normal(32, 10))
    x = normal(256, 64)
    result = calibrate(model, x)
    assert list(result.factors) == ["w", "v"]
    assert std(x @ model.w) == pytest.approx(1, abs=FLOAT32)


def test_fused_projections_get_one_factor():
    """A parameter is scaled as a whole: mode "channel" tells its maps apart."""

    def forward(self: Any, x: Any) -> Any:
        query, key, value = self.qkv(x).chunk(3, -1)
        return self.out(functional.scaled_dot_product_attention(query, key, value))

    model, x = Wrapped(forward, qkv=nn.Linear(32, 96), out=nn.Linear(32, 32)), normal(8, 16, 32)
    with torch.no_grad():
        model.qkv.weight[:32] *= 10
    result = calibrate(model, x)
    assert isinstance(result.factors["qkv.weight"], float)
    assert std(model.qkv(x)) == pytest.approx(1, abs=FLOAT32)
    calibrate(model, x, mode="channel")
    units = model.qkv(x).detach().double().flatten(0, 1)
    assert float((units.var(0, correction=0) - 1).abs().max()) <= FLOAT32


def test_the_halves_of_a_gated_unit_get_one_factor():
    model = nn.Sequential(nn.Linear(32, 128), nn.GLU(), nn.Linear(64, 10))
    x = normal(256, 32)
    result = calibrate(model, x, gain_after=True)
    assert std(model[0](x)) == pytest.approx(1, abs=FLOAT32)
    assert "held at its own output" in result.lines[0].note


@pytest.mark.parametrize("mode", ["layer", "channel"])
def test_weight_norm_is_scaled_by_its_lengths(mode):
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(64, 32)), nn.ReLU(), nn.Linear(32, 10))
    x = normal(256, 64)
    direction = model[0].parametrizations.weight.original1.detach().clone()
    result = calibrate(model, x, mode=mode)
    assert torch.equal(model[0].parametrizations.weight.original1, direction)
    assert "0.parametrizations.weight.original0" in result.factors
    assert std(model[0](x)) == pytest.approx(1, abs=FLOAT32)
    if mode == "channel":
        assert float((model[0](x).detach().double().var(0, correction=0) - 1).abs().max()) <= FLOAT32


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (parametrizations.spectral_norm, "the model normalises its weight"),
        (parametrizations.orthogonal, "no multiple of a parameter"),
    ],
)
def test_weights_whose_size_is_fixed_are_left(wrap, reason):
    model = nn.Sequential(wrap(nn.Linear(32, 32)), nn.ReLU(), nn.Linear(32, 10))
    result = calibrate(model, normal(64, 32))
    assert [reason in found for found in result.left.values()] == [True]
    assert list(result.factors) == ["2.weight"]


def test_a_batch_norm_in_the_path_changes_nothing():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
    )
    x = 3 * normal(32, 3, 8, 8)
    calibrate(model, x)
    assert std(model[0](x)) == pytest.approx(1, abs=FLOAT32)
    model.train()
    assert std(model(x)) == pytest.approx(math.sqrt(0.04 * math.log(10)), rel=1e-3)  # eps of the norm


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_narrow_models_reach_the_target_to_their_resolution(dtype, bound):
    model, x = stack(6).to(dtype), normal(256, 64).to(dtype)
    calibrate(model, x)
    assert max(abs(one - 1) for one in list(stds(model, x).values())[:-1]) <= bound
    assert all(tensor.dtype == dtype for tensor in model.parameters())


def test_frozen_weights_are_left():
    model = stack(2)
    model[0].weight.requires_grad_(requires_grad=False)
    result = calibrate(model, 10 * normal(64, 64))
    assert "frozen" in result.left["0.weight"]


def test_an_attention_block_is_scaled_by_its_output_projection():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
    model, x = nn.Sequential(nn.Linear(8, 32), layer, nn.Linear(32, 10)), normal(16, 12, 8)
    inner = layer.self_attn.in_proj_weight.detach().clone()
    result = calibrate(model, x, branches="target")
    assert torch.equal(layer.self_attn.in_proj_weight, inner)
    assert "1.self_attn.out_proj.weight" in result.factors
    layer.eval()
    hidden = layer.norm1(model[0](x))
    assert std(layer.self_attn(hidden, hidden, hidden)[0]) == pytest.approx(1, abs=FLOAT32)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_ops_are_left_with_a_reason(kind):
    def forward(self: Any, x: Any) -> Any:
        return self.head(self.cell(self.stem(x))[0])

    model = Wrapped(forward, stem=nn.Linear(8, 16), cell=kind(16, 16, batch_first=True), head=nn.Linear(16, 10))
    before = model.cell.weight_ih_l0.detach().clone()
    result = calibrate(model, normal(8, 5, 8))
    assert torch.equal(model.cell.weight_ih_l0, before)
    assert "no multiple of any of its weights" in result.left["cell.weight_ih_l0"]
    assert list(result.factors) == ["stem.weight", "head.weight"]


def test_bilinear_ops_are_calibrated():
    model = Wrapped(lambda self, x, y: self.head(self.pair(x, y)), pair=nn.Bilinear(8, 6, 16), head=nn.Linear(16, 10))
    x, y = normal(256, 8), normal(256, 6)
    calibrate(model, (x, y))
    assert std(model.pair(x, y)) == pytest.approx(1, abs=FLOAT32)


# Batches


def test_several_batches_are_pooled():
    model, x = stack(6), normal(256, 64)
    twin = copy.deepcopy(model)
    first = calibrate(model, x)
    second = calibrate(twin, x[:100], more=(x[100:150], x[150:]))
    assert dict(first.factors) == dict(second.factors)
    assert second.forwards == 1


def test_batches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="differ in the first axis alone"):
        calibrate(stack(2), normal(8, 64), more=(normal(8, 63),))


# Plans


def test_a_plan_with_factors_makes_the_calibrated_model_again():
    model, x = stack(6), normal(256, 64)
    result = calibrate(model, x, plan=plan(model, x), key=5)
    assert max(abs(one - 1) for one in list(stds(model, x).values())[:-1]) <= FLOAT32
    twin = stack(6)
    apply(twin, Plan.from_toml(result.plan.to_toml()), 5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert verify(twin, manifest(model, result.plan, 5)) == ()


def test_without_its_factors_a_plan_makes_another_model():
    """The mutant of the test before."""
    model, x = stack(6), normal(256, 64)
    made = plan(model, x)
    calibrate(model, x, plan=made, key=5)
    twin = apply(stack(6), made, 5)
    assert not torch.equal(model[0].weight, twin[0].weight)


def test_a_plan_in_bfloat16_is_rounded_once():
    model, x = stack(3).bfloat16(), normal(256, 64).bfloat16()
    result = calibrate(model, x, plan=plan(model, x), key=5)
    wide = apply(stack(3), result.plan, 5)
    assert all(torch.equal(a, b.bfloat16()) for a, b in zip(model.parameters(), wide.parameters(), strict=True))


def test_what_a_plan_leaves_is_left():
    model, x = stack(2), normal(64, 64)
    result = calibrate(model, x, plan=plan(model, x).edit("0.weight", None), key=1)
    assert result.left["0.weight"] == "the plan leaves 0.weight as it is"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mode": "rows"}, "expected one of layer, channel"),
        ({"statistic": "var"}, "expected one of std, second_moment"),
        ({"target": 0.0}, "expected a number > 0"),
        ({"target": math.nan}, "target"),
        ({"mode": "channel", "gain_after": True}, "use mode='layer'"),
        ({"mode": "channel", "statistic": "second_moment"}, "leave statistic"),
        ({"key": 0}, "go together"),
        ({"only": "heads.*"}, "names no weight"),
        ({"more": (3,)}, "expected a tensor"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_changed(options, match):
    model = stack(2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises((ValueError, TypeError), match=match):
        calibrate(model, normal(8, 64), **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_plan_tells_no_units():
    model, x = stack(2), normal(64, 64)
    with pytest.raises(ValueError, match="one factor a parameter"):
        calibrate(model, x, mode="channel", plan=plan(model, x), key=0)


def test_a_model_without_values_is_refused():
    with torch.device("meta"):
        model = stack(2)
    with pytest.raises(ValueError, match="materialize it first"):
        calibrate(model, torch.ones(4, 64, device="meta"))


def test_only_scales_what_is_asked_for():
    model, x = stack(2), normal(64, 64)
    result = calibrate(model, x, only=["0.*"])
    assert list(result.factors) == ["0.weight"]
    assert set(result.left.values()) == {"not among those asked for"}


# Balance


def ratios(model: Any, x: Any, target: Any) -> list[float]:
    """Lengths of gradients over those of weights."""
    model.zero_grad()
    functional.cross_entropy(model(x), target).backward()
    return [float(p.grad.norm() / p.detach().norm()) for name, p in model.named_parameters() if "weight" in name]


def test_ratios_of_gradient_to_weight_become_equal_and_the_function_stays():
    sizes = (64, 128, 32, 256, 16, 64)
    layers = [part for n, m in itertools.pairwise(sizes) for part in (nn.Linear(n, m), nn.ReLU())]
    model, x = nn.Sequential(*layers, nn.Linear(64, 10)), normal(256, 64)
    target = torch.randint(10, (256,))
    twin = copy.deepcopy(model)
    calibrate(twin, x)
    result = calibrate(model, (x, target), balance=True, loss="cross_entropy")
    before, after = ratios(twin, x, target), ratios(model, x, target)
    assert max(before) / min(before) > 2  # the mutant: without balancing they differ
    assert max(after) / min(after) <= 1.01
    assert [line.ratio for line in result.lines] == pytest.approx(before, rel=1e-3)
    assert torch.allclose(model(x), twin(x), atol=FLOAT32)


def test_balancing_a_convolutional_network_with_pools():
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.LeakyReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    x, target = normal(64, 3, 14, 14), torch.randint(10, (64,))
    calibrate(model, (x, target), balance=True, loss="cross_entropy")
    after = ratios(model, x, target)
    assert max(after) / min(after) <= 1.01


def test_chains_end_where_a_rescaling_would_be_seen():
    model, x = stack(4, act=nn.GELU), normal(64, 64)
    result = calibrate(model, (x, torch.randint(10, (64,))), balance=True, loss="cross_entropy")
    assert all(math.isnan(line.ratio) for line in result.lines)
    assert max(abs(one - 1) for one in list(stds(model, x).values())[:-1]) <= FLOAT32


def test_balanced_factors_stand_in_the_plan():
    model, x = stack(4), normal(256, 64)
    target = torch.randint(10, (256,))
    result = calibrate(model, (x, target), balance=True, loss="cross_entropy", plan=plan(model, x), key=2)
    twin = apply(stack(4), result.plan, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    after = ratios(model, x, target)
    assert max(after) / min(after) <= 1.01


# The result


def test_the_table_shows_every_op():
    model, x = stack(2), normal(64, 64)
    model[0].weight.requires_grad_(requires_grad=False)
    text = str(calibrate(model, x))
    assert "2.weight" in text
    assert "Left: 0.weight is frozen" in text
    assert "2 of 3 ops calibrated, 1 forward pass." in text
