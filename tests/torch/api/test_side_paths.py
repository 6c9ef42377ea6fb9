"""Frozen models with side paths: after plan and apply they give what their base gives, to the bit, and learn."""

import copy

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import fanwise.torch as fwt  # noqa: E402

from ..traced import Wrapped  # noqa: E402
from .adapted import ADAPTED, LowRank, Perceptron, SideTuned, Trunk, rows, tokens  # noqa: E402

every = pytest.mark.parametrize("name", ADAPTED)


def built(name):
    torch.manual_seed(0)
    build, batch = ADAPTED[name]
    return build().eval(), batch()


def given(model, batch):
    with torch.no_grad():
        return model(batch)


def randomized(model):
    """The model with all that is trained drawn at random: it gives something else."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model


@every
def test_the_base_is_kept_to_the_bit(name):
    model, batch = built(name)
    before = given(model, batch)
    fwt.apply(model, fwt.plan(model, batch), key=0)
    assert torch.equal(given(model, batch), before)


@every
def test_a_plan_destroys_it_where_nothing_is_meant(name):
    """The mutant: drawn as the recipe alone would, the model gives something else."""
    model, batch = built(name)
    before = given(model, batch)
    plan = fwt.plan(model, batch)
    edited = plan.override({row.path: "he_normal" for row in plan.meant if row.layout is not None and row.law})
    edited = edited.override({row.path: fwt_ones() for row in plan.meant if row.layout is None and row.law})
    fwt.apply(model, edited, key=0)
    assert name == "factors" or not torch.allclose(given(model, batch), before)


def fwt_ones():
    return "ones"


MENDABLE = ("low rank", "merged", "buffer", "in place", "in one", "scaled", "houlsby", "parallel", "controlled")
"""Side paths of which one end alone can be 0: in the others, a vector could as well stand at another value."""


@pytest.mark.parametrize("name", MENDABLE)
def test_random_side_paths_are_mended(name):
    model, batch = built(name)
    before = given(model, batch)
    randomized(model)
    assert not torch.allclose(given(model, batch), before)
    fwt.apply(model, fwt.plan(model, batch), key=0)
    assert torch.equal(given(model, batch), before)


def test_a_side_network_that_was_never_zero_gets_an_end_of_zero():
    torch.manual_seed(0)
    model = SideTuned()
    plan = fwt.plan(model, rows())
    fwt.apply(model, plan, key=0)
    assert torch.equal(given(model, rows()), given(model.base, rows()))
    assert not plan["side.2.weight"].meant


@pytest.mark.parametrize("name", ["low rank", "houlsby", "parallel", "crossed", "controlled", "three factors"])
def test_what_is_trained_gets_a_gradient_within_two_steps(name):
    """One factor of a product is 0, not both: the other learns as soon as it has moved."""
    model, batch = built(name)
    fwt.apply(model, fwt.plan(model, batch), key=0)
    trained = {path: p for path, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
    assert [path for path, p in trained.items() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", [name for name in ADAPTED if name != "decomposed"])
def test_without_values_the_base_is_kept_too(name):
    model, batch = built(name)
    before = given(model, batch)
    plan = fwt.plan(copy.deepcopy(model).to("meta"), batch.to("meta"))
    fwt.apply(randomized(model), plan, key=0)
    if name not in ("vectors", "factors"):  # vectors that may as well stand at 1
        assert torch.equal(given(model, batch), before)


def test_a_new_head_is_drawn_and_the_trunk_kept():
    torch.manual_seed(0)
    model = Trunk("houlsby", new_head=True).eval()
    with torch.no_grad():
        before = model.features(tokens())
    plan = fwt.plan(model, tokens())
    fwt.apply(model, plan, key=0)
    with torch.no_grad():
        assert torch.equal(model.features(tokens()), before)
    assert plan["head.weight"].std > 0


def test_both_factors_of_zero_are_mended():
    torch.manual_seed(0)
    model = Perceptron(LowRank)
    for layer in model.maps:
        nn.init.zeros_(layer.lower)
    plan = fwt.plan(model, rows())
    assert plan["maps.0.lower"].std > 0
    assert plan["maps.0.upper"].std == 0


class Blocks(nn.Module):
    """Residual blocks that are all trained, on a frozen stem: no side paths."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(8, 16).requires_grad_(False)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)) for _ in range(3)
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Towers(nn.Module):
    """A frozen tower and a trained one, of different inputs, before a trained head."""

    def __init__(self):
        super().__init__()
        self.frozen, self.trained = nn.Linear(8, 16).requires_grad_(False), nn.Linear(6, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x, y):
        return self.head((self.frozen(x) + self.trained(y)).relu())


