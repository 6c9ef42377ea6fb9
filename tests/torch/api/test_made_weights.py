"""Weights that a model makes: the last map of what makes them goes by the fan_in of the map that uses them."""

import math

import pytest
import torch
from torch import nn

import fanwise.torch as fwt

from ..traced import Wrapped, normal

F = nn.functional
IN, OUT, CODE, HIDDEN, ROWS = 48, 40, 12, 96, 256
TIGHT = 0.2
"""A made weight of 1920 numbers from 96 hidden ones: its second moment varies by sqrt(2 / 96), the batch's by less."""


def generator(outputs, *, bias=True, hidden=HIDDEN):
    return nn.Sequential(nn.Linear(CODE, hidden), nn.ReLU(), nn.Linear(hidden, outputs, bias=bias))


def keep(model, tensor):
    model.seen.append(tensor)
    return tensor


def planned(forward, *inputs, key=0, **parts):
    """A model with its plan applied, the plan, and what the model kept on one forward pass."""

    def whole(model, *given):
        model.seen = []
        return forward(model, *given)

    torch.manual_seed(0)
    model = Wrapped(whole, **parts)
    plan = fwt.plan(model, inputs)
    fwt.apply(model, plan, key=key)
    with torch.no_grad():
        model(*inputs)
    return model, plan, [float(seen.double().square().mean()) for seen in model.seen]


X, Z = normal(ROWS, IN), normal(ROWS, CODE)


def by_bmm(m, x, z):
    w = m.g(z).view(-1, OUT, IN)
    return m.head(torch.relu(keep(m, torch.bmm(w, x[..., None])[..., 0])))


def by_einsum(m, x, z):
    w = m.g(z).unflatten(-1, (IN, OUT))
    return m.head(torch.relu(keep(m, torch.einsum("bi,bio->bo", x, w))))


def by_linear(m, x, z):
    w = m.g(z[:1]).reshape(OUT, IN)
    return m.head(torch.relu(keep(m, F.linear(x, w))))


def by_matmul_of_edges(m, x, z):
    """Edge-conditioned convolution: a matrix for every edge."""
    return m.head(torch.relu(keep(m, (x.unsqueeze(1) @ m.g(z).view(-1, IN, OUT)).squeeze(1))))


def scaled_down(m, x, z):
    w = 0.1 * m.g(z).view(-1, OUT, IN)
    return m.head(torch.relu(keep(m, torch.bmm(w, x[..., None])[..., 0])))


def through_tanh(m, x, z):
    w = torch.tanh(m.g(z)).view(-1, OUT, IN)
    return m.head(torch.relu(keep(m, torch.bmm(w, x[..., None])[..., 0])))


def of_unequal_inputs(m, x, z):
    w = m.g(z).view(-1, OUT, IN)
    return m.head(torch.relu(keep(m, torch.bmm(w, 5 * x[..., None])[..., 0])))


def before_a_frequency(m, x, z):
    w = m.g(z).view(-1, OUT, IN)
    return m.head(torch.tanh(keep(m, 8 * torch.bmm(w, x[..., None])[..., 0])))


MAKERS = (
    by_bmm, by_einsum, by_linear, by_matmul_of_edges, scaled_down, through_tanh, of_unequal_inputs, before_a_frequency
)  # fmt: skip


@pytest.mark.parametrize("forward", MAKERS, ids=lambda forward: forward.__name__)
def test_a_map_with_a_made_weight_gives_unit_second_moment(forward):
    powers = [planned(forward, X, Z, key=k, g=generator(IN * OUT), head=nn.Linear(OUT, 10))[2][0] for k in range(4)]
    assert sum(powers) / 4 == pytest.approx(1, rel=TIGHT * (3 if forward is by_linear else 1))


def test_the_law_is_that_of_the_made_weight_s_fan():
    _, plan, _ = planned(by_bmm, X, Z, g=generator(IN * OUT), head=nn.Linear(OUT, 10))
    row, fed = plan["g.2.weight"], float(X.square().mean())
    hidden = row.fed
    assert row.std == pytest.approx(1 / math.sqrt(IN * fed * HIDDEN * hidden), rel=0.01)
    assert row.reason == "it makes weights of fan_in 48: of unit second moment at their product"
    assert row.role == "weight"


def test_with_a_unit_law_it_would_be_as_large_as_the_fan():
    model, plan, _ = planned(by_bmm, X, Z, g=generator(IN * OUT), head=nn.Linear(OUT, 10))
    nn.init.normal_(model.g[2].weight, std=plan["g.2.weight"].std * math.sqrt(IN))
    model(X, Z)
    assert float(model.seen[0].detach().square().mean()) > IN / 2


# Biases


def with_its_bias(m, x, z):
    p = m.g(z)
    w, b = p[:, : IN * OUT].view(-1, OUT, IN), p[:, IN * OUT :]
    return m.head(torch.relu(keep(m, torch.bmm(w, x[..., None])[..., 0] + keep(m, b))))


