"""Memories, implicit layers, generated and structured weights, splines: what is no plain stack of maps."""

import math
from itertools import pairwise

import torch
from torch.nn.utils import parametrize

from zoo.torch.batches import ids, normal
from zoo.torch.families.rows import CLASSES, WORDS, classifier, coordinates, given, other, series, vectors

nn, F = torch.nn, torch.nn.functional


class TuringMachine(nn.Module):
    """Graves et al. (2014): content and shift addressing, erase and add, a memory of learned start."""

    def __init__(self, slots=8, m=12, h=32):
        super().__init__()
        self.memory, self.slots, self.m = nn.Parameter(torch.randn(slots, m) * 0.05), slots, m
        self.read0, self.lstm = nn.Parameter(torch.randn(m) * 0.02), nn.LSTMCell(8 + m, h)
        self.fc_read, self.fc_write = nn.Linear(h, m + 6), nn.Linear(h, m + 6 + 2 * m)
        self.out = nn.Linear(h + m, CLASSES)

    def address(self, raw, w, memory):
        k, beta, g, s, gamma = torch.tanh(raw[:, : self.m]), *raw[:, self.m :].split([1, 1, 3, 1], 1)
        content = F.softmax(
            F.softplus(beta) * F.cosine_similarity(memory + 1e-16, k.unsqueeze(1) + 1e-16, dim=-1), dim=1
        )
        g, s = torch.sigmoid(g), F.softmax(s, dim=1)
        w = g * content + (1 - g) * w
        w = s[:, :1] * torch.roll(w, 1, 1) + s[:, 1:2] * w + s[:, 2:] * torch.roll(w, -1, 1)
        w = w ** (1 + F.softplus(gamma))
        return w / (w.sum(1, keepdim=True) + 1e-16)

    def forward(self, x):
        b = len(x)
        memory, read = self.memory.repeat(b, 1, 1), self.read0.repeat(b, 1)
        wr = ww = torch.zeros(b, self.slots)
        state = (torch.zeros(b, 32), torch.zeros(b, 32))
        for t in range(10):
            h, c = self.lstm(torch.cat([x[:, t], read], 1), state)
            state = (h, c)
            raw = self.fc_write(h)
            ww = self.address(raw[:, : self.m + 6], ww, memory)
            erase, add = torch.sigmoid(raw[:, self.m + 6 : -self.m]), torch.tanh(raw[:, -self.m :])
            memory = memory * (1 - ww[:, :, None] * erase[:, None]) + ww[:, :, None] * add[:, None]
            wr = self.address(self.fc_read(h), wr, memory)
            read = torch.bmm(wr.unsqueeze(1), memory).squeeze(1)
        return self.out(torch.cat([h, read], 1))


class Hopfield(nn.Module):
    """Ramsauer et al. (2021): stored patterns, a state that is retrieved twice with a sharp softmax, then pooled."""

    def __init__(self, d=32, patterns=24, beta=2.0):
        super().__init__()
        self.query, self.key, self.value = (
            nn.Linear(8, d),
            nn.Parameter(torch.randn(patterns, d)),
            nn.Parameter(torch.randn(patterns, d)),
        )
        self.beta, self.norm, self.out = beta / d**0.5, nn.LayerNorm(d), nn.Linear(d, CLASSES)

    def forward(self, x):
        state = self.norm(self.query(x))
        for _ in range(2):
            state = torch.softmax(self.beta * state @ self.key.T, -1) @ self.key
        return self.out((torch.softmax(self.beta * state @ self.key.T, -1) @ self.value).mean(1))


class SlotAttention(nn.Module):
    """Locatello et al. (2020): slots drawn about a learned mean compete for inputs, a GRU updates them three times."""

    def __init__(self, d=32, slots=4):
        super().__init__()
        self.slots, self.scale, self.enter = slots, d**-0.5, nn.Linear(8, d)
        self.mu, self.log_sigma = (nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 1, d))) for _ in range(2))
        self.norm_in, self.norm_slots, self.norm_mlp = (nn.LayerNorm(d) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.gru, self.mlp = nn.GRUCell(d, d), nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, d))
        self.out = nn.Linear(d, CLASSES)

    def forward(self, x):
        x = self.norm_in(self.enter(x))
        b, _, d = x.shape
        slots = self.mu + self.log_sigma.exp() * torch.randn(b, self.slots, d)
        k, v = self.k(x), self.v(x)
        for _ in range(3):
            before = slots
            attn = (torch.einsum("bid,bjd->bij", self.q(self.norm_slots(slots)), k) * self.scale).softmax(1) + 1e-8
            update = torch.einsum("bjd,bij->bid", v, attn / attn.sum(-1, keepdim=True))
            slots = self.gru(update.reshape(-1, d), before.reshape(-1, d)).view(b, -1, d)
            slots = slots + self.mlp(self.norm_mlp(slots))
        return self.out(slots.mean(1))


