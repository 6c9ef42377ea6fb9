"""What collapses at step zero: routers, codebooks, places, policies, temperatures; and what each costs."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from fanwise.torch import check  # noqa: E402

from ..traced import Wrapped  # noqa: E402


def seeded(number):
    return torch.Generator().manual_seed(number)


def layer(n, m, gain=1.0, bias=True):
    made = nn.Linear(n, m, bias=bias)
    nn.init.normal_(made.weight, std=gain / math.sqrt(n))
    if bias:
        nn.init.zeros_(made.bias)
    return made


def trained(model, batch, loss, steps, rate=3e-3):
    """The last loss of a short training."""
    x, y = batch
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
    return float(value.detach())


def codes(model, batch, loss):
    return [found.code for found in check(model, batch, loss).findings]


def first(model, batch, loss):
    return check(model, batch, loss).findings[0]


# Routers

WIDTH, EXPERTS = 16, 8


def groups():
    """Points of eight groups, each with a linear target of its own."""
    generator = seeded(0)
    centres, group = torch.randn(EXPERTS, WIDTH, generator=generator) * 2, torch.arange(256) % EXPERTS
    x = centres[group] + torch.randn(256, WIDTH, generator=generator)
    maps = torch.randn(EXPERTS, WIDTH, 4, generator=generator) / 4
    return x, torch.einsum("nd,ndf->nf", x, maps[group])


def by_rows(m, x):
    weight, chosen = m.router(x).softmax(-1).topk(1, -1)
    mixed = torch.zeros_like(x)
    for number, expert in enumerate(m.experts):
        rows, which = (chosen == number).nonzero(as_tuple=True)
        if len(rows):
            mixed = mixed.index_add(0, rows, weight[rows, which][:, None] * expert(x[rows]))
    return m.head(mixed)


def by_scatter(m, x):
    share = m.router(x).softmax(-1)
    weight, chosen = share.topk(1, -1)
    gates = torch.zeros_like(share).scatter(1, chosen, weight)
    return m.head(torch.einsum("bn,bnd->bd", gates, torch.stack([expert(x) for expert in m.experts], 1)))


def by_argmax(m, x):
    scores = m.router(x)
    chosen = scores.argmax(-1)
    experts = torch.stack([expert(x) for expert in m.experts], 1)
    gate = scores.softmax(-1).gather(1, chosen[:, None])
    return m.head(experts[torch.arange(len(x)), chosen] * gate)


def softly(m, x):
    share = m.router(x).softmax(-1)
    return m.head(sum(share[:, i : i + 1] * expert(x) for i, expert in enumerate(m.experts)))


def two_of_them(m, x):
    weight, chosen = m.router(x).softmax(-1).topk(2, -1)
    experts = torch.stack([expert(x) for expert in m.experts], 1)
    rows = torch.arange(len(x))[:, None]
    return m.head((experts[rows, chosen] * weight[..., None]).sum(1))


def mixture(forward, bias):
    torch.manual_seed(0)
    router = layer(WIDTH, EXPERTS)
    with torch.no_grad():
        router.bias[:2] = torch.tensor([bias, bias / 2 if forward is two_of_them else 0.0])
    experts = nn.ModuleList(nn.Sequential(layer(WIDTH, 4, 1.4), nn.ReLU(), layer(4, WIDTH)) for _ in range(EXPERTS))
    return Wrapped(forward, router=router, experts=experts, head=layer(WIDTH, 4))


@pytest.mark.parametrize("forward", [by_rows, by_scatter, by_argmax, two_of_them])
def test_a_router_that_takes_one_expert_is_named_at_what_decides(forward):
    found = first(mixture(forward, 60.0), groups(), "mse_loss")
    assert (found.code, found.severity, found.place) == ("CHO001", "warning", "router.bias")
    assert "CHO001" not in codes(mixture(forward, 1.0), groups(), "mse_loss")


def test_a_soft_mixture_of_one_is_found_too():
    found = first(mixture(softly, 60.0), groups(), "mse_loss")
    assert (found.code, found.place) == ("CHO001", "router.bias")


def test_one_expert_cannot_learn_what_eight_can():
    one, all_ = (trained(mixture(by_rows, bias), groups(), functional.mse_loss, 120) for bias in (60.0, 1.0))
    assert one > 1.5 * all_


def zero_router(forward, bias=0.0):
    model = mixture(forward, bias)
    nn.init.zeros_(model.router.weight)
    return model


@pytest.mark.parametrize("forward", [by_rows, by_scatter, by_argmax, two_of_them])
def test_a_router_of_zeros_opens_itself_unless_its_bias_decides(forward):
    assert "CHO001" not in codes(zero_router(forward), groups(), "mse_loss")
    assert "CHO001" in codes(zero_router(forward, 60.0), groups(), "mse_loss")


def test_a_router_of_zeros_learns_as_others_do():
    zeros, random = (trained(m(by_rows, 0.0), groups(), functional.mse_loss, 120) for m in (zero_router, mixture))
    assert zeros < 1.25 * random


# Codebooks

ENTRIES, CODE = 32, 8


def low_rank():
    x = torch.randn(256, 4, generator=seeded(1)) @ torch.randn(4, 24, generator=seeded(2)) / 2
    return x, x


def quantised(model, size, shift=0.0):
    """An encoder, the nearest entries of a codebook N(shift, size), and a decoder."""

    def forward(m, x):
        code = m.encode(x)
        entries = m.book.weight if isinstance(m.book, nn.Embedding) else m.book
        nearest = model(m, code, entries)
        return m.decode(code + (nearest - code).detach()) + 0 * nearest.sum()

    torch.manual_seed(0)
    encode = nn.Sequential(layer(24, 32, 1.4), nn.ReLU(), layer(32, CODE))
    decode = nn.Sequential(layer(CODE, 32, 1.4), nn.ReLU(), layer(32, 24))
    rows = torch.randn(ENTRIES, CODE) * size + shift
    table = nn.Embedding.from_pretrained(rows, freeze=False) if model is looked_up else rows
    return Wrapped(forward, encode=encode, decode=decode, book=table)


def indexed(m, code, entries):
    return entries[(code[:, None] - entries[None]).square().sum(-1).argmin(-1)]


def looked_up(m, code, entries):
    return m.book(torch.cdist(code, entries).argmin(-1))


def one_hot(m, code, entries):
    distance = code.square().sum(1, keepdim=True) + entries.square().sum(1) - 2 * code @ entries.T
    return functional.one_hot(distance.argmin(1), ENTRIES).float() @ entries


def by_least(m, code, entries):
    return entries[torch.cdist(code, entries).min(-1).indices]


@pytest.mark.parametrize("model", [indexed, looked_up, one_hot, by_least])
@pytest.mark.parametrize(("size", "shift"), [(100.0, 0.0), (0.05, 20.0)])
def test_a_codebook_of_which_one_entry_is_used_is_named(model, size, shift):
    found = first(quantised(model, size, shift), low_rank(), "mse_loss")
    assert (found.code, found.place) == ("CHO001", "book.weight" if model is looked_up else "book")
    assert "CHO001" not in codes(quantised(model, 1.0), low_rank(), "mse_loss")


def test_one_entry_leaves_nothing_to_decode():
    far, near = (trained(quantised(indexed, size), low_rank(), functional.mse_loss, 120) for size in (100.0, 1.0))
    assert far > 2 * near


def test_tokens_that_a_model_chooses_from_its_logits_are_no_codebook():
    def forward(m, x):
        state = m.table(x).mean(1)
        logits = [m.head(state)]
        for _ in range(3):
            state = state + m.table(logits[-1].argmax(-1))
            logits.append(m.head(state))
        return torch.stack(logits, 1).mean(1)

    torch.manual_seed(0)
    model = Wrapped(forward, table=nn.Embedding(40, 16), head=layer(16, 40, 0.1))
    with torch.no_grad():
        model.head.bias[3] = 1.0
    x = torch.randint(0, 40, (32, 6), generator=seeded(3))
    assert "CHO001" not in codes(model, (x, x[:, 0]), "cross_entropy")


# Places


def copied_tokens():
    x = torch.randint(0, 12, (48, 10), generator=seeded(5))
    return x, x.roll(1, 1)


def attention(m, part, x):
    queries, keys, values = m[part](x).chunk(3, -1)
    return functional.scaled_dot_product_attention(queries, keys, values)


def written_attention(m, part, x):
    queries, keys, values = m[part](x).chunk(3, -1)
    return (queries @ keys.transpose(1, 2) / math.sqrt(24)).softmax(-1) @ values


def averages(m, part, x):
    ring = sum(torch.eye(10).roll(shift, 0) for shift in range(-2, 3)) / 5
    return ring @ m[part](x)[..., :24]


def neighbours(m, part, x):
    degree = torch.full((10,), 1 / 9)
    return (m[part](x)[..., :24].sum(1, keepdim=True) - m[part](x)[..., :24]) * degree[:, None]


def mixer(mix, depth, *, past):
    def forward(m, x):
        x = m.table(x) + m.positions
        for number in range(depth):
            mixed = mix(m.parts, str(number), x)
            x = functional.layer_norm(x + mixed if past else mixed, (24,))
        return m.head(x).transpose(1, 2)

    torch.manual_seed(0)
    parts = nn.ModuleDict({str(number): layer(24, 72) for number in range(depth)})
    return Wrapped(
        forward, table=nn.Embedding(12, 24), positions=torch.randn(10, 24), parts=parts, head=layer(24, 12, 0.3)
    )


@pytest.mark.parametrize(("mix", "depth"), [(attention, 8), (written_attention, 8), (averages, 40), (neighbours, 6)])
def test_places_that_became_alike_are_named(mix, depth):
    found = first(mixer(mix, depth, past=False), copied_tokens(), "cross_entropy")
    assert (found.code, found.severity) == ("OUT002", "warning")
    assert found.place.startswith("parts.")
    assert "OUT002" not in codes(mixer(mix, 4, past=True), copied_tokens(), "cross_entropy")


def test_places_that_are_alike_do_not_learn_what_differs_between_them():
    alike, apart = (
        trained(mixer(attention, 8, past=past), copied_tokens(), functional.cross_entropy, 60) for past in (False, True)
    )
    assert alike > 2 * apart


# Policies


def policy(gain, end):
    def forward(m, x):
        state = m.body(x)
        return end(m.policy(state)), m.value(state)

    torch.manual_seed(0)
    body = nn.Sequential(layer(6, 32, 1.4), nn.Tanh(), layer(32, 32, 1.4), nn.Tanh())
    return Wrapped(forward, body=body, policy=layer(32, 4, gain), value=layer(32, 1))


def states():
    x = torch.randn(64, 6, generator=seeded(7))
    return x, x[:, :4].argmin(-1)


def actor_critic(output, action):
    logits, value = output
    advantage = torch.randn(64, generator=seeded(8))
    chosen = logits.log_softmax(-1).gather(1, action[:, None])[:, 0]
    return -(advantage * chosen).mean() + 0.5 * (value[:, 0] - advantage).square().mean()


def with_a_distribution(output, action):
    chosen = torch.distributions.Categorical(logits=output[0]).log_prob(action)
    return -(chosen * torch.randn(64, generator=seeded(8))).mean() + 0.5 * output[1].square().mean()


def of_probabilities(output, action):
    chosen = output[0].gather(1, action[:, None])[:, 0].clamp_min(1e-8).log()
    return -(chosen * torch.randn(64, generator=seeded(8))).mean() + 0.5 * output[1].square().mean()


def of_actions(output, action):
    return (output[0] - 0.3).square().mean() + 0.5 * output[1].square().mean()


ENDS = [
    (lambda logits: logits, actor_critic),
    (lambda logits: logits, with_a_distribution),
    (lambda logits: logits.log_softmax(-1), of_probabilities),
    (lambda logits: logits.softmax(-1), of_probabilities),
    (torch.tanh, of_actions),
]


@pytest.mark.parametrize(("end", "loss"), ENDS)
def test_a_policy_that_is_sure_is_named_at_its_head(end, loss):
    found = first(policy(30.0, end), states(), loss)
    assert (found.code, found.severity, found.place) == ("SUR001", "warning", "policy.weight")
    assert "SUR001" not in codes(policy(0.01, end), states(), loss)


def test_a_policy_that_is_sure_explores_nothing():
    """REINFORCE with a reward of 1 for one action of four, which depends on the state."""

    def reward(gain):
        model, (x, right), generator = policy(gain, lambda logits: logits), states(), seeded(9)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(150):
            logits = model(x)[0].log_softmax(-1)
            action = torch.multinomial(logits.detach().exp(), 1, generator=generator)
            gained = (action[:, 0] == right).float()
            optimizer.zero_grad()
            (-(gained - gained.mean()) * logits.gather(1, action)[:, 0]).mean().backward()
            optimizer.step()
        return float((model(x)[0].softmax(-1).gather(1, right[:, None])).detach().mean())

    assert 1 - reward(30.0) > 2 * (1 - reward(0.01))


def test_an_attention_and_a_hard_sample_are_no_policies():
    def forward(m, x):
        return m.head(functional.gumbel_softmax(m.choice(x), hard=True) @ m.codes)

    torch.manual_seed(0)
    model = Wrapped(forward, choice=layer(6, 8), codes=torch.randn(8, 12), head=layer(12, 4, 0.1))
    assert "SUR001" not in codes(model, states(), "cross_entropy")


# Temperatures


def views():
    hidden = torch.randn(48, 6, generator=seeded(11))
    return (hidden @ torch.randn(6, 20, generator=seeded(12)), torch.arange(48))


def contrast(scale):
    def forward(m, x):
        one, other = functional.normalize(m.one(x[:, :10]), dim=-1), functional.normalize(m.other(x[:, 10:]), dim=-1)
        return scale(one @ other.T, m)

    torch.manual_seed(0)
    return Wrapped(forward, one=layer(10, 16), other=layer(10, 16), factor=torch.tensor(0.0))


@pytest.mark.parametrize("factor", [1e-3, 0.05, 1e4])
@pytest.mark.parametrize("learned", [True, False])
def test_a_collapsed_temperature_is_named(factor, learned):
    def scale(cosines, m):
        return cosines * (m.factor + math.log(factor)).exp() if learned else cosines * factor

    found = first(contrast(scale), views(), "cross_entropy")
    assert found.code == "TMP001"
    assert found.place == ("factor" if learned else "")
    assert found.evidence["factor"] == pytest.approx(factor, rel=0.02)


@pytest.mark.parametrize("factor", [1.0, 10.0, 1 / 0.07, 64.0])
def test_temperatures_as_people_start_them_are_not_flagged(factor):
    assert "TMP001" not in codes(contrast(lambda cosines, m: cosines * factor), views(), "cross_entropy")


def test_a_mask_is_no_factor():
    def scale(cosines, m):
        return (cosines / 0.5).masked_fill(torch.eye(48, dtype=torch.bool).roll(1, 0), -1e4)

    assert "TMP001" not in codes(contrast(scale), views(), "cross_entropy")


def test_below_its_bound_no_loss_falls():
    faint, usual = (
        trained(contrast(lambda cosines, m: cosines * factor), views(), functional.cross_entropy, 80)  # noqa: B023
        for factor in (0.05, 1 / 0.07)
    )
    assert faint > math.log1p(47 * math.exp(-0.1)) - 1e-3
    assert usual < faint / 2
