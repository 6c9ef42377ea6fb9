"""`manifest` and `verify`: what a planned model must hold, and which of its tensors do not."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

import fanwise as fw  # noqa: E402
import fanwise.torch as fwt  # noqa: E402
from fanwise import Layout  # noqa: E402
from fanwise.plan.manifest import Manifest  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402
from fanwise.plan.row import Row  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import made  # noqa: E402

ZOO = models("torch", "structure")

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64]


def net():
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))


def plain(model, law=None):
    layouts = {2: Layout.dense("out in")}
    return Plan(
        [
            Row(
                path, tuple(t.shape), "float32", law or fw.Normal(0.5), layouts.get(t.dim()), "weight", "linear", "test"
            )
            for path, t in model.named_parameters()
        ]
    )


def flip(tensor):
    """Changes the last bit of the last element."""
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    if tensor.is_complex():
        tensor, bits = torch.view_as_real(tensor.detach()), torch.int32
    tensor.detach().view(bits).view(-1)[-1] ^= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("full", [True, False])
def test_one_flipped_bit_is_found(dtype, full):
    model = cast(net(), dtype)
    plan = plain(model)
    kept = fwt.manifest(fwt.apply(model, plan, 7), plan, 7).to_toml(full=full)
    expected = Manifest.from_toml(kept)
    assert fwt.verify(model, expected) == ()
    assert {row.dtype for row in expected.plan} == {str(dtype).removeprefix("torch.")}
    flip(model[2].weight)
    found = fwt.verify(model, expected)
    assert len(found) == 1
    assert found[0].startswith("2.weight: expected " if full else "some of 4 parameters differ")


def cast(model, dtype):
    """A model in any dtype, those in which modules cannot be cast too."""
    for module in model.modules():
        for name, tensor in list(module._parameters.items()):
            module._parameters[name] = nn.Parameter(tensor.detach().to(dtype), requires_grad=False)
    return model


def test_every_tensor_that_differs_is_named_in_order():
    model = net()
    plan = plain(model)
    expected = fwt.manifest(fwt.apply(model, plan, 7), plan, 7)
    flip(model[2].bias)
    flip(model[0].weight)
    assert [line.partition(":")[0] for line in fwt.verify(model, expected)] == ["0.weight", "2.bias"]


def test_another_seed_differs_everywhere():
    model = net()
    plan = plain(model)
    expected = fwt.manifest(fwt.apply(model, plan, 7), plan, 7)
    assert len(fwt.verify(fwt.apply(net(), plan, 8), expected)) == 4


@pytest.mark.parametrize("seed", [0, 2**63 - 1, 2**63, 2**64 + 1, 2**128 - 1])
def test_the_manifest_is_the_checkpoint(seed):
    model = net()
    plan = plain(model)
    text = fwt.manifest(fwt.apply(model, plan, seed), plan, seed).to_toml()
    expected = Manifest.from_toml(text)
    assert expected.seed == seed
    with torch.device("meta"):
        other = net()
    assert not fwt.materialize(other, expected.plan, expected.seed)
    assert fwt.verify(other, expected) == ()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["gpt2", "resnet", "mixtral", "unet"])
def test_specimens(name):
    specimen = next((found for key, found in ZOO.items() if key.startswith(name)), None)
    if specimen is None:
        pytest.skip("transformers is not installed")
    model, (args, kwargs) = made(specimen), specimen.batch()
    plan = fwt.plan(model, fwt.Inputs(args, kwargs))
    text = fwt.manifest(fwt.apply(model, plan, 1), plan, 1).to_toml(full=True)
    assert fwt.verify(model, Manifest.from_toml(text)) == ()


@pytest.mark.parametrize(("recipe", "most"), [("gpt2", 2**13), ("he", 2**13), ("unit", 2**17)])
def test_a_model_of_a_thousand_tensors_takes_a_few_kilobytes(recipe, most):
    """Laws that depend on the depth, as those of the unit recipe do where it measures, take a line each."""
    with torch.device("meta"):
        model = nn.Sequential(*(nn.TransformerEncoderLayer(64, 4, 128) for _ in range(84)), nn.Linear(64, 10))
    plan = fwt.plan(model, "3,2,64", recipe)
    assert len(plan) > 1000
    assert not fwt.materialize(model, plan, 2**128 - 1)
    text = fwt.manifest(model, plan, 2**128 - 1).to_toml()
    assert fwt.verify(model, Manifest.from_toml(text)) == ()
    assert len(text) < most


def test_canonical_rows_have_the_digest_of_a_port():
    class Port(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 4))

    layer, port = nn.Linear(3, 4, bias=False), Port()
    common = {"role": "weight", "op": "linear", "reason": "test", "order": "canonical", "dtype": "float32"}
    rows = [
        Row(path="weight", shape=(4, 3), law=fw.he_normal, layout=Layout.dense("out in"), **common),
        Row(path="weight", shape=(3, 4), law=fw.he_normal, layout=Layout.dense("in out"), **common),
    ]
    found = [
        fwt.manifest(fwt.apply(model, Plan([row]), 7), Plan([row]), 7).digests
        for model, row in zip((layer, port), rows, strict=True)
    ]
    assert torch.equal(layer.weight, port.weight.T)
    assert found[0] == found[1]


def test_what_cannot_be_verified_is_refused():
    model = net()
    plan = plain(model)
    with pytest.raises(TypeError, match="expected = Plan: expected a fanwise Manifest"):
        fwt.verify(model, plan)
    with pytest.raises(ValueError, match="the manifest has no digests"):
        fwt.verify(model, Manifest(plan, 7))
    with pytest.raises(ValueError, match="the plan is for another model"):
        fwt.verify(nn.Linear(2, 2), Manifest(plan, 7))
    with torch.device("meta"):
        empty = net()
    with pytest.raises(ValueError, match=r"parameter '0\.weight' is on the meta device"):
        fwt.manifest(empty, plan, 7)
    with pytest.raises(TypeError, match="plan = str"):
        fwt.manifest(model, "plan", 7)
    with pytest.raises(ValueError, match="out of range"):
        fwt.manifest(model, plan, 2**128)
