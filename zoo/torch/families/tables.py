"""Tables, recommendations and forecasts: crosses of features, histories of users, series cut and mixed."""

import math
from itertools import pairwise

import torch

from zoo.torch.batches import ids, normal, uniform
from zoo.torch.families.rows import CLASSES, WORDS, classifier, given, language, other, series, vectors

nn, F = torch.nn, torch.nn.functional
FIELDS, SIZE = 6, 20
FIELD_BATCH = given(ids(32, FIELDS, high=SIZE) + SIZE * torch.arange(FIELDS))


class CrossV2(nn.Module):
    """Wang et al. (2021), DCN-v2: a mixture of low-rank crosses with a gate, a deep part in parallel."""

    def __init__(self, d=32, rank=8, experts=2, depth=3):
        super().__init__()
        new = lambda *shape: nn.ParameterList(
            [nn.Parameter(nn.init.xavier_normal_(torch.empty(shape))) for _ in range(depth)]
        )
        self.u, self.v, self.c = new(experts, d, rank), new(experts, d, rank), new(experts, rank, rank)
        self.gating = nn.ModuleList([nn.Linear(d, 1, bias=False) for _ in range(experts)])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(d, 1)) for _ in range(depth)])
        self.deep = nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.final = nn.Linear(d + 64, CLASSES)

    def forward(self, x):
        x0 = x.unsqueeze(2)
        xl = x0
        for u, v, c, bias in zip(self.u, self.v, self.c, self.bias, strict=True):
            outs, gates = [], []
            for e, gating in enumerate(self.gating):
                gates.append(gating(xl.squeeze(2)))
                z = torch.tanh(torch.matmul(v[e].t(), xl))
                z = torch.tanh(torch.matmul(c[e], z))
                outs.append((x0 * (torch.matmul(u[e], z) + bias)).squeeze(2))
            mix = torch.matmul(torch.stack(outs, 2), torch.stack(gates, 1).softmax(1))
            xl = mix + xl
        return self.final(torch.cat([xl.squeeze(2), self.deep(x)], -1))


class Fields(nn.Module):
    """Embeddings of fields in one table, a body and a head."""

    def __init__(self, body, out, d=8):
        super().__init__()
        self.table, self.body, self.out = nn.Embedding(FIELDS * SIZE, d), body, nn.Linear(out, CLASSES)
        nn.init.xavier_uniform_(self.table.weight)

    def forward(self, x):
        return self.out(self.body(self.table(x)))


class Compressed(nn.Module):
    """Lian et al. (2018), xDeepFM: outer products of fields compressed by convolutions, half of each goes on."""

    def __init__(self, sizes=(16, 16)):
        super().__init__()
        before, self.convs = FIELDS, nn.ModuleList()
        for i, size in enumerate(sizes):
            self.convs.append(nn.Conv1d(FIELDS * before, size, 1))
            before = size // 2 if i < len(sizes) - 1 else size

    def forward(self, x):
        h, results = x, []
        for i, conv in enumerate(self.convs):
            z = torch.einsum("bhd,bmd->bhmd", h, x).flatten(1, 2)
            z = F.relu(conv(z))
            if i < len(self.convs) - 1:
                h, z = z.chunk(2, dim=1)
            results.append(z)
        return torch.cat(results, 1).sum(2)


