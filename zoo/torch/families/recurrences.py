"""Recurrent cells beyond the usual: independent, continuous in time, orthogonal, hierarchical, with memories."""

import math

import torch
from torch.nn.utils import parametrizations

from zoo.torch.families.rows import CLASSES, classifier, series

nn, F = torch.nn, torch.nn.functional
IN, HID = 8, 32


class Over(nn.Module):
    """A cell over time, and a head on the last state."""

    def __init__(self, cell, width=HID):
        super().__init__()
        self.cell, self.fc = cell, nn.Linear(width, CLASSES)

    def forward(self, x):
        state = self.cell.start(x.size(0))
        for t in range(x.size(1)):
            out, state = self.cell(x[:, t], state)
        return self.fc(out)


class IndRNN(nn.Module):
    """Li et al. (2018): each unit sees only its own past; two layers, ReLU."""

    def __init__(self):
        super().__init__()
        self.w = nn.ParameterList([nn.Parameter(torch.randn(HID, n) * 0.1) for n in (IN, HID)])
        self.u = nn.ParameterList([nn.Parameter(torch.empty(HID).uniform_(0, 1)) for _ in range(2)])
        self.b = nn.ParameterList([nn.Parameter(torch.zeros(HID)) for _ in range(2)])

    def start(self, n):
        return [torch.zeros(n, HID) for _ in self.w]

    def forward(self, x, hs):
        new = []
        for w, u, b, h in zip(self.w, self.u, self.b, hs, strict=True):
            x = torch.relu(F.linear(x, w, b) + u * h)
            new.append(x)
        return x, new


class SRU(nn.Module):
    """Lei et al. (2018), simple recurrent unit: one fused map ahead of time, then elementwise steps, a highway."""

    def __init__(self, depth=3):
        super().__init__()
        self.inp = nn.Linear(IN, HID)
        self.weight = nn.ParameterList(
            [nn.Parameter(torch.randn(HID, 3 * HID) * (1 / HID) ** 0.5) for _ in range(depth)]
        )
        self.weight_c = nn.ParameterList([nn.Parameter(torch.rand(2 * HID) - 0.5) for _ in range(depth)])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(2 * HID)) for _ in range(depth)])
        self.out = nn.Linear(HID, CLASSES)

    def forward(self, x):
        x = self.inp(x)
        for weight, weight_c, bias in zip(self.weight, self.weight_c, self.bias, strict=True):
            u = (x @ weight).view(*x.shape[:2], 3, HID)
            vf, vr = weight_c.chunk(2)
            bf, br = bias.chunk(2)
            c, hs = torch.zeros_like(x[:, 0]), []
            for t in range(x.size(1)):
                f = torch.sigmoid(u[:, t, 1] + vf * c + bf)
                r = torch.sigmoid(u[:, t, 2] + vr * c + br)
                c = f * c + (1 - f) * u[:, t, 0]
                hs.append(r * c + (1 - r) * x[:, t] * math.sqrt(3))
            x = torch.stack(hs, 1)
        return self.out(x[:, -1])


class LMUCell(nn.Module):
    """Voelker et al. (2019), Legendre memory unit: a fixed state space of polynomials beside a hidden state."""

    def __init__(self, order=8, theta=24):
        super().__init__()
        self.e_x = nn.Parameter(torch.randn(1, IN) / IN**0.5)
        self.e_h, self.e_m = nn.Parameter(torch.randn(1, HID) / HID**0.5), nn.Parameter(torch.zeros(1, order))
        self.w_x, self.w_h, self.w_m = (nn.Parameter(torch.empty(HID, n)) for n in (IN, HID, order))
        for w in (self.w_x, self.w_h, self.w_m):
            nn.init.xavier_normal_(w)
        q = torch.arange(order, dtype=torch.float64)
        r = (2 * q + 1)[:, None] / theta
        i, j = torch.meshgrid(q, q, indexing="ij")
        a = torch.where(i < j, -1.0, torch.pow(-1.0, i - j + 1)) * r
        step = torch.linalg.matrix_exp(a)
        b = torch.linalg.solve(a, (step - torch.eye(order, dtype=torch.float64)) @ (torch.pow(-1.0, q)[:, None] * r))
        self.register_buffer("A", step.float())
        self.register_buffer("B", b.float())

    def start(self, n):
        return torch.zeros(n, HID), torch.zeros(n, self.A.size(0))

    def forward(self, x, state):
        h, m = state
        u = F.linear(x, self.e_x) + F.linear(h, self.e_h) + F.linear(m, self.e_m)
        m = F.linear(m, self.A) + F.linear(u, self.B)
        h = torch.tanh(F.linear(x, self.w_x) + F.linear(h, self.w_h) + F.linear(m, self.w_m))
        return h, (h, m)