class KAN(nn.Module):
    """Liu et al. (2024): a cubic B-spline on every edge, a factor a spline, a SiLU base beside it."""

    def __init__(self, sizes=(32, 24, CLASSES), grid=5, order=3):
        super().__init__()
        self.order = order
        pairs = list(pairwise(sizes))
        self.base = nn.ParameterList([nn.Parameter(torch.empty(o, i)) for i, o in pairs])
        self.spline = nn.ParameterList([nn.Parameter(torch.randn(o, i, grid + order) * 0.1 / grid) for i, o in pairs])
        self.scaler = nn.ParameterList([nn.Parameter(torch.empty(o, i)) for i, o in pairs])
        for w in [*self.base, *self.scaler]:
            nn.init.kaiming_uniform_(w, a=math.sqrt(5))
        h = 2 / grid
        self.register_buffer("grid", torch.arange(-order, grid + order + 1) * h - 1)

    def bases(self, x):
        x, g = x.unsqueeze(-1), self.grid
        b = ((x >= g[:-1]) & (x < g[1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - g[: -(k + 1)]) / (g[k:-1] - g[: -(k + 1)]) * b[..., :-1]
            b = left + (g[k + 1 :] - x) / (g[k + 1 :] - g[1:-k]) * b[..., 1:]
        return b

    def forward(self, x):
        for base, spline, scaler in zip(self.base, self.spline, self.scaler, strict=True):
            y = F.linear(F.silu(x), base)
            x = y + F.linear(self.bases(x).flatten(1), (spline * scaler.unsqueeze(-1)).flatten(1))
        return x


class Equilibrium(nn.Module):
    """Bai et al. (2019): one residual block to its fixed point, by plain iteration."""

    def __init__(self, d=32, steps=20):
        super().__init__()
        self.inject, self.steps, self.fc = nn.Linear(32, d), steps, nn.Linear(d, CLASSES)
        self.w1, self.w2, self.n1, self.n2, self.n3 = (
            nn.Linear(d, 64),
            nn.Linear(64, d),
            nn.LayerNorm(64),
            nn.LayerNorm(d),
            nn.LayerNorm(d),
        )

    def forward(self, x):
        u = self.inject(x)
        z = torch.zeros_like(u)
        for _ in range(self.steps):
            z = self.n3(F.relu(z + self.n2(u + self.w2(self.n1(F.relu(self.w1(z)))))))
        return self.fc(z)


class HyperNetwork(nn.Module):
    """Ha et al. (2017), static: layer codes and a two-step generator write every hidden matrix."""

    def __init__(self, n=32, z=8, depth=3):
        super().__init__()
        self.n, self.code = n, nn.Parameter(torch.randn(depth, n, z) * 0.01)
        self.w1, self.b1 = nn.Parameter(torch.randn(z, 16) * 0.1), nn.Parameter(torch.zeros(16))
        self.w2, self.b2 = nn.Parameter(torch.randn(16, n) * 0.1), nn.Parameter(torch.zeros(n))
        self.bias, self.out = nn.Parameter(torch.zeros(depth, n)), nn.Linear(n, CLASSES)

    def forward(self, x):
        for code, bias in zip(self.code, self.bias, strict=True):
            weight = torch.tanh(code @ self.w1 + self.b1) @ self.w2 + self.b2
            x = torch.relu(F.linear(x, weight, bias))
        return self.out(x)


class Convex(nn.Module):
    """Amos et al. (2017), input convex: weights of the hidden path kept positive by softplus, inputs to every layer."""

    def __init__(self, n=32, h=48, depth=3):
        super().__init__()
        self.wx = nn.ModuleList([nn.Linear(n, h) for _ in range(depth)])
        self.wz = nn.ParameterList([nn.Parameter(torch.randn(h, h) * 0.1 - 4) for _ in range(depth - 1)])
        self.last, self.lin = nn.Parameter(torch.randn(CLASSES, h) * 0.1 - 4), nn.Linear(n, CLASSES)

    def forward(self, x):
        z = F.relu(self.wx[0](x))
        for wx, wz in zip(self.wx[1:], self.wz, strict=True):
            z = F.relu(F.linear(z, F.softplus(wz)) + wx(x))
        return F.linear(z, F.softplus(self.last)) + self.lin(x)


class Skew(nn.Module):
    """The skew-symmetric part of a matrix."""

    def forward(self, x):
        return x.triu(1) - x.triu(1).mT


class AntisymmetricNet(nn.Module):
    """Haber and Ruthotto (2017): steps x + h tanh((A - A^T) x + b), the matrix by a parametrization."""

    def __init__(self, n=32, depth=8, h=0.2):
        super().__init__()
        self.layers, self.h, self.fc = nn.ModuleList([nn.Linear(n, n) for _ in range(depth)]), h, nn.Linear(n, CLASSES)
        for layer in self.layers:
            parametrize.register_parametrization(layer, "weight", Skew())

    def forward(self, x):
        for layer in self.layers:
            x = torch.add(x, torch.tanh(layer(x)), alpha=self.h)
        return self.fc(x)


class Monarch(nn.Module):
    """Dao et al. (2022): two block-diagonal maps with a permutation between."""

    def __init__(self, n=36, depth=3):
        super().__init__()
        self.b, self.enter = int(n**0.5), nn.Linear(32, n)
        self.left, self.right = (
            nn.ParameterList([nn.Parameter(torch.randn(self.b, self.b, self.b) / self.b**0.5) for _ in range(depth)])
            for _ in range(2)
        )
        self.bias, self.fc = nn.Parameter(torch.zeros(depth, n)), nn.Linear(n, CLASSES)

    def forward(self, x):
        x = self.enter(x)
        for left, right, bias in zip(self.left, self.right, self.bias, strict=True):
            y = torch.bmm(x.view(-1, self.b, self.b).transpose(0, 1), right)
            y = y.permute(2, 1, 0)
            y = torch.bmm(y, left).permute(1, 2, 0).reshape(len(x), -1)
            x = F.gelu(y + bias)
        return self.fc(x)


class TensorTrain(nn.Module):
    """Novikov et al. (2015): a matrix of 64 x 64 as a train of three small cores."""

    def __init__(self, modes=(4, 4, 4), rank=4, depth=2):
        super().__init__()
        ranks = (1, rank, rank, 1)
        shape = lambda k: (ranks[k], modes[k], modes[k], ranks[k + 1])
        self.cores = nn.ModuleList(
            [nn.ParameterList([nn.Parameter(torch.randn(shape(k)) * 0.3) for k in range(3)]) for _ in range(depth)]
        )
        self.modes, self.enter, self.fc = modes, nn.Linear(32, 64), nn.Linear(64, CLASSES)

    def forward(self, x):
        x = torch.relu(self.enter(x))
        for a, b, c in self.cores:
            x = torch.einsum("nijk,aipq,qjrs,skta->nprt", x.view(-1, *self.modes), a, b, c).flatten(1)
            x = torch.relu(x)
        return self.fc(x)


class Complex(nn.Module):
    """Trabelsi et al. (2018): real and imaginary maps, CReLU; the modulus answers."""

    def __init__(self, sizes=(16, 24, 24)):
        super().__init__()
        pairs = list(pairwise(sizes))
        self.re, self.im = (nn.ModuleList([nn.Linear(i, o, bias=False) for i, o in pairs]) for _ in range(2))
        self.out = nn.Linear(sizes[-1], CLASSES)

    def forward(self, x):
        a, b = x.chunk(2, 1)
        for re, im in zip(self.re, self.im, strict=True):
            a, b = re(a) - im(b), re(b) + im(a)
            a, b = F.relu(a), F.relu(b)
        return self.out((a * a + b * b + 1e-6).sqrt())


class Wire(nn.Module):
    """Saragadam et al. (2023): complex Gabor wavelets of a coordinate, weights complex after the first layer."""

    def __init__(self, h=32, omega=10.0, scale=6.0):
        super().__init__()
        self.omega, self.scale = omega, scale
        self.first = nn.Linear(2, h)
        self.hidden, self.last = nn.Linear(h, h, dtype=torch.cfloat), nn.Linear(h, 3, dtype=torch.cfloat)

    def wave(self, z):
        return torch.exp(1j * self.omega * z - (self.scale * z).abs().square())

    def forward(self, x):
        return self.last(self.wave(self.hidden(self.wave(self.first(x))))).real


class FourierOperator(nn.Module):
    """Li et al. (2021) in two dimensions: a complex matrix for each kept frequency, a pointwise path beside it."""

    def __init__(self, c=16, modes=3, depth=3):
        super().__init__()
        self.m, self.lift = modes, nn.Linear(3, c)
        new = lambda: nn.ParameterList(
            [nn.Parameter(torch.rand(c, c, modes, modes, dtype=torch.cfloat) / c**2) for _ in range(depth)]
        )
        self.w1, self.w2, self.w = new(), new(), nn.ModuleList([nn.Conv2d(c, c, 1) for _ in range(depth)])
        self.fc1, self.fc2 = nn.Linear(c, 64), nn.Linear(64, 1)

    def forward(self, x):
        x = self.lift(x).permute(0, 3, 1, 2)
        for i, (w1, w2, w) in enumerate(zip(self.w1, self.w2, self.w, strict=True)):
            f = torch.fft.rfft2(x)
            out = torch.zeros_like(f)
            out[:, :, : self.m, : self.m] = torch.einsum("bixy,ioxy->boxy", f[:, :, : self.m, : self.m], w1)
            out[:, :, -self.m :, : self.m] = torch.einsum("bixy,ioxy->boxy", f[:, :, -self.m :, : self.m], w2)
            x = torch.fft.irfft2(out, s=x.shape[-2:]) + w(x)
            x = F.gelu(x) if i < len(self.w) - 1 else x
        return self.fc2(F.gelu(self.fc1(x.permute(0, 2, 3, 1))))


class NeuralProcess(nn.Module):
    """Kim et al. (2019): a deterministic path by cross-attention, a latent one by a mean, a decoder of both."""

    def __init__(self, d=32):
        super().__init__()
        mlp = lambda i, o: nn.Sequential(nn.Linear(i, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU(), nn.Linear(d, o))
        self.det, self.lat, self.post = mlp(2, d), mlp(2, d), nn.Linear(d, 2 * d)
        self.key, self.attention = mlp(1, d), nn.MultiheadAttention(d, 4, batch_first=True)
        self.dec = mlp(2 * d + 1, 2)

    def forward(self, x, y, target):
        pairs = torch.cat([x, y], -1)
        r = self.attention(self.key(target), self.key(x), self.det(pairs))[0]
        mu, log = self.post(F.relu(self.lat(pairs).mean(1))).chunk(2, -1)
        z = mu + (0.1 + 0.9 * torch.sigmoid(log)) * torch.randn_like(mu)
        out = self.dec(torch.cat([r, z[:, None].expand_as(r), target], -1))
        mean, sigma = out.chunk(2, -1)
        return mean, 0.1 + 0.9 * F.softplus(sigma)


class Spiking(nn.Module):
    """Leaky integrators with a surrogate gradient, membrane decay learned, ten steps of one input."""

    def __init__(self, h=64):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(32, h), nn.Linear(h, CLASSES)
        self.beta1, self.beta2 = nn.Parameter(torch.full((h,), 2.0)), nn.Parameter(torch.tensor(2.0))

    def spike(self, v):
        soft = torch.sigmoid(5 * (v - 1))
        return soft + ((v > 1).float() - soft).detach()

    def forward(self, x):
        drive, v1, v2, out = self.fc1(x), 0.0, 0.0, 0.0
        for _ in range(10):
            v1 = torch.sigmoid(self.beta1) * v1 + drive
            s = self.spike(v1)
            v1 = v1 - s.detach()
            v2 = torch.sigmoid(self.beta2) * v2 + self.fc2(s)
            out = out + v2
        return out / 10


class Ternary(nn.Module):
    """Ma et al. (2024), BitNet: weights rounded to -1, 0, 1 by their mean size, straight through, norms before."""

    def __init__(self, d=32, depth=3):
        super().__init__()
        self.enter, self.fc = nn.Linear(32, d), nn.Linear(d, CLASSES)
        self.w1 = nn.ParameterList([nn.Parameter(torch.randn(2 * d, d) * 0.02) for _ in range(depth)])
        self.w2 = nn.ParameterList([nn.Parameter(torch.randn(d, 2 * d) * 0.02) for _ in range(depth)])

    def bit(self, x, w):
        x = F.rms_norm(x, (x.size(-1),))
        scale = 127 / x.abs().max(dim=-1, keepdim=True).values.clamp_(min=1e-5)
        x = x + ((x * scale).round().clamp_(-128, 127) / scale - x).detach()
        size = w.abs().mean().clamp(min=1e-5)
        w = w + ((w / size).round().clamp(-1, 1) * size - w).detach()
        return F.linear(x, w)

    def forward(self, x):
        x = self.enter(x)
        for w1, w2 in zip(self.w1, self.w2, strict=True):
            x = x + self.bit(F.relu(self.bit(x, w1)) ** 2, w2)
        return self.fc(x)


class MetricLoss(nn.Module):
    """Deng et al. (2019), ArcFace: cosines to normed class vectors, scaled; the margin is the loss's."""

    def __init__(self, d=24, s=16.0):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(32, 64), nn.PReLU(64), nn.BatchNorm1d(64), nn.Linear(64, d), nn.BatchNorm1d(d)
        )
        self.weight, self.s = nn.Parameter(torch.empty(CLASSES, d)), s
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x):
        return self.s * F.linear(F.normalize(self.body(x)), F.normalize(self.weight))


class Sparse(nn.Module):
    """Gregor and LeCun (2010), LISTA: unrolled shrinkage with tied matrices and learned thresholds."""

    def __init__(self, n=32, m=64, steps=5):
        super().__init__()
        self.we, self.s, self.steps = nn.Linear(n, m, bias=False), nn.Linear(m, m, bias=False), steps
        self.theta, self.out = nn.Parameter(torch.full((steps, m), 0.1)), nn.Linear(m, n)

    def forward(self, x):
        b = self.we(x)
        z = torch.zeros_like(b)
        for t in range(self.steps):
            z = b + self.s(z)
            z = torch.sign(z) * F.relu(z.abs() - self.theta[t])
        return self.out(z)


class Lookup(nn.Module):
    """A table read as one-hot @ weight, a convolution, ELU, a bilinear end."""

    def __init__(self, d=32):
        super().__init__()
        self.table, self.pair = nn.Parameter(torch.randn(WORDS, d)), nn.Bilinear(d, d, CLASSES)
        self.conv = nn.Conv1d(d, d, 3, padding=1)

    def forward(self, idx):
        x = F.one_hot(idx, WORDS).to(self.table.dtype) @ self.table
        x = F.elu(self.conv(x.transpose(1, 2)))
        return self.pair(x.mean(-1), x.amax(-1))


MODELS = (
    classifier("turing_machine", "recurrent", TuringMachine, series),
    classifier("hopfield", "transformer", Hopfield, series),
    classifier("slot_attention", "graph", SlotAttention, series),
    classifier("kolmogorov_arnold", "mlp", KAN, given(normal(32, 32) * 0.4)),
    classifier("deep_equilibrium", "mlp", Equilibrium, vectors),
    classifier("hyper_network", "mlp", HyperNetwork, vectors),
    classifier("input_convex", "mlp", Convex, vectors),
    classifier("antisymmetric", "mlp", AntisymmetricNet, vectors),
    classifier("monarch", "mlp", Monarch, vectors),
    classifier("tensor_train", "mlp", TensorTrain, vectors),
    classifier("complex_maps", "mlp", Complex, vectors),
    other("wire", "fields", Wire, coordinates),
    other("fourier_operator_2d", "fields", FourierOperator, given(normal(4, 12, 12, 3))),
    other(
        "attentive_neural_process",
        "fields",
        NeuralProcess,
        given(normal(8, 10, 1), normal(8, 10, 1, seed=2), normal(8, 6, 1, seed=3)),
    ),
    classifier("spiking", "mlp", Spiking, vectors),
    classifier("ternary_weights", "mlp", Ternary, vectors),
    classifier("arc_face", "mlp", MetricLoss, vectors),
    other("learned_shrinkage", "mlp", Sparse, vectors),
    classifier("one_hot_bilinear", "tabular", Lookup, given(ids(8, 12, high=WORDS))),
)