class AutoInt(nn.Module):
    """Song et al. (2019): attention between fields with unscaled scores and projected residuals."""

    def __init__(self, d=8, a=8, heads=2, depth=2):
        super().__init__()
        self.heads, self.w = heads, nn.ParameterList()
        for i in range(depth):
            self.w.append(nn.Parameter(torch.randn(4, d if i == 0 else a, a) * 0.05))

    def forward(self, x):
        for w in self.w:
            q, k, v, res = (torch.tensordot(x, w[j], dims=([-1], [0])) for j in range(4))
            q, k, v = (torch.stack(torch.split(t, t.size(-1) // self.heads, dim=2)) for t in (q, k, v))
            a = torch.einsum("hbik,hbjk->hbij", q, k).softmax(-1)
            y = torch.cat(torch.split(torch.matmul(a, v), 1), dim=-1).squeeze(0)
            x = torch.relu(y + res)
        return x.flatten(1)


class Bilinear(nn.Module):
    """Huang et al. (2019), FiBiNET: fields gated by squeeze and excitation, then bilinear pairs."""

    def __init__(self, d=8):
        super().__init__()
        self.excite = nn.Sequential(
            nn.Linear(FIELDS, 3, bias=False), nn.ReLU(), nn.Linear(3, FIELDS, bias=False), nn.ReLU()
        )
        self.maps = nn.ModuleList([nn.Linear(d, d, bias=False) for _ in range(FIELDS - 1)])

    def forward(self, x):
        v = x * self.excite(x.mean(-1)).unsqueeze(-1)
        pairs = [(i, j) for i in range(FIELDS) for j in range(i + 1, FIELDS)]
        both = [self.maps[i](t[:, i]) * t[:, j] for t in (x, v) for i, j in pairs]
        return torch.cat(both, 1)


class Interest(nn.Module):
    """Zhou et al. (2018), DIN: a small network weighs each visited item for the candidate; Dice."""

    def __init__(self, d=8):
        super().__init__()
        self.item = nn.Embedding(WORDS, d)
        self.att = nn.Sequential(nn.Linear(4 * d, 16), nn.Sigmoid(), nn.Linear(16, 1))
        self.fc1, self.bn, self.alpha = (
            nn.Linear(3 * d, 32),
            nn.BatchNorm1d(32, affine=False),
            nn.Parameter(torch.zeros(32)),
        )
        self.fc2 = nn.Linear(32, CLASSES)

    def forward(self, history, target):
        h, t = self.item(history), self.item(target)
        q = t.unsqueeze(1).expand_as(h)
        w = self.att(torch.cat([q, h, q - h, q * h], -1)).transpose(1, 2)
        user = torch.bmm(w, h).squeeze(1) / h.size(1)
        z = self.fc1(torch.cat([user, t, user * t], -1))
        p = torch.sigmoid(self.bn(z))
        return self.fc2(p * z + (1 - p) * self.alpha * z)


class SASRec(nn.Module):
    """Kang and McAuley (2018): normed queries alone, keys and values as they are; the table answers."""

    def __init__(self, d=32, depth=2, length=16):
        super().__init__()
        self.item_emb, self.pos_emb = nn.Embedding(WORDS, d, padding_idx=0), nn.Embedding(length, d)
        self.ln_a, self.ln_f = (nn.ModuleList(nn.LayerNorm(d, eps=1e-8) for _ in range(depth)) for _ in range(2))
        self.attention = nn.ModuleList(nn.MultiheadAttention(d, 1) for _ in range(depth))
        self.conv1, self.conv2 = (nn.ModuleList(nn.Conv1d(d, d, 1) for _ in range(depth)) for _ in range(2))
        self.last = nn.LayerNorm(d, eps=1e-8)

    def forward(self, log):
        x = self.item_emb(log) * self.item_emb.embedding_dim**0.5 + self.pos_emb(torch.arange(log.shape[1]))
        hidden = ~torch.tril(torch.ones(log.shape[1], log.shape[1], dtype=torch.bool))
        for a, f, attention, c1, c2 in zip(self.ln_a, self.ln_f, self.attention, self.conv1, self.conv2, strict=True):
            x = x.transpose(0, 1)
            q = a(x)
            x = (q + attention(q, x, x, attn_mask=hidden)[0]).transpose(0, 1)
            x = f(x)
            x = x + c2(torch.relu(c1(x.transpose(-1, -2)))).transpose(-1, -2)
        return self.last(x) @ self.item_emb.weight.T


class BatchEnsemble(nn.Module):
    """Gorishniy et al. (2025), TabM: one perceptron, members apart by elementwise factors r, s and biases."""

    def __init__(self, k=4, widths=(32, 48, 48)):
        super().__init__()
        sizes = list(pairwise(widths))
        self.k = k
        self.weight = nn.ParameterList(
            [nn.Parameter(torch.empty(o, i).uniform_(-(i**-0.5), i**-0.5)) for i, o in sizes]
        )
        sign = lambda n: nn.Parameter(torch.randint(0, 2, (k, n)) * 2.0 - 1)
        self.r, self.s = (
            nn.ParameterList([sign(i) for i, _ in sizes]),
            nn.ParameterList([nn.Parameter(torch.ones(k, o)) for _, o in sizes]),
        )
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(k, o)) for _, o in sizes])
        self.head_w, self.head_b = (
            nn.Parameter(torch.empty(k, widths[-1], CLASSES).uniform_(-0.14, 0.14)),
            nn.Parameter(torch.zeros(k, CLASSES)),
        )

    def forward(self, x):
        x = x.unsqueeze(1).expand(-1, self.k, -1)
        for w, r, s, b in zip(self.weight, self.r, self.s, self.bias, strict=True):
            x = F.relu((x * r) @ w.T * s + b)
        return (x.transpose(0, 1) @ self.head_w).transpose(0, 1) + self.head_b