class LiquidCell(nn.Module):
    """Hasani et al. (2021), liquid time constants: a fused semi-implicit solver, six steps an input."""

    def __init__(self, steps=6):
        super().__init__()
        self.steps = steps
        self.inp, self.rec = nn.Linear(IN, HID), nn.Linear(HID, HID, bias=False)
        self.tau, self.a = nn.Parameter(torch.ones(HID)), nn.Parameter(torch.ones(HID))

    def start(self, n):
        return torch.zeros(n, HID)

    def forward(self, x, h):
        drive = self.inp(x)
        for _ in range(self.steps):
            f = torch.sigmoid(drive + self.rec(h))
            h = (h + f * self.a / self.steps) / (1 + (1 / F.softplus(self.tau) + f) / self.steps)
        return h, h


class ClosedFormCell(nn.Module):
    """Hasani et al. (2022), CfC: two heads interpolated by a sigmoid of time."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(IN + HID, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU())
        self.ff1, self.ff2, self.time_a, self.time_b = (nn.Linear(48, HID) for _ in range(4))

    def start(self, n):
        return torch.zeros(n, HID)

    def forward(self, x, h):
        z = self.backbone(torch.cat([x, h], 1))
        gate = torch.sigmoid(self.time_a(z) * 1.0 + self.time_b(z))
        h = torch.tanh(self.ff1(z)) * (1 - gate) + gate * torch.tanh(self.ff2(z))
        return h, h


class MinGRU(nn.Module):
    """Feng et al. (2024): gates of the input alone, so the states are a weighted cumulative sum (in logarithms)."""

    def __init__(self, depth=3):
        super().__init__()
        self.embed = nn.Linear(IN, HID)
        self.layers = nn.ModuleList([nn.Linear(HID, 2 * HID, bias=False) for _ in range(depth)])
        self.outs = nn.ModuleList([nn.Linear(HID, HID, bias=False) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.RMSNorm(HID) for _ in range(depth)])
        self.head = nn.Linear(HID, CLASSES)

    def forward(self, x):
        x = self.embed(x)
        for norm, layer, out in zip(self.norms, self.layers, self.outs, strict=True):
            hidden, gate = layer(norm(x)).chunk(2, dim=-1)
            keep, value = (
                -F.softplus(gate),
                -F.softplus(-gate) + torch.where(hidden >= 0, (F.relu(hidden) + 0.5).log(), -F.softplus(-hidden)),
            )
            total = keep.cumsum(1)
            h = (total + (value - total).logcumsumexp(1)).exp()
            x = x + out(h)
        return self.head(x.mean(1))


class RecurrentHighway(nn.Module):
    """Zilly et al. (2017): several highway steps between two inputs, carry coupled to the transform gate."""

    def __init__(self, depth=3):
        super().__init__()
        self.wh, self.wt = nn.Linear(IN, HID), nn.Linear(IN, HID)
        self.rh = nn.ModuleList([nn.Linear(HID, HID) for _ in range(depth)])
        self.rt = nn.ModuleList([nn.Linear(HID, HID) for _ in range(depth)])
        for layer in self.rt:
            nn.init.constant_(layer.bias, -2.0)

    def start(self, n):
        return torch.zeros(n, HID)

    def forward(self, x, s):
        for i, (rh, rt) in enumerate(zip(self.rh, self.rt, strict=True)):
            h, t = rh(s), rt(s)
            if i == 0:
                h, t = h + self.wh(x), t + self.wt(x)
            t = torch.sigmoid(t)
            s = torch.tanh(h) * t + s * (1 - t)
        return s, s


class Mogrifier(nn.Module):
    """Melis et al. (2020): input and state gate each other in turns before an LSTM cell."""

    def __init__(self, rounds=4, rank=8):
        super().__init__()
        self.lstm = nn.LSTMCell(IN, HID)
        self.q = nn.ModuleList(
            [nn.Sequential(nn.Linear(HID, rank, bias=False), nn.Linear(rank, IN)) for _ in range(rounds // 2)]
        )
        self.r = nn.ModuleList(
            [nn.Sequential(nn.Linear(IN, rank, bias=False), nn.Linear(rank, HID)) for _ in range(rounds // 2)]
        )

    def start(self, n):
        return torch.zeros(n, HID), torch.zeros(n, HID)

    def forward(self, x, state):
        h, c = state
        for q, r in zip(self.q, self.r, strict=True):
            x = 2 * torch.sigmoid(q(h)) * x
            h = 2 * torch.sigmoid(r(x)) * h
        h, c = self.lstm(x, (h, c))
        return h, (h, c)


class LayerNormLSTM(nn.Module):
    """Ba et al. (2016): norms on both projections and on the cell, gates from one buffer of four."""

    def __init__(self):
        super().__init__()
        self.weight_ih, self.weight_hh = nn.Parameter(torch.empty(4 * HID, IN)), nn.Parameter(torch.empty(4 * HID, HID))
        self.bias = nn.Parameter(torch.zeros(4 * HID))
        for weight in (self.weight_ih, self.weight_hh):
            nn.init.uniform_(weight, -(HID**-0.5), HID**-0.5)
        self.ln_ih, self.ln_hh, self.ln_c = nn.LayerNorm(4 * HID), nn.LayerNorm(4 * HID), nn.LayerNorm(HID)

    def start(self, n):
        return torch.zeros(n, HID), torch.zeros(n, HID)

    def forward(self, x, state):
        h, c = state
        gates = self.ln_ih(torch.mm(x, self.weight_ih.t())) + self.ln_hh(torch.mm(h, self.weight_hh.t())) + self.bias
        i, f, g, o = gates.chunk(4, 1)
        c = self.ln_c(torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g))
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


class OrderedNeurons(nn.Module):
    """Shen et al. (2019), ON-LSTM: master gates by cumulative softmax over chunks."""

    def __init__(self, chunk=4):
        super().__init__()
        self.chunk, self.n = chunk, HID // chunk
        self.ih = nn.Linear(IN, 4 * HID + 2 * self.n)
        self.hh = nn.Linear(HID, 4 * HID + 2 * self.n)

    def start(self, n):
        return torch.zeros(n, HID), torch.zeros(n, self.n, self.chunk)

    def forward(self, x, state):
        h, c = state
        gates = self.ih(x) + self.hh(h)
        master, gates = gates[:, : 2 * self.n], gates[:, 2 * self.n :].view(-1, 4 * self.n, self.chunk)
        cin, cforget = master.chunk(2, 1)
        cin = (1 - torch.cumsum(cin.softmax(-1), -1)).unsqueeze(-1)
        cforget = torch.cumsum(cforget.softmax(-1), -1).unsqueeze(-1)
        o, cell, i, f = gates.chunk(4, 1)
        overlap = cforget * cin
        f, i = f.sigmoid() * overlap + (cforget - overlap), i.sigmoid() * overlap + (cin - overlap)
        c = f * c + i * cell.tanh()
        h = (o.sigmoid() * c.tanh()).reshape(-1, HID)
        return h, (h, c)


class Clockwork(nn.Module):
    """Koutnik et al. (2014): groups of units tick at powers of two, slow ones are not driven by fast ones."""

    def __init__(self, groups=4):
        super().__init__()
        size = HID // groups
        self.register_buffer(
            "mask", torch.ones(groups, groups).triu().repeat_interleave(size, 0).repeat_interleave(size, 1)
        )
        self.register_buffer("period", (2 ** torch.arange(groups)).repeat_interleave(size))
        self.w_in, self.w_rec = nn.Linear(IN, HID), nn.Parameter(torch.randn(HID, HID) / HID**0.5)

    def start(self, n):
        return torch.zeros(n, HID), 0

    def forward(self, x, state):
        h, t = state
        new = torch.tanh(self.w_in(x) + h @ (self.w_rec * self.mask).t())
        h = torch.where(t % self.period == 0, new, h)
        return h, (h, t + 1)


class Orthogonal(nn.Module):
    """Lezcano-Casado and Martinez-Rubio (2019), expRNN: a recurrence kept orthogonal, modReLU."""

    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(IN, HID)
        self.rec = parametrizations.orthogonal(nn.Linear(HID, HID, bias=False), orthogonal_map="matrix_exp")
        self.b = nn.Parameter(torch.full((HID,), -0.01))

    def start(self, n):
        return torch.zeros(n, HID)

    def forward(self, x, h):
        z = self.inp(x) + self.rec(h)
        h = torch.sign(z) * torch.relu(z.abs() + self.b)
        return h, h


class CoupledOscillators(nn.Module):
    """Rusch and Mishra (2021), coRNN: a second-order equation discretised implicitly."""

    def __init__(self, dt=0.1, gamma=1.0, epsilon=1.0):
        super().__init__()
        self.dt, self.gamma, self.epsilon = dt, gamma, epsilon
        self.i2h = nn.Linear(IN + 2 * HID, HID)

    def start(self, n):
        return torch.zeros(n, HID), torch.zeros(n, HID)

    def forward(self, x, state):
        hy, hz = state
        force = torch.tanh(self.i2h(torch.cat((x, hz, hy), 1)))
        hz = hz + self.dt * (force - self.gamma * hy - self.epsilon * hz)
        hy = hy + self.dt * hz
        return hy, (hy, hz)


class TreeLSTM(nn.Module):
    """Tai et al. (2015): sums over two children, a balanced tree over the leaves."""

    def __init__(self):
        super().__init__()
        self.leaf = nn.Linear(IN, HID)
        self.iou, self.f = nn.Linear(HID, 3 * HID), nn.Linear(HID, HID)
        self.fc = nn.Linear(HID, CLASSES)

    def forward(self, x):
        h = torch.tanh(self.leaf(x[:, :16]))
        c = torch.zeros_like(h)
        while h.size(1) > 1:
            h, c = h.view(h.size(0), -1, 2, HID), c.view(h.size(0), -1, 2, HID)
            i, o, u = self.iou(h.sum(2)).chunk(3, -1)
            f = torch.sigmoid(self.f(h))
            c = torch.sigmoid(i) * torch.tanh(u) + (f * c).sum(2)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.fc(h.squeeze(1))


CELLS = {
    "ind_rnn": IndRNN,
    "legendre_memory": LMUCell,
    "liquid_time_constants": LiquidCell,
    "closed_form_continuous": ClosedFormCell,
    "recurrent_highway": RecurrentHighway,
    "mogrifier": Mogrifier,
    "layer_norm_lstm": LayerNormLSTM,
    "ordered_neurons": OrderedNeurons,
    "clockwork": Clockwork,
    "exp_rnn": Orthogonal,
    "co_rnn": CoupledOscillators,
}
WHOLE = {"sru": SRU, "min_gru": MinGRU, "tree_lstm": TreeLSTM}
MODELS = (
    *(classifier(name, "recurrent", lambda cell=cell: Over(cell()), series) for name, cell in CELLS.items()),
    *(classifier(name, "recurrent", build, series) for name, build in WHOLE.items()),
)