def with_a_bias_of_its_own(m, x, z):
    w, b = m.g(z).view(-1, OUT, IN), m.shift(z)
    return m.head(torch.relu(keep(m, torch.bmm(w, x[..., None])[..., 0] + keep(m, b))))


@pytest.mark.parametrize("forward", [with_its_bias, with_a_bias_of_its_own], ids=lambda forward: forward.__name__)
def test_a_bias_that_is_made_too_takes_half(forward):
    outputs = IN * OUT + OUT if forward is with_its_bias else IN * OUT
    parts = {"g": generator(outputs), "shift": generator(OUT), "head": nn.Linear(OUT, 10)}
    powers = [planned(forward, X, Z, key=key, **parts)[2] for key in range(4)]
    bias, whole = (sum(power[i] for power in powers) / 4 for i in (0, 1))
    assert bias == pytest.approx(0.5, rel=0.3)
    assert whole == pytest.approx(1, rel=TIGHT)


# Convolutions


def dynamic_convolution(m, x, z):
    """A kernel for each example, as one grouped convolution of the whole batch."""
    kernels = m.g(z).view(-1, 6, 3, 3)
    y = F.conv2d(x.reshape(1, -1, 8, 8), kernels, padding=1, groups=len(x)).view(len(x), -1, 8, 8)
    return m.head(torch.relu(keep(m, y)).mean((2, 3)))


def conditional_convolution(m, x, z):
    """A mixture of expert kernels, chosen by each example."""
    routing = torch.sigmoid(m.route(z))
    kernels = (routing @ m.experts.view(4, -1)).view(-1, 6, 3, 3)
    y = F.conv2d(x.reshape(1, -1, 8, 8), kernels, padding=1, groups=len(x)).view(len(x), -1, 8, 8)
    return m.head(torch.relu(keep(m, y)).mean((2, 3)))


def conditional_convolution_by_einsum(m, x, z):
    routing = torch.softmax(m.route(z), -1)
    kernels = torch.einsum("bk,koihw->boihw", routing, m.experts).flatten(0, 1)
    y = F.conv2d(x.reshape(1, -1, 8, 8), kernels, padding=1, groups=len(x)).view(len(x), -1, 8, 8)
    return m.head(torch.relu(keep(m, y)).mean((2, 3)))


@pytest.mark.parametrize(
    "forward",
    [dynamic_convolution, conditional_convolution, conditional_convolution_by_einsum],
    ids=lambda forward: forward.__name__,
)
def test_kernels_that_are_made_have_the_variance_of_their_convolution(forward):
    images = normal(32, 6, 8, 8)
    parts = {"g": generator(20 * 6 * 9), "head": nn.Linear(20, 10), "route": nn.Linear(CODE, 4)}
    runs = [planned(forward, images, Z[:32], key=k, experts=normal(4, 20, 6, 3, 3), **parts)[2][0] for k in range(4)]
    border = (22 / 24) ** 2  # of 3 taps at 8 places, 2 fall on padding
    assert sum(runs) / 4 == pytest.approx(border, rel=0.25)


# Many weights from one map


def test_one_map_that_makes_every_layer_has_a_law_for_each_part():
    sizes = [IN * 64, 64 * OUT, OUT * 10]

    def forward(m, x, z):
        a, b, c = m.g(z).split(sizes, -1)
        h = torch.relu(keep(m, torch.bmm(a.view(-1, 64, IN), x[..., None])))
        h = torch.relu(keep(m, torch.bmm(b.view(-1, OUT, 64), h)))
        return keep(m, torch.bmm(c.view(-1, 10, OUT), h)[..., 0])

    runs = [planned(forward, X, Z, key=key, g=generator(sum(sizes), hidden=1024)) for key in range(4)]
    powers = [sum(run[2][i] for run in runs) / 4 for i in range(3)]
    assert powers[:2] == pytest.approx([1, 1], rel=2 * TIGHT)  # 64 units carry the noise on
    assert powers[2] == pytest.approx(2 * 0.02 * math.log(10), rel=3 * TIGHT)  # the loss starts near ln 10
    law = runs[0][1]["g.2.weight"].law
    assert law.sizes == tuple(sizes)


def test_a_generator_used_in_every_layer_is_settled_once():
    def forward(m, x, z):
        w = m.g(z).view(-1, IN, IN)
        for _ in range(3):
            x = torch.tanh(keep(m, torch.bmm(w, x[..., None])[..., 0]))
        return m.head(x)

    _, plan, powers = planned(forward, X, Z, g=generator(IN * IN), head=nn.Linear(IN, 10))
    assert powers[0] == pytest.approx(1, rel=0.3)
    assert plan["g.2.weight"].gives == pytest.approx(1 / (IN * float(X.square().mean())), rel=0.02)


# What is no weight