class Periodic(nn.Module):
    """Gorishniy et al. (2022): each number through sines of its own learned frequencies, its own map, a ReLU."""

    def __init__(self, n=32, k=8, d=8):
        super().__init__()
        self.freq, self.weight = nn.Parameter(torch.randn(n, k) * 0.5), nn.Parameter(torch.empty(n, 2 * k, d))
        self.bias = nn.Parameter(torch.zeros(n, d))
        nn.init.uniform_(self.weight, -((2 * k) ** -0.5), (2 * k) ** -0.5)
        self.mlp = nn.Sequential(nn.Linear(n * d, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, CLASSES))

    def forward(self, x):
        z = 2 * math.pi * self.freq * x[..., None]
        z = torch.cat([torch.cos(z), torch.sin(z)], -1)
        z = (z[..., None, :] @ self.weight).squeeze(-2) + self.bias
        return self.mlp(F.relu(z).flatten(1))


class Additive(nn.Module):
    """Agarwal et al. (2021), neural additive model: a network a feature, exponential units, outputs summed."""

    def __init__(self, n=32, h=16):
        super().__init__()
        self.w0, self.b0 = nn.Parameter(torch.empty(n, h)), nn.Parameter(torch.empty(n, h))
        nn.init.normal_(self.w0, 4.0, 0.5)
        nn.init.normal_(self.b0, 0.0, 0.5)
        self.w1, self.b1 = nn.Parameter(torch.empty(n, h, h)), nn.Parameter(torch.zeros(n, h))
        self.w2, self.bias = nn.Parameter(torch.empty(n, h, CLASSES)), nn.Parameter(torch.zeros(CLASSES))
        nn.init.xavier_uniform_(self.w1)
        nn.init.xavier_uniform_(self.w2)

    def forward(self, x):
        x = ((x.unsqueeze(-1) - self.b0) * torch.exp(self.w0)).clamp(0, 1)
        x = F.relu(torch.einsum("bnh,nhk->bnk", x, self.w1) + self.b1)
        return torch.einsum("bnk,nkc->bc", x, self.w2) + self.bias


class Inverted(nn.Module):
    """Liu et al. (2024), iTransformer: a variable's whole series is one token; its norm taken off and put back."""

    def __init__(self, length=24, ahead=6, d=32, depth=2):
        super().__init__()
        self.embed, self.project = nn.Linear(length, d), nn.Linear(d, ahead)
        self.layers = nn.ModuleList(
            [nn.TransformerEncoderLayer(d, 4, 64, 0.0, "gelu", batch_first=True) for _ in range(depth)]
        )

    def forward(self, x):
        mean = x.mean(1, keepdim=True).detach()
        std = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
        x = self.embed(((x - mean) / std).permute(0, 2, 1))
        for layer in self.layers:
            x = layer(x)
        return self.project(x).permute(0, 2, 1) * std + mean


class Decomposed(nn.Module):
    """Zeng et al. (2023), DLinear: a trend by moving averages and the rest, a map over time for each."""

    def __init__(self, length=24, ahead=6, kernel=5):
        super().__init__()
        self.kernel = kernel
        self.seasonal, self.trend = nn.Linear(length, ahead), nn.Linear(length, ahead)
        self.seasonal.weight = nn.Parameter(torch.ones(ahead, length) / length)
        self.trend.weight = nn.Parameter(torch.ones(ahead, length) / length)

    def forward(self, x):
        pad = (self.kernel - 1) // 2
        padded = torch.cat([x[:, :1].repeat(1, pad, 1), x, x[:, -1:].repeat(1, pad, 1)], 1)
        trend = F.avg_pool1d(padded.mT, self.kernel, 1)
        return (self.seasonal(x.mT - trend) + self.trend(trend)).mT


