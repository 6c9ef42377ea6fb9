"""Which maps a weight holds, told from how its output is cut; and which cuts do not tell maps apart."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from ..traced import Wrapped, normal, traced  # noqa: E402

X = normal(2, 5, 12)
HEADS, WIDTH = 2, 6


def attention(q, k, v):
    """(batch, heads, length, width) each."""
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def heads(x):
    return x.unflatten(-1, (-1, WIDTH)).transpose(1, 2)


def by_hand(q, k, v):
    weights = (heads(q) @ heads(k).transpose(-2, -1) * WIDTH**-0.5).softmax(-1)
    return (weights @ heads(v)).transpose(1, 2).flatten(2)


def rotate_half(x):
    a, b = x.chunk(2, -1)
    return torch.cat([-b, a], -1)


def rotary(x):
    angles = torch.linspace(0, 1, x.shape[-1])
    return x * angles.cos() + rotate_half(x) * angles.sin()


def partial_rotary(x):
    return torch.cat([rotary(x[..., :4]), x[..., 4:]], -1)


def interleaved_rotary(x):
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack([a - b, a + b], -1).flatten(-2)


def chunked(m, x):
    return by_hand(*m.w(x).chunk(3, -1))


def split(m, x):
    return by_hand(*m.w(x).split([12, 12, 12], -1))


def unbound(m, x):
    q, k, v = m.w(x).view(2, 5, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind()
    return attention(q, k, v)


def indexed(m, x):
    qkv = m.w(x).reshape(2, 5, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
    return attention(qkv[0], qkv[1], qkv[2])


def sliced(m, x):
    y = m.w(x)
    return by_hand(y[..., :12], y[..., 12:24], y[..., 24:])


def interleaved(m, x):
    q, k, v = m.w(x).view(2, 5, HEADS, 3 * WIDTH).chunk(3, -1)
    return attention(*(part.transpose(1, 2) for part in (q, k, v)))


def rotated(m, x):
    q, k, v = map(heads, m.w(x).chunk(3, -1))
    return attention(rotary(q), rotary(k), v)


def grouped(m, x):
    q, k, v = map(heads, m.w(x).split([12, 6, 6], -1))
    return attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))


def gate_up(m, x):
    gate, up = m.w(x).chunk(2, -1)
    return F.silu(gate) * up


def up_gate(m, x):
    up, gate = m.w(x).chunk(2, -1)
    return up * torch.sigmoid(gate)


def lstm(m, x):
    h = c = torch.zeros(2, 12)
    for step in x.unbind(1):
        i, f, g, o = (m.w(step) + m.r(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return h


def lstm_of_both(m, x):
    i, f, g, o = m.w(torch.cat([x, x.tanh()], -1)).chunk(4, -1)
    return torch.sigmoid(o) * torch.tanh(torch.sigmoid(f) * x + torch.sigmoid(i) * torch.tanh(g))


def mamba(m, x):
    values, gate = m.w(x).chunk(2, dim=-1)
    values = F.silu(values)
    step, b, c = m.x(values).split([3, 4, 4], dim=-1)
    return (F.softplus(m.dt(step)) * values * (b * c).sum(-1, keepdim=True)) * F.silu(gate)


def linear(rows, columns=12, **more):
    return lambda: {"w": nn.Linear(columns, rows), **{name: make() for name, make in more.items()}}


QKV = ("query", "key", "value")
FUSED = [
    (chunked, linear(36), (12, 12, 12), QKV),
    (split, linear(36), (12, 12, 12), QKV),
    (unbound, linear(36), (12, 12, 12), QKV),
    (indexed, linear(36), (12, 12, 12), QKV),
    (sliced, linear(36), (12, 12, 12), QKV),
    (interleaved, linear(36), (6,) * 6, QKV * 2),
    (rotated, linear(36), (12, 12, 12), QKV),
    (grouped, linear(24), (12, 6, 6), QKV),
    (gate_up, linear(24), (12, 12), ("gate", "up")),
    (up_gate, linear(24), (12, 12), ("up", "gate")),
    (lstm_of_both, linear(48, 24), (12,) * 4, None),
    (lstm, linear(48, r=lambda: nn.Linear(12, 48)), (12,) * 4, None),
    (mamba, linear(24, x=lambda: nn.Linear(12, 11), dt=lambda: nn.Linear(3, 12)), (12, 12), None),
]


def fused(trace, path):
    op, use = trace.uses[path][0]
    found = use.layout.fused
    return None if found is None else found.extents(trace.by_path[path].shape[0]), op.blocks or None


@pytest.mark.parametrize(
    ("forward", "build", "sizes", "names"), FUSED, ids=lambda value: getattr(value, "__name__", "")
)
def test_maps_in_one_weight(forward, build, sizes, names):
    trace = traced(Wrapped(forward, **build()), X)
    found, told = fused(trace, "w.weight")
    assert found == sizes
    assert names is None or told == names
    if forward is lstm:
        assert fused(trace, "r.weight")[0] == sizes
    if forward is mamba:
        assert fused(trace, "x.weight")[0] == (3, 4, 4)
        assert fused(trace, "dt.weight")[0] is None


def separate(turn):
    def forward(m, x):
        q, k, v = heads(m.w(x)), heads(m.k(x)), heads(m.v(x))
        return attention(turn(q), turn(k), v)

    return pytest.param(forward, linear(12, k=lambda: nn.Linear(12, 12), v=lambda: nn.Linear(12, 12)), id=turn.__name__)


def plain(name, forward, rows=12):
    return pytest.param(lambda m, x: forward(m.w(x)), linear(rows), id=name)


WHOLE = [
    separate(rotary),
    separate(partial_rotary),
    separate(interleaved_rotary),
    plain("first position", lambda y: y[:, 0]),
    plain("every other position", lambda y: y[:, ::2]),
    plain("positions unbound", lambda y: sum(y.unbind(1))),
    plain("batch split", lambda y: y[:1] + y[1:]),
    plain("patches merged", lambda y: torch.cat([y[:, 0:4:2], y[:, 1:4:2]], -1)),
    plain("pixels shuffled", lambda y: F.pixel_shuffle(y.transpose(1, 2)[..., None], 2)),
    plain("heads only", lambda y: heads(y).softmax(-1)),
    plain("half left out", lambda y: y[..., :6]),
    plain("cut, and whole too", lambda y: y.sum() + sum(part.sum() for part in y.chunk(2, -1))),
    plain("cut and put together", lambda y: torch.cat(y.chunk(2, -1)[::-1], -1)),
    plain("overlapping", lambda y: y[..., :8].sum() + y[..., 6:].sum()),
]


@pytest.mark.parametrize(("forward", "build"), WHOLE)
def test_one_map(forward, build):
    assert fused(traced(Wrapped(forward, **build()), X), "w.weight") == (None, None)


def test_a_convolution_is_cut_along_its_channels():
    model = Wrapped(lambda m, x: torch.mul(*m.w(x).chunk(2, 1)), w=nn.Conv2d(3, 8, 3))
    assert fused(traced(model, normal(2, 3, 5, 5)), "w.weight")[0] == (4, 4)


def test_glu_cuts_its_input():
    trace = traced(Wrapped(lambda m, x: F.glu(m.w(x)), w=nn.Linear(12, 24)), X)
    assert fused(trace, "w.weight") == ((12, 12), ("up", "gate"))


def test_features_are_followed_in_a_batch_of_any_size():
    model = Wrapped(chunked, w=nn.Linear(12, 36)).to("meta")
    trace = traced(model, torch.empty(1 << 10, 1 << 12, 12, device="meta"))
    assert fused(trace, "w.weight")[0] == (12, 12, 12)