def test_attention_and_correlation_are_products_of_signals():
    class Correlation(nn.Module):
        """A template slid over an image: features of one are the kernel for those of the other."""

        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 16, 3), nn.Linear(16, 10)

        def forward(self, x):
            features = self.body(x)
            return self.head(features.mean((2, 3))), F.conv2d(features, features[:2, :, :3, :3])

    row = fwt.plan(Correlation(), normal(4, 3, 8, 8))["body.weight"]
    assert "makes weights" not in row.reason
    encoder = nn.TransformerEncoderLayer(16, 4, batch_first=True)
    assert not any("makes weights" in row.reason for row in fwt.plan(encoder, normal(2, 3, 16)))


def test_training_from_the_plan_starts_near_a_guess_and_learns():
    def forward(m, x, z):
        for layer, (i, o) in zip((m.a, m.b, m.c), ((IN, 64), (64, 64), (64, 4)), strict=True):
            p = layer(z)
            x = torch.bmm(p[:, : i * o].view(-1, o, i), x[..., None])[..., 0] + p[:, i * o :]
            x = torch.relu(x) if o == 64 else x
        return x

    parts = {name: generator(i * o + o) for name, i, o in (("a", IN, 64), ("b", 64, 64), ("c", 64, 4))}
    model, _, _ = planned(forward, X, Z, **parts)
    labels = torch.randint(4, (ROWS,), generator=torch.Generator().manual_seed(0))
    optimizer, losses = torch.optim.Adam(model.parameters(), 1e-3), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X, Z), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(4), rel=0.06)
    assert losses[-1] < 0.3


# What reads out a state

T, HEAD = 12, 6
SIGNAL = normal(8, T, IN)


def selective_scan(m, x):
    """Gu and Dao (2023): steps, keys and queries of a state are parts of one map."""
    dt, b, c = m.select(x).split([IN, HEAD, HEAD], -1)
    dt, state, seen = F.softplus(dt - 2), x.new_zeros(len(x), IN, HEAD), []
    for t in range(T):
        state = torch.exp(-dt[:, t, :, None]) * state + (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
        seen.append((state @ c[:, t, :, None])[..., 0])
    return torch.stack(seen, 1)


def separate_maps(m, x):
    b, c, state, seen = m.write(x), m.read(x), x.new_zeros(len(x), IN, HEAD), []
    for t in range(T):
        state = 0.9 * state + x[:, t, :, None] * b[:, t, None]
        seen.append(torch.einsum("bdn,bn->bd", state, c[:, t]))
    return torch.stack(seen, 1)


def linear_attention(m, x):
    """Katharopoulos et al. (2020), the recurrent form."""
    q, k, v = m.select(x).split([HEAD, HEAD, IN], -1)
    state, seen = x.new_zeros(len(x), HEAD, IN), []
    for t in range(T):
        state = state + k[:, t, :, None] * v[:, t, None]
        seen.append(torch.bmm(q[:, t, None], state)[:, 0])
    return torch.stack(seen, 1)


def delta_rule(m, x):
    """Schlag et al. (2021): what the key reads is replaced."""
    q, k, v = m.select(x).split([HEAD, HEAD, IN], -1)
    k, state, seen = F.normalize(k, dim=-1), x.new_zeros(len(x), HEAD, IN), []
    for t in range(T):
        read = torch.bmm(k[:, t, None], state)[:, 0]
        state = state + k[:, t, :, None] * (v[:, t] - read)[:, None]
        seen.append(torch.bmm(q[:, t, None], state)[:, 0])
    return torch.stack(seen, 1)


def all_at_once(m, x):
    """Keys and values of all tokens, summed before the query reads them."""
    q, k, v = m.select(x).split([HEAD, HEAD, IN], -1)
    return q @ (k.transpose(1, 2) @ v)


STATES = {
    selective_scan: {"select": nn.Linear(IN, IN + 2 * HEAD)},
    separate_maps: {"write": nn.Linear(IN, HEAD), "read": nn.Linear(IN, HEAD)},
    linear_attention: {"select": nn.Linear(IN, 2 * HEAD + IN)},
    delta_rule: {"select": nn.Linear(IN, 2 * HEAD + IN)},
    all_at_once: {"select": nn.Linear(IN, 2 * HEAD + IN)},
}


@pytest.mark.parametrize("read", STATES, ids=lambda read: read.__name__)
def test_what_reads_out_a_state_is_a_signal_of_unit_second_moment(read):
    """It makes no weight: as one, it would be larger by what the state lacks at its first step."""

    def forward(m, x):
        maps = [keep(m, part(x)) for part in m.children() if part is not m.head]
        assert maps
        return m.head(read(m, x))

    _, plan, powers = planned(forward, SIGNAL, **STATES[read], head=nn.Linear(IN, 10))
    assert not any("makes weights" in row.reason for row in plan)
    assert powers == pytest.approx([1] * len(powers), rel=5 * math.sqrt(2 / HEAD) / math.sqrt(IN) + 0.1)
