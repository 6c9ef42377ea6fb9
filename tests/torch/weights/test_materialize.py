"""`materialize`: a model on the meta device gets the values that `apply` would put there, one parameter at a time."""

import re
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

import fanwise as fw  # noqa: E402
import fanwise.torch as fwt  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402
from fanwise.plan.row import Row  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import made  # noqa: E402

ZOO = models("torch", "structure")

SEED = 5


class Net(nn.Module):
    """Ties, recurrent weights, buffers, several dtypes, a frozen and a lone parameter."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(40, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.conv = nn.Conv1d(16, 16, 3, padding=1).to(torch.bfloat16)
        self.norm = nn.BatchNorm1d(16)
        self.normed = parametrizations.weight_norm(nn.Linear(16, 16))
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.table.weight
        self.frozen = nn.Parameter(torch.ones(16), requires_grad=False)
        self.parts = nn.ParameterList([torch.zeros(16), torch.zeros(16)])

    def forward(self, ids):
        x, _ = self.lstm(self.table(ids))
        x = self.norm(self.conv(x.mT.bfloat16()).to(x.dtype)).mT
        return self.head(torch.relu(self.normed(x * self.frozen + self.parts[0]) + self.parts[1]))


def on_meta(build):
    with torch.device("meta"):
        return build()


def planned():
    model = Net()
    return model, fwt.plan(model, "4,10:int64[0,40)")


def test_the_values_are_those_of_apply():
    model, plan = planned()
    fwt.apply(model, plan, SEED)
    other = on_meta(Net)
    left = fwt.materialize(other, plan, SEED)
    assert left == fwt.Undefined(
        tuple(row.path for row in plan.kept), ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked")
    )
    assert left.parameters == ("frozen",)
    assert left
    there = dict(other.named_parameters())
    for path, tensor in model.named_parameters():
        assert there[path].dtype == tensor.dtype
        assert there[path].requires_grad == tensor.requires_grad
        assert type(there[path]) is type(tensor)
        assert path == "frozen" or torch.equal(there[path], tensor), path


def test_ties_and_lists_of_weights_are_kept():
    _, plan = planned()
    other = on_meta(Net)
    fwt.materialize(other, plan, SEED)
    assert other.head.weight is other.table.weight
    assert [id(weight) for weight in other.lstm._flat_weights] == [id(weight) for weight in other.lstm.parameters()]
    assert [name for name, _ in other.named_parameters()] == [name for name, _ in Net().named_parameters()]


def test_the_model_runs_once_the_rest_is_there():
    model, plan = planned()
    fwt.apply(model, plan, SEED)
    other = on_meta(Net)
    fwt.materialize(other, plan, SEED)
    other.frozen = nn.Parameter(torch.ones(16), requires_grad=False)
    other.norm = nn.BatchNorm1d(16)
    fwt.apply(other, plan, SEED, only="norm.*")
    ids = torch.arange(40).view(4, 10)
    assert torch.equal(other(ids), model(ids))


@pytest.mark.parametrize("name", ["llama", "t5", "vit", "mamba", "whisper"])
def test_specimens_are_materialised_from_their_own_plan(name):
    if name not in ZOO:
        pytest.skip("transformers is not installed")
    specimen = ZOO[name]
    model = made(specimen)
    args, kwargs = specimen.batch()
    plan = fwt.plan(model, fwt.Inputs(args, kwargs))
    fwt.apply(model, plan, SEED)
    other = on_meta(lambda: specimen.build())
    left = fwt.materialize(other, plan, SEED)
    there = dict(other.named_parameters(remove_duplicate=False))
    assert set(left.parameters) <= {row.path for row in plan.kept}
    assert all(
        torch.equal(there[path], tensor)
        for path, tensor in model.named_parameters(remove_duplicate=False)
        if path not in left.parameters
    )


def test_a_plan_made_on_the_meta_device():
    other = on_meta(lambda: nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 5)))
    plan = fwt.plan(other, "8,30")
    assert not fwt.materialize(other, plan, SEED)
    assert float(other[0].weight.detach().std() * 30**0.5) == pytest.approx(1, abs=5 / (2 * 1200) ** 0.5)


def plain(model):
    return Plan(
        [Row(path, tuple(t.shape), "float32", fw.Normal(0.5), None, "", "", "") for path, t in model.named_parameters()]
    )


def test_real_parameters_are_left_alone():
    model = nn.Sequential(nn.Linear(3, 4), on_meta(lambda: nn.Linear(4, 5)))
    kept = model[0].weight
    before, version = kept.detach().clone(), kept._version
    assert not fwt.materialize(model, plain(model), SEED)
    assert model[0].weight is kept
    assert torch.equal(kept, before)
    assert kept._version == version
    assert model[1].weight.device.type == "cpu"


class Marked(nn.Parameter):
    """A parameter of one's own class."""