class TSMixer(nn.Module):
    """Chen et al. (2023): maps over time and over variables in turns, batch norms over both."""

    def __init__(self, length=24, n=8, depth=3):
        super().__init__()
        self.norm_t, self.norm_f = (nn.ModuleList(nn.BatchNorm1d(length * n) for _ in range(depth)) for _ in range(2))
        self.time = nn.ModuleList(nn.Linear(length, length) for _ in range(depth))
        self.up, self.down = (
            nn.ModuleList(nn.Linear(n, 32) for _ in range(depth)),
            nn.ModuleList(nn.Linear(32, n) for _ in range(depth)),
        )
        self.head = nn.Linear(length * n, CLASSES)

    def forward(self, x):
        for i in range(len(self.time)):
            y = self.norm_t[i](x.flatten(1)).view_as(x)
            x = x + F.relu(self.time[i](y.transpose(1, 2))).transpose(1, 2)
            y = self.norm_f[i](x.flatten(1)).view_as(x)
            x = x + self.down[i](F.relu(self.up[i](y)))
        return self.head(x.flatten(1))


class GRN(nn.Module):
    """The gated residual network of Lim et al. (2021)."""

    def __init__(self, i, d, context=0):
        super().__init__()
        self.fc1, self.fc2, self.glu = nn.Linear(i, d), nn.Linear(d, d), nn.Linear(d, 2 * d)
        self.skip = nn.Linear(i, d) if i != d else nn.Identity()
        self.context = nn.Linear(context, d, bias=False) if context else None
        self.norm = nn.LayerNorm(d)

    def forward(self, x, c=None):
        y = self.fc1(x) if c is None else self.fc1(x) + self.context(c)
        return self.norm(self.skip(x) + F.glu(self.glu(self.fc2(F.elu(y))), dim=-1))


class TFT(nn.Module):
    """Lim et al. (2021), temporal fusion: variables chosen by a softmax, an LSTM, heads that share their values."""

    def __init__(self, n=8, d=16, heads=2):
        super().__init__()
        self.heads = heads
        self.static = nn.Embedding(5, d)
        self.vars = nn.ModuleList([nn.Linear(1, d) for _ in range(n)])
        self.var_grn = nn.ModuleList([GRN(d, d) for _ in range(n)])
        self.choose = GRN(n * d, n, d)
        self.lstm, self.post, self.norm = nn.LSTM(d, d, batch_first=True), nn.Linear(d, 2 * d), nn.LayerNorm(d)
        self.enrich, self.last = GRN(d, d, d), GRN(d, d)
        self.q, self.k, self.v, self.o = (
            nn.Linear(d, d),
            nn.Linear(d, d),
            nn.Linear(d, d // heads),
            nn.Linear(d // heads, d),
        )
        self.out = nn.Linear(d, CLASSES)

    def forward(self, x, kind):
        c = self.static(kind).unsqueeze(1)
        seen = [layer(x[..., i : i + 1]) for i, layer in enumerate(self.vars)]
        w = self.choose(torch.cat(seen, -1), c).softmax(-1)
        seen = torch.stack([g(s) for g, s in zip(self.var_grn, seen, strict=True)], -1)
        x = (seen * w.unsqueeze(2)).sum(-1)
        y, _ = self.lstm(x, (c.transpose(0, 1), torch.zeros_like(c).transpose(0, 1)))
        x = self.enrich(self.norm(x + F.glu(self.post(y))), c)
        q, k = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k))
        a = (q @ k.mT / q.size(-1) ** 0.5).softmax(-1).mean(1)
        return self.out(self.last(x + self.o(a @ self.v(x)))[:, -1])


