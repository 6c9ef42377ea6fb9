"""Language models whose attention is a variant: kernels, landmarks, windows, latents, relative positions."""

import math

import torch

from zoo.torch.families.rows import LENGTH, WORDS, language

nn, F = torch.nn, torch.nn.functional


class LM(nn.Module):
    """Tokens, positions, pre-norm blocks of a mixer and a perceptron, a head."""

    def __init__(self, mixer, dim=32, depth=3):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(WORDS, dim), nn.Embedding(LENGTH, dim)
        self.h = nn.ModuleList([Layer(mixer(dim), dim) for _ in range(depth)])
        self.ln_f, self.lm_head = nn.LayerNorm(dim), nn.Linear(dim, WORDS, bias=False)

    def forward(self, idx):
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class Layer(nn.Module):
    def __init__(self, mixer, dim):
        super().__init__()
        self.ln_1, self.ln_2, self.attn = nn.LayerNorm(dim), nn.LayerNorm(dim), mixer
        self.c_fc, self.c_proj = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.c_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


def mask(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


class Favor(nn.Module):
    """Choromanski et al. (2021), Performer: positive random features of the softmax kernel, causal by cumsum."""

    def __init__(self, dim, heads=4, features=16):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.to_out = nn.Linear(dim, dim)
        self.register_buffer("projection", torch.randn(features, dim // heads))

    def kernel(self, x):
        x = x * x.shape[-1] ** -0.25
        h = (x**2).sum(-1, keepdim=True) / 2
        p = torch.einsum("bhnd,md->bhnm", x, self.projection)
        return (torch.exp(p - h - p.amax((-1, -2), keepdim=True).detach()) + 1e-4) * self.projection.shape[0] ** -0.5

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = (f(x).view(b, n, self.heads, -1).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        q, k = self.kernel(q), self.kernel(k)
        context = torch.einsum("bhnm,bhne->bhnme", k, v).cumsum(2)
        norm = torch.einsum("bhnm,bhnm->bhn", q, k.cumsum(2)).reciprocal()
        out = torch.einsum("bhnm,bhnme,bhn->bhne", q, context, norm)
        return self.to_out(out.transpose(1, 2).reshape(b, n, d))


class CosFormer(nn.Module):
    """Qin et al. (2022): ReLU kernels, re-weighed by the cosine of the distance."""

    def __init__(self, dim, heads=2):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = F.relu(self.q_proj(x)), F.relu(self.k_proj(x)), self.v_proj(x)
        q, k, v = (t.view(b, n, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        index = math.pi / 2 * torch.arange(1, n + 1).view(1, 1, n, 1) / n
        q_ = torch.cat([q * torch.sin(index), q * torch.cos(index)], -1)
        k_ = torch.cat([k * torch.sin(index), k * torch.cos(index)], -1)
        kv = torch.einsum("nhld,nhlm->nhdm", k_, v)
        z = 1 / torch.clamp_min(torch.einsum("nhld,nhd->nhl", q_, k_.sum(2)), 1e-6)
        out = torch.einsum("nhld,nhdm,nhl->nhlm", q_, kv, z)
        return self.out_proj(out.transpose(1, 2).contiguous().view(b, n, d))


class Synthesizer(nn.Module):
    """Tay et al. (2021): scores from a perceptron of each token, and a free matrix of scores beside them."""

    def __init__(self, dim, length=LENGTH):
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, length))
        self.random = nn.Parameter(torch.empty(length, length).uniform_(-0.1, 0.1))
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        n = x.size(1)
        scores = self.dense(x)[..., :n] + self.random[:n, :n]
        return self.out(scores.masked_fill(~mask(n), -1e9).softmax(-1) @ self.value(x))


class AFT(nn.Module):
    """Zhai et al. (2021), attention-free transformer: weights exp(k + w) without a query in the softmax."""

    def __init__(self, dim):
        super().__init__()
        self.wq, self.wk, self.wv, self.project = (nn.Linear(dim, dim) for _ in range(4))
        self.u = nn.Parameter(torch.zeros(LENGTH, 8))
        self.v = nn.Parameter(torch.zeros(8, LENGTH))
        nn.init.xavier_uniform_(self.u)
        nn.init.xavier_uniform_(self.v)

    def forward(self, x):
        t = x.shape[1]
        q, k, v = torch.sigmoid(self.wq(x)), self.wk(x), self.wv(x)
        w = torch.exp((self.u @ self.v)[:t, :t]) * mask(t)
        num = torch.einsum("ts,bsd->btd", w, torch.exp(k) * v)
        den = torch.einsum("ts,bsd->btd", w, torch.exp(k))
        return self.project(q * num / den)


class TalkingHeads(nn.Module):
    """Shazeer et al. (2020): heads mixed before and after the softmax; weights as raw tensors, all by einsum."""

    def __init__(self, dim, heads=4):
        super().__init__()
        d = dim // heads
        self.wq = nn.Parameter(torch.randn(dim, heads, d) * dim**-0.5)
        self.wk = nn.Parameter(torch.randn(dim, heads, d) * dim**-0.5)
        self.wv = nn.Parameter(torch.randn(dim, heads, d) * dim**-0.5)
        self.wo = nn.Parameter(torch.randn(heads, d, dim) * dim**-0.5)
        self.pl = nn.Parameter(torch.eye(heads))
        self.pw = nn.Parameter(torch.eye(heads))

    def forward(self, x):
        q = torch.einsum("btm,mhd->bthd", x, self.wq)
        k = torch.einsum("bsm,mhd->bshd", x, self.wk)
        v = torch.einsum("bsm,mhd->bshd", x, self.wv)
        logits = torch.einsum("bthd,bshd->btsh", q, k) / q.shape[-1] ** 0.5
        logits = logits @ self.pl
        logits = logits.masked_fill(~mask(x.shape[1])[None, :, :, None], float("-inf"))
        weights = logits.softmax(dim=2) @ self.pw
        return torch.einsum("btsh,bshd,hdm->btm", weights, v, self.wo)


class Latent(nn.Module):
    """DeepSeek-V2 (2024), multi-head latent attention: keys and values from a narrow normed latent, decoupled RoPE."""

    def __init__(self, dim, heads=4, rank=16, rope=4):
        super().__init__()
        self.heads, self.rope, self.head = heads, rope, dim // heads
        self.q_a, self.q_norm = nn.Linear(dim, 24, bias=False), nn.RMSNorm(24)
        self.q_b = nn.Linear(24, heads * (self.head + rope), bias=False)
        self.kv_a, self.kv_norm = nn.Linear(dim, rank + rope, bias=False), nn.RMSNorm(rank)
        self.kv_b = nn.Linear(rank, heads * 2 * self.head, bias=False)
        self.o = nn.Linear(heads * self.head, dim, bias=False)

    def turned(self, x):
        t = torch.arange(x.shape[-2])[:, None] / 100 ** (torch.arange(self.rope // 2) / self.rope)
        a, b = x[..., ::2], x[..., 1::2]
        return torch.stack([a * t.cos() - b * t.sin(), a * t.sin() + b * t.cos()], -1).flatten(-2)

    def forward(self, x):
        b, n, _ = x.shape
        q = self.q_b(self.q_norm(self.q_a(x))).view(b, n, self.heads, -1).transpose(1, 2)
        q_nope, q_pe = q.split([self.head, self.rope], -1)
        latent, k_pe = self.kv_a(x).split([16, self.rope], -1)
        k_nope, v = self.kv_b(self.kv_norm(latent)).view(b, n, self.heads, -1).transpose(1, 2).chunk(2, -1)
        k_pe = self.turned(k_pe.unsqueeze(1)).expand(-1, self.heads, -1, -1)
        q, k = torch.cat([q_nope, self.turned(q_pe)], -1), torch.cat([k_nope, k_pe], -1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).flatten(2))


class Differential(nn.Module):
    """Ye et al. (2025): the difference of two softmaxes, its share from four vectors; a norm for every head."""

    def __init__(self, dim, heads=2, start=0.8):
        super().__init__()
        self.heads, self.start, d = heads, start, dim // heads // 2
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.lambda_q1, self.lambda_k1, self.lambda_q2, self.lambda_k2 = (
            nn.Parameter(torch.zeros(d).normal_(mean=0, std=0.1)) for _ in range(4)
        )
        self.subln = nn.RMSNorm(2 * d, elementwise_affine=True)

    def forward(self, x):
        b, n, _ = x.shape
        q = self.q_proj(x).view(b, n, 2 * self.heads, -1).transpose(1, 2)
        k = self.k_proj(x).view(b, n, 2 * self.heads, -1).transpose(1, 2)
        v = self.v_proj(x).view(b, n, self.heads, -1).transpose(1, 2)
        q = q * q.shape[-1] ** -0.5
        w = torch.matmul(q, k.transpose(-1, -2)).masked_fill(~mask(n), float("-inf"))
        w = F.softmax(w, dim=-1).view(b, self.heads, 2, n, n)
        one = torch.exp(torch.sum(self.lambda_q1 * self.lambda_k1, dim=-1))
        two = torch.exp(torch.sum(self.lambda_q2 * self.lambda_k2, dim=-1))
        w = w[:, :, 0] - (one - two + self.start) * w[:, :, 1]
        y = self.subln(w @ v) * (1 - self.start)
        return self.out_proj(y.transpose(1, 2).reshape(b, n, -1))


class RelativeXL(nn.Module):
    """Dai et al. (2019), Transformer-XL: content and position biases u and v, scores shifted by reshaping."""

    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads, self.d = heads, dim // heads
        self.qkv_net, self.r_net = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.o_net = nn.Linear(dim, dim, bias=False)
        self.u, self.v = nn.Parameter(torch.zeros(heads, self.d)), nn.Parameter(torch.zeros(heads, self.d))
        self.register_buffer("inv", 1 / (10000 ** (torch.arange(0.0, dim, 2.0) / dim)))

    def forward(self, x):
        b, n, dim = x.shape
        angles = torch.outer(torch.arange(n - 1, -1, -1.0), self.inv)
        r = self.r_net(torch.cat([angles.sin(), angles.cos()], -1)).view(n, self.heads, self.d)
        q, k, v = torch.chunk(self.qkv_net(x), 3, -1)
        q, k, v = (t.view(b, n, self.heads, self.d) for t in (q, k, v))
        ac = torch.einsum("bind,bjnd->bnij", q + self.u, k)
        bd = torch.einsum("bind,jnd->bnij", q + self.v, r)
        bd = F.pad(bd, (1, 0)).view(b, self.heads, n + 1, n)[:, :, 1:]
        score = (ac + bd).mul_(1 / self.d**0.5).masked_fill(~mask(n), -float("inf"))
        y = torch.einsum("bnij,bjnd->bind", score.softmax(-1), v)
        return self.o_net(y.reshape(b, n, dim))


class ShawRelative(nn.Module):
    """Shaw et al. (2018): learned vectors of clipped distances, added to keys and to values."""

    def __init__(self, dim, heads=4, most=4):
        super().__init__()
        self.heads, self.most = heads, most
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.key_table = nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * most + 1, dim // heads)))
        self.value_table = nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * most + 1, dim // heads)))

    def forward(self, x):
        b, n, d = x.shape
        away = (torch.arange(n)[None] - torch.arange(n)[:, None]).clamp(-self.most, self.most) + self.most
        rk, rv = self.key_table[away], self.value_table[away]
        q, k, v = (f(x).reshape(b, n, self.heads, -1).permute(0, 2, 1, 3) for f in (self.q, self.k, self.v))
        a = q @ k.mT + torch.einsum("bhid,ijd->bhij", q, rk)
        a = (a / (d // self.heads) ** 0.5).masked_fill(~mask(n), -1e9).softmax(-1)
        y = a @ v + torch.einsum("bhij,ijd->bhid", a, rv)
        return self.o(y.permute(0, 2, 1, 3).reshape(b, n, d))


class Window(nn.Module):
    """Beltagy et al. (2020), Longformer: a sliding window by `unfold`, no pairs further apart than it."""

    def __init__(self, dim, heads=2, window=5):
        super().__init__()
        self.heads, self.window = heads, window
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        b, n, d = x.shape
        q = self.query(x) / math.sqrt(d / self.heads)
        k, v = (F.pad(f(x), (0, 0, self.window - 1, 0)).unfold(1, self.window, 1) for f in (self.key, self.value))
        q = q.view(b, n, self.heads, 1, -1)
        k, v = (t.unflatten(2, (self.heads, -1)) for t in (k, v))
        w = (q @ k).softmax(-1)
        return self.output((w @ v.transpose(-1, -2)).reshape(b, n, d))


class Nystrom(nn.Module):
    """Xiong et al. (2021): landmarks by segment means, a pseudo-inverse by iteration, a convolution of the values."""

    def __init__(self, dim, heads=4, landmarks=4):
        super().__init__()
        self.heads, self.m = heads, landmarks
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.res_conv = nn.Conv2d(heads, heads, (3, 1), padding=(1, 0), groups=heads, bias=False)

    def pinv(self, x):
        z = x.mT / (x.abs().sum(-1).amax() * x.abs().sum(-2).amax())
        eye = torch.eye(x.shape[-1])
        for _ in range(4):
            xz = x @ z
            z = 0.25 * z @ (13 * eye - xz @ (15 * eye - xz @ (7 * eye - xz)))
        return z

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.to_qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        q = q * (d // self.heads) ** -0.5
        ql, kl = (t.unflatten(2, (self.m, n // self.m)).mean(3) for t in (q, k))
        a1, a2, a3 = ((s @ t.mT).softmax(-1) for s, t in ((q, kl), (ql, kl), (ql, k)))
        y = (a1 @ self.pinv(a2)) @ (a3 @ v) + self.res_conv(v)
        return self.to_out(y.transpose(1, 2).reshape(b, n, d))


MIXERS = {
    "performer": Favor,
    "cosformer": CosFormer,
    "synthesizer": Synthesizer,
    "attention_free": AFT,
    "talking_heads": TalkingHeads,
    "latent_attention": Latent,
    "differential_attention": Differential,
    "transformer_xl": RelativeXL,
    "shaw_positions": ShawRelative,
    "sliding_window": Window,
    "nystrom": Nystrom,
}
MODELS = tuple(language(name, lambda mixer=mixer: LM(mixer), blocks=r"h\.\d+") for name, mixer in MIXERS.items())