def test_attributes_classes_and_memory_formats_are_kept():
    model = nn.Module()
    model.w = Marked(torch.empty(4, 6, 3, 3, device="meta").to(memory_format=torch.channels_last))
    model.w.no_weight_decay = True
    assert not fwt.materialize(model, plain(model), SEED)
    assert type(model.w) is Marked
    assert model.w.no_weight_decay
    assert model.w.is_contiguous(memory_format=torch.channels_last)


def test_expanded_meta_tensors_get_memory_of_their_own():
    model = nn.Module()
    model.w = nn.Parameter(torch.empty(1, 5, device="meta").expand(4, 5))
    fwt.materialize(model, plain(model), SEED)
    assert len(set(model.w.flatten().tolist())) == 20


def test_fake_tensors_are_materialised_too():
    with FakeTensorMode():
        model = nn.Linear(3, 4)
    assert not fwt.materialize(model, plain(model), SEED)
    assert type(model.weight) is nn.Parameter
    assert torch.equal(model.weight, fwt.apply(nn.Linear(3, 4), plain(model), SEED).weight)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "cpu:0"])
def test_devices(device):
    model = on_meta(lambda: nn.Linear(3, 4))
    fwt.materialize(model, plain(model), SEED, device)
    assert model.weight.device.type == "cpu"


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        ("meta", ValueError, "device = 'meta': expected one with memory"),
        ("nonsense", ValueError, "device = 'nonsense' cannot be used"),
        ("cuda:977", ValueError, "device = 'cuda:977' cannot be used"),
        (None, TypeError, "device = None: expected a torch.device or its name"),
        (0.5, TypeError, "device = 0.5"),
    ],
)
def test_devices_that_cannot_be_used(device, error, message):
    model = on_meta(lambda: nn.Linear(3, 4))
    with pytest.raises(error, match=re.escape(message)):
        fwt.materialize(model, plain(model), SEED, device)
    assert model.weight.is_meta


@pytest.mark.parametrize(
    ("law", "dtype", "error", "message"),
    [
        (fw.Normal(1e6), torch.float16, ValueError, "parameter 'bad'"),
        (fw.Normal(1.0), torch.int8, TypeError, "parameter 'bad' has dtype torch.int8"),
    ],
)
def test_all_is_checked_before_the_first_allocation(law, dtype, error, message):
    model = nn.Module()
    model.good = nn.Parameter(torch.empty(3, device="meta"))
    model.bad = nn.Parameter(torch.empty(3, device="meta", dtype=dtype), requires_grad=False)
    rows = [Row(name, (3,), "float32", law, None, "", "", "") for name in ("good", "bad")]
    with pytest.raises(error, match=message):
        fwt.materialize(model, Plan(rows), SEED)
    assert model.good.is_meta


def test_a_plan_for_another_model_is_refused():
    model = on_meta(lambda: nn.Linear(3, 4))
    with pytest.raises(ValueError, match="the plan is for another model, differences: 2"):
        fwt.materialize(model, plain(nn.Linear(4, 5)), SEED)
    assert model.weight.is_meta


def test_random_states_stay():
    model = on_meta(lambda: nn.Linear(3, 4))
    state = torch.get_rng_state()
    fwt.materialize(model, plain(model), SEED)
    assert torch.equal(torch.get_rng_state(), state)


PEAK = """
import resource
import torch
torch.set_num_threads(1)
from torch import nn
import fanwise as fw, fanwise.torch as fwt
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row
with torch.device("meta"):
    model = nn.Sequential(*(nn.Linear(5000, 5000, bias=False, dtype=torch.bfloat16) for _ in range(8)))
rows = [Row(path, tuple(t.shape), "bfloat16", fw.Normal(0.5), None, "", "", "") for path, t in model.named_parameters()]
small = nn.Linear(10, 10, bias=False, device="meta", dtype=torch.bfloat16)
fwt.materialize(small, Plan([Row("weight", (10, 10), "bfloat16", fw.Normal(0.5), None, "", "", "")]), 0)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
assert not fwt.materialize(model, Plan(rows), 0)
print(peak() - before - sum(t.numel() * t.element_size() for t in model.parameters()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
def test_a_large_model_takes_its_own_memory_and_little_more():
    done = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True, timeout=300)
    assert float(done.stdout) < 100 * 2**20