class TimesBlock(nn.Module):
    """Wu et al. (2023), TimesNet: series folded by their strongest periods and convolved in two dimensions."""

    def __init__(self, d=16, k=2):
        super().__init__()
        self.k = k
        self.up = nn.ModuleList([nn.Conv2d(d, 32, 2 * i + 1, padding=i) for i in range(3)])
        self.down = nn.ModuleList([nn.Conv2d(32, d, 2 * i + 1, padding=i) for i in range(3)])

    def forward(self, x):
        b, t, d = x.shape
        power = torch.fft.rfft(x, dim=1).abs()
        mean = power.mean(0).mean(-1)
        mean[0] = 0
        top = torch.topk(mean, self.k).indices
        res = []
        for f in top.tolist():
            period = t // f
            full = math.ceil(t / period) * period
            y = F.pad(x, (0, 0, 0, full - t)).reshape(b, full // period, period, d).permute(0, 3, 1, 2)
            y = F.gelu(torch.stack([c(y) for c in self.up], -1).mean(-1))
            y = torch.stack([c(y) for c in self.down], -1).mean(-1)
            res.append(y.permute(0, 2, 3, 1).reshape(b, -1, d)[:, :t])
        weight = power.mean(-1)[:, top].softmax(1)
        return (torch.stack(res, -1) * weight[:, None, None]).sum(-1) + x


class TimesNet(nn.Module):
    def __init__(self, d=16, depth=2):
        super().__init__()
        self.token = nn.Conv1d(8, d, 3, padding=1, padding_mode="circular", bias=False)
        self.blocks, self.norm = nn.ModuleList([TimesBlock(d) for _ in range(depth)]), nn.LayerNorm(d)
        self.projection = nn.Linear(24 * d, CLASSES)

    def forward(self, x):
        x = self.token(x.permute(0, 2, 1)).transpose(1, 2)
        for block in self.blocks:
            x = self.norm(block(x))
        return self.projection(F.gelu(x).reshape(len(x), -1))


class HierarchicalInterpolation(nn.Module):
    """Challu et al. (2023), N-HiTS: pooled inputs, coefficients interpolated, residuals handed on."""

    def __init__(self, length=24, ahead=6, pools=(4, 2, 1)):
        super().__init__()
        self.pools, self.ahead = pools, ahead
        self.mlps = nn.ModuleList()
        for p in pools:
            sizes = length // p, 64, 64
            body = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.ReLU())]
            self.mlps.append(nn.Sequential(*body, nn.Linear(64, length + max(ahead // p, 1))))

    def forward(self, x):
        x = x[..., 0]
        out = x[:, -1:].repeat(1, self.ahead)
        for p, mlp in zip(self.pools, self.mlps, strict=True):
            theta = mlp(F.max_pool1d(x.unsqueeze(1), p, p).squeeze(1))
            back, knots = theta[:, : x.size(1)], theta[:, x.size(1) :]
            x = x - back
            out = out + F.interpolate(knots.unsqueeze(1), self.ahead, mode="linear").squeeze(1)
        return out


class SCINet(nn.Module):
    """Liu et al. (2022): even and odd steps interact by exponents and sums, as in lifting, down a binary tree."""

    def __init__(self, n=8, levels=2):
        super().__init__()
        side = lambda: nn.Sequential(
            nn.ReplicationPad1d((3, 3)), nn.Conv1d(n, 2 * n, 5), nn.LeakyReLU(0.01), nn.Conv1d(2 * n, n, 3), nn.Tanh()
        )
        self.phi, self.psi, self.u, self.p = (side() for _ in range(4))
        self.deeper = nn.ModuleList([SCINet(n, levels - 1), SCINet(n, levels - 1)]) if levels > 1 else None

    def forward(self, x):
        even, odd = x[..., ::2], x[..., 1::2]
        d, c = odd.mul(torch.exp(self.phi(even))), even.mul(torch.exp(self.psi(odd)))
        even, odd = c + self.u(d), d - self.p(c)
        if self.deeper is not None:
            even, odd = self.deeper[0](even), self.deeper[1](odd)
        return torch.stack([even, odd], -1).flatten(-2)


class SCIClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.tree, self.fc = SCINet(), nn.Linear(8 * 24, CLASSES)

    def forward(self, x):
        x = x.transpose(1, 2)
        return self.fc((self.tree(x) + x).flatten(1))


MODELS = (
    classifier("dcn_v2", "tabular", CrossV2, vectors),
    classifier("x_deep_fm", "tabular", lambda: Fields(Compressed(), 24), FIELD_BATCH),
    classifier("auto_int", "tabular", lambda: Fields(AutoInt(), 8 * FIELDS), FIELD_BATCH),
    classifier("fi_bi_net", "tabular", lambda: Fields(Bilinear(), 30 * 8), FIELD_BATCH),
    classifier("deep_interest", "tabular", Interest, given(ids(16, 10, high=WORDS), ids(16, high=WORDS))),
    language("sas_rec", SASRec, "tabular"),
    classifier("tab_m", "tabular", BatchEnsemble, vectors),
    classifier("periodic_numbers", "tabular", Periodic, vectors),
    classifier("neural_additive", "tabular", Additive, given(uniform(32, 32) * 2 - 1)),
    other("i_transformer", "tabular", Inverted, series),
    other("d_linear", "tabular", Decomposed, series),
    classifier("ts_mixer", "tabular", TSMixer, series),
    classifier("temporal_fusion", "tabular", TFT, given(normal(8, 24, 8), ids(8, high=5))),
    classifier("times_net", "tabular", TimesNet, series),
    other("n_hits", "tabular", HierarchicalInterpolation, series),
    classifier("sci_net", "tabular", SCIClassifier, series),
)
