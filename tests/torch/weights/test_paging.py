"""`calibrate` of models whose parameters have no memory: each is drawn where it is read, and dropped."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from fanwise.torch import ModelError, calibrate, materialize, plan  # noqa: E402
from fanwise.torch.weights import paging as lending  # noqa: E402
from fanwise.torch.weights.paging import ParameterPager  # noqa: E402

from ..traced import Wrapped, normal  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def without_memory(model):
    """The model with its parameters, tied ones too, on the meta device, and its buffers as they are."""
    made = copy.deepcopy(model)
    empty = {}
    for module in made.modules():
        for name, tensor in list(module._parameters.items()):
            if tensor is not None:
                setattr(module, name, empty.setdefault(id(tensor), nn.Parameter(tensor.detach().to("meta"))))
    return made


class Tied(nn.Module):
    """A table that is the head too, and a head of its own."""

    def __init__(self):
        super().__init__()
        self.table, self.body = nn.Embedding(50, 32), nn.Linear(32, 32)
        self.head = nn.Linear(32, 50, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.body(self.table(ids))))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(32, 4, batch_first=True), nn.LayerNorm(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = x.to(self.head.weight.device)  # which is said to be that of the inputs
        return self.head(self.norm(x + self.attention(x, x, x)[0])[:, 0])


class Twice(nn.Module):
    """One layer twice, and a view of another's weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 64)

    def forward(self, x):
        x = torch.relu(self.first(torch.relu(self.first(x))))
        return x @ self.second.weight[:32].t()


def chain(width=32, depth=3):
    return nn.Sequential(*[part for _ in range(depth) for part in (nn.Linear(width, width), nn.ReLU())])


MODELS = {
    "layers": (chain, lambda: normal(64, 32)),
    "convolutions and a batch norm": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 4, 3, stride=2), nn.Flatten(1)
        ),
        lambda: normal(16, 3, 8, 8),
    ),
    "a tied table": (Tied, lambda: torch.arange(40).reshape(8, 5)),
    "attention": (Attending, lambda: normal(8, 6, 32)),
    "a recurrent layer": (
        lambda: Wrapped(
            lambda m, x: m.head(m.cell(x)[0]), cell=nn.LSTM(32, 32, batch_first=True), head=nn.Linear(32, 10)
        ),
        lambda: normal(8, 6, 32),
    ),
    "one layer twice": (Twice, lambda: normal(64, 32)),
    "weight norm": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(32, 32)), nn.ReLU(), nn.Linear(32, 10)),
        lambda: normal(64, 32),
    ),
    "bfloat16": (lambda: chain().bfloat16(), lambda: normal(64, 32).bfloat16()),
}


def both(name):
    """A model with memory and one without, a plan whose numbers differ from what is sought, and a batch."""
    build, batch = MODELS[name]
    real = build()
    return real, without_memory(real), plan(real, batch(), "torch-2.13"), batch()


@pytest.mark.parametrize("most", [1 << 28, 1], ids=["all kept", "few at a time"])
@pytest.mark.parametrize("name", MODELS)
def test_factors_are_those_of_the_model_with_memory(name, most, monkeypatch):
    monkeypatch.setattr(lending, "MOST_BYTES", most)
    real, empty, made, batch = both(name)
    expected, found = calibrate(real, batch, plan=made, key=3), calibrate(empty, batch, plan=made, key=3)
    assert expected.factors
    assert any(abs(factor - 1) > 1e-3 for factor in expected.factors.values())
    assert (found.factors, found.left, found.forwards) == (expected.factors, expected.left, 1)
    assert all(tensor.is_meta for tensor in empty.parameters())
    assert set(materialize(empty, found.plan, 3).parameters) <= {row.path for row in found.plan.unused}
    for (path, tensor), other in zip(real.named_parameters(), empty.parameters(), strict=True):
        assert other.is_meta or torch.equal(tensor, other), path


def test_no_more_is_held_at_a_time_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(lending, "MOST_BYTES", 300_000)  # four layers and a half, each of a weight and a bias
    pagers = []

    class Counted(ParameterPager):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            pagers.append(self)

    monkeypatch.setattr("fanwise.torch.measure.calibration_pass.ParameterPager", Counted)
    real = chain(128, depth=12)  # 66,048 bytes a layer
    made, x = plan(real, normal(64, 128)), normal(64, 128)
    assert len(calibrate(without_memory(real), x, plan=made, key=0).factors) == 12
    assert 4 * 66_048 <= pagers[0].largest <= 300_000
    assert sum(tensor.nbytes for tensor in real.parameters()) > 2 * pagers[0].largest


def test_a_transformer_of_transformers():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "vocab_size": 60}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    real = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads, use_cache=False)).eval()
    ids = torch.arange(80).reshape(4, 20) % 60
    made = plan(real, {"input_ids": ids}, "torch-2.13")
    empty = without_memory(real)
    found = calibrate(empty, {"input_ids": ids}, plan=made, key=0)
    assert found.factors == calibrate(real, {"input_ids": ids}, plan=made, key=0).factors
    assert len(found.factors) >= 3 * 7


def test_what_cannot_be_lent_is_refused():
    _, empty, made, x = both("layers")
    with pytest.raises(ValueError, match="give plan= and key="):
        calibrate(empty, x)
    with pytest.raises(ValueError, match="plan and key go together"):
        calibrate(empty, x, plan=made)
    with pytest.raises(ValueError, match="balance=True on the meta device"):
        calibrate(empty, x, plan=made, key=0, balance=True)
    with pytest.raises(ValueError, match="the inputs have no values"):
        calibrate(empty, x.to("meta"), plan=made, key=0)
    with pytest.raises(ValueError, match=r"'0\.weight' has no values, and the plan leaves it as it is"):
        calibrate(empty, x, plan=made.edit("0.weight", None), key=0)
    with torch.device("meta"):
        normed = nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32))
    with pytest.raises(ValueError, match=r"buffer '1\.running_mean' is on the meta device"):
        calibrate(normed, x, plan=plan(normed, "64,32"), key=0)


def test_a_model_that_asks_for_values_is_refused():
    asking = Wrapped(lambda m, x: m.body(x) if bool(m.body.weight.sum() > -1e9) else x, body=nn.Linear(32, 32))
    empty = without_memory(asking)
    made = plan(asking, normal(64, 32))
    with pytest.raises(ModelError, match="depends on its values"):
        calibrate(empty, normal(64, 32), plan=made, key=0)