@pytest.mark.parametrize(("make", "args"), [(Blocks, (8,)), (Towers, (8, 6))], ids=["blocks", "towers"])
def test_a_network_of_its_own_is_no_side_path(make, args):
    torch.manual_seed(0)
    plan = fwt.plan(make(), tuple(torch.randn(32, width) for width in args))
    assert [row.path for row in plan if row.role in ("weight", "branch_end") and row.law and not row.std] == []


def test_biases_and_norms_of_frozen_weights_stay_as_they_were_trained():
    torch.manual_seed(0)
    model = Trunk("plain").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.requires_grad_(requires_grad=True).add_(torch.randn_like(parameter) * 0.2)
    before = given(model, tokens())
    plan = fwt.plan(model, tokens())
    fwt.apply(model, plan, key=0)
    assert torch.equal(given(model, tokens()), before)
    assert all(row.meant for row in plan if model.get_parameter(row.path).requires_grad)


def task(model, *, flipped=False):
    """Which of ten directions a row points to most; the other way round for another task."""
    directions = torch.randn(8, 10, generator=torch.Generator().manual_seed(5))
    x = torch.randn(512, 8, generator=torch.Generator().manual_seed(6))
    return (-x if flipped else x), (x @ directions).argmax(1)


def trained(model, data, steps, rate):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(data[0]), data[1])
        loss.backward()
        optimizer.step()
    return loss.item()


def accuracy(model, data):
    with torch.no_grad():
        return (model(data[0]).argmax(1) == data[1]).float().mean().item()


def test_a_trained_base_keeps_its_accuracy_and_the_update_learns():
    torch.manual_seed(0)
    base = nn.ModuleList([nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 10)])
    model = Perceptron(nn.Identity)
    model.maps = base
    trained(model, task(model), 150, 0.01)
    learned = accuracy(model, task(model))
    model.maps = nn.ModuleList(LowRank(layer) for layer in base)
    fwt.apply(model, fwt.plan(model, rows()), key=0)
    assert accuracy(model, task(model)) == learned > 0.8
    other = task(model, flipped=True)
    first = functional.cross_entropy(model(other[0]), other[1]).item()
    assert trained(model, other, 150, 0.01) < 0.5 * first


def neighbours(m, x):
    """A residual graph convolution: the fixed matrix sums over nodes."""
    h = m.entry(x)
    return m.head(h + functional.relu(m.graph @ m.w(h)))


def neighbours_beside(m, x):
    h = m.entry(x)
    return m.head(functional.relu(m.w(h) + m.graph @ m.v(h)))


def resampled(m, x):
    """Two scales of one signal that are joined again by a fixed matrix over places."""
    h = m.entry(x)
    return m.head(h + m.graph @ functional.gelu(m.w(m.graph @ h)))


def into_the_base(m, x):
    """A trained map whose output a fixed map of features reads: it is no side path."""
    h = m.entry(x)
    return m.head(h + functional.tanh(h @ m.features))


@pytest.mark.parametrize("forward", [neighbours, neighbours_beside, resampled, into_the_base])
def test_fixed_matrices_beside_trained_maps_are_no_base(forward):
    torch.manual_seed(0)
    maps = {"entry": nn.Linear(8, 24), "w": nn.Linear(24, 24), "v": nn.Linear(24, 24), "head": nn.Linear(24, 5)}
    model = Wrapped(forward, **maps)
    model.graph, model.features = torch.softmax(torch.randn(12, 12), -1), torch.randn(24, 24) / 24**0.5
    plan = fwt.plan(model, torch.randn(4, 12, 8))
    assert all(row.std or row.role == "unused" for row in plan if row.path.endswith("weight"))


class Memory(nn.Module):
    """What a query reads from a memory that is empty at first, beside what is said at once."""

    def __init__(self, read):
        super().__init__()
        self.both, self.out = nn.Linear(16, 32), nn.Linear(16, 4)
        self.read = read

    def forward(self, x):
        query, value = functional.silu(self.both(x)).chunk(2, -1)
        return self.out(self.read(query, torch.zeros(len(x), 16, 16)) + value)


READS = {
    "matmul": lambda query, memory: torch.matmul(query, memory),
    "operator": lambda query, memory: query @ memory,
    "bmm": lambda query, memory: torch.bmm(query, memory),
    "einsum": lambda query, memory: torch.einsum("btd,bde->bte", query, memory),
    "transposed": lambda query, memory: (memory @ query.mT).mT,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_empty_memory_is_no_frozen_base(read):
    planned = {
        row.path: row
        for row in fwt.plan(Memory(read), torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1)))
    }
    row = planned["both.weight"]
    assert row.law.moments((32, 16), layout=row.layout).std == pytest.approx(
        0.25, rel=0.23
    )  # 5 deviations of 240 squares
    assert "frozen" not in row.reason
