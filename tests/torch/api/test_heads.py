"""Heads of every form: after plan and apply the loss starts near that of a guess, and states stay states."""

import math
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn
functional = torch.nn.functional

from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.weights.apply import apply  # noqa: E402

WIDTH, CLASSES = 32, 10
ROWS = torch.randn(512, WIDTH, generator=torch.Generator().manual_seed(0))
SEQUENCES = torch.randn(64, 12, WIDTH, generator=torch.Generator().manual_seed(1))


class Model(nn.Module):
    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, nn.ModuleList(part) if isinstance(part, list) else part)

    def forward(self, values):
        return self.run(self, values)


def net(*widths):
    layers = [layer for before, after in pairwise(widths) for layer in (nn.Linear(before, after), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def boosted(model, values):
    total = 0
    for block, head in zip(model.blocks, model.heads, strict=True):
        values = functional.relu(block(values))
        total = total + head(values)
    return total


def steps(model, values):
    state = values.new_zeros(len(values), WIDTH)
    for time in range(values.shape[1]):
        state = torch.tanh(model.enter(values[:, time]) + model.stay(state))
        yield state


def over_time(model, values):
    return torch.stack([model.head(state) for state in steps(model, values)], 1)


def with_last_state(model, values):
    states = list(steps(model, values))
    return torch.stack([model.head(state) for state in states], 1), states[-1]


def mixture(model, values):
    gate = torch.softmax(model.gate(values), -1)
    return (torch.stack([expert(values) for expert in model.experts], 1) * gate[:, :, None]).sum(1)


def mixture_in_a_loop(model, values):
    gate = torch.softmax(model.gate(values), -1)
    return sum(gate[:, i : i + 1] * expert(values) for i, expert in enumerate(model.experts))


def stages(model, values):
    outputs = []
    for block, head, back in zip(model.blocks, model.heads, model.backs, strict=True):
        features = functional.relu(block(values))
        outputs.append(head(features))
        values = values + back(outputs[-1]) + features
    return outputs


def features_and_logits(model, values):
    features = functional.relu(model.a(values))
    return features, model.b(features)


def loss_and_logits(model, values):
    _, logits = features_and_logits(model, values)
    return logits.square().mean(), logits


def linears(count, inputs=WIDTH, outputs=WIDTH):
    return [nn.Linear(inputs, outputs) for _ in range(count)]


def recurrent():
    return {"enter": nn.Linear(WIDTH, WIDTH), "stay": nn.Linear(WIDTH, WIDTH), "head": nn.Linear(WIDTH, CLASSES)}


MODELS = {
    "two nets summed": (
        lambda: Model(lambda m, x: m.a(x) + m.b(x), a=net(WIDTH, 64, CLASSES), b=net(WIDTH, 64, CLASSES)),
        {"a.2", "b.2"},
    ),
    "wide and deep": (
        lambda: Model(lambda m, x: m.a(x) + m.b(x), a=nn.Linear(WIDTH, CLASSES), b=net(WIDTH, 64, 64, CLASSES)),
        {"a", "b.4"},
    ),
    "mean of two": (
        lambda: Model(lambda m, x: (m.a(x) + m.b(x)) / 2, a=net(WIDTH, 64, CLASSES), b=net(WIDTH, 64, CLASSES)),
        {"a.2", "b.2"},
    ),
    "boosted": (
        lambda: Model(boosted, blocks=linears(3), heads=linears(3, WIDTH, CLASSES)),
        {"heads.0", "heads.1", "heads.2"},
    ),
    "ensemble": (
        lambda: Model(
            lambda m, x: torch.stack([part(x) for part in m.parts]).mean(0),
            parts=[net(WIDTH, 64, CLASSES) for _ in range(3)],
        ),
        {"parts.0.2", "parts.1.2", "parts.2.2"},
    ),
    "auxiliary output by name": (
        lambda: Model(
            lambda m, x: {"out": m.b(functional.relu(m.a(x))), "aux": m.c(x)},
            a=nn.Linear(WIDTH, 64),
            b=nn.Linear(64, CLASSES),
            c=nn.Linear(WIDTH, CLASSES),
        ),
        {"b", "c"},
    ),
    "deep supervision": (
        lambda: Model(stages, blocks=linears(3), heads=linears(3, WIDTH, CLASSES), backs=linears(3, CLASSES, WIDTH)),
        {"heads.0", "heads.1", "heads.2"},
    ),
    "features before the logits": (
        lambda: Model(
            features_and_logits,
            a=nn.Linear(WIDTH, 64),
            b=nn.Linear(64, CLASSES),
        ),
        {"b"},
    ),
    "a loss before the logits": (
        lambda: Model(
            loss_and_logits,
            a=nn.Linear(WIDTH, 64),
            b=nn.Linear(64, CLASSES),
        ),
        {"b"},
    ),
    "mixture of experts": (
        lambda: Model(mixture, gate=nn.Linear(WIDTH, 3), experts=[net(WIDTH, 64, CLASSES) for _ in range(3)]),
        {"experts.0.2", "experts.1.2", "experts.2.2"},
    ),
    "mixture in a loop": (
        lambda: Model(mixture_in_a_loop, gate=nn.Linear(WIDTH, 3), experts=[net(WIDTH, 64, CLASSES) for _ in range(3)]),
        {"experts.0.2", "experts.1.2", "experts.2.2"},
    ),
    "stacked over time": (lambda: Model(over_time, **recurrent()), {"head"}),
    "stacked over time, with the last state": (lambda: Model(with_last_state, **recurrent()), {"head"}),
    "a stream and what is added to it": (
        lambda: Model(lambda m, x: x + m.b(functional.relu(m.a(x))), a=nn.Linear(WIDTH, 64), b=nn.Linear(64, WIDTH)),
        set(),
    ),
    "states alone": (
        lambda: Model(lambda m, x: torch.stack(list(steps(m, x)), 1), **recurrent()),
        set(),
    ),
}


def planned(name):
    torch.manual_seed(0)
    model = MODELS[name][0]()
    values = SEQUENCES if "stay.weight" in dict(model.named_parameters()) else ROWS
    return model, plan(model, values), values


@pytest.mark.parametrize("name", MODELS)
def test_the_maps_that_make_the_outputs_are_heads(name):
    _, rows, _ = planned(name)
    assert {row.path.removesuffix(".weight") for row in rows.rows if row.role == "head"} == MODELS[name][1]


def logits_of(outputs):
    """Every output that holds logits."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    each = outputs.values() if isinstance(outputs, dict) else outputs
    return [output for output in each if output.dim() and output.shape[-1] == CLASSES]


def excess(logits):
    """By what share of ln C the expected loss on labels drawn evenly exceeds ln C, with its standard error."""
    losses = torch.logsumexp(logits, -1) - logits.mean(-1)
    return float(losses.mean()) / math.log(CLASSES) - 1, float(losses.std()) / math.sqrt(losses.numel())


@pytest.mark.parametrize("name", [name for name, (_, heads) in MODELS.items() if heads])
@torch.no_grad()
def test_the_loss_starts_near_that_of_a_guess(name):
    """Outputs of std s add s^2 / 2 to ln C: 2 % are planned, and 6 % are the promise."""
    model, rows, values = planned(name)
    apply(model, rows, key=1)
    for logits in logits_of(model(values)):
        share, error = excess(logits)
        assert 0 <= share < 0.06 + 5 * error


@torch.no_grad()
def test_terms_at_full_size_are_noticed():
    """The mutant: heads of unit outputs, as maps inside a network have them."""
    model, rows, values = planned("two nets summed")
    apply(model, rows, key=1)
    for part in (model.a, model.b):
        part[2].weight *= 1 / 0.3
    assert excess(model(values))[0] > 0.06


def test_terms_share_the_variance():
    """Four terms of std s / 2 make a sum of std s."""
    torch.manual_seed(0)
    model = Model(lambda m, x: sum(part(x) for part in m.parts), parts=linears(4, WIDTH, CLASSES))
    stds = [row.std for row in plan(model, ROWS).rows if row.role == "head"]
    alone = Model(lambda m, x: m.part(x), part=nn.Linear(WIDTH, CLASSES))
    (single,) = [row.std for row in plan(alone, ROWS).rows if row.role == "head"]
    assert len(stds) == 4
    assert stds == pytest.approx([single / 2] * 4, rel=1e-3)
