"""Decoders whose streams, depth or perceptrons differ: normalised, reversible, routed, hyper-connected."""

import math

import torch

from zoo.torch.families.rows import LENGTH, WORDS, classifier, language, vectors

nn, F = torch.nn, torch.nn.functional


def attend(q, k, v, heads):
    """Causal attention on (b, n, d)."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class NormalisedGPT(nn.Module):
    """Loshchilov et al. (2024), nGPT: everything on the sphere, steps along it by learned rates."""

    def __init__(self, d=32, depth=4, heads=4):
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(d)
        self.embed = nn.Parameter(torch.randn(WORDS, d) * self.scale)
        self.unembed = nn.Parameter(torch.randn(WORDS, d) * self.scale)
        self.wq, self.wk, self.wv, self.wo = (self.stack(depth, d, d) for _ in range(4))
        self.wu, self.wv2, self.wo2 = (
            self.stack(depth, 2 * d, d),
            self.stack(depth, 2 * d, d),
            self.stack(depth, d, 2 * d),
        )
        self.alpha_a = nn.ParameterList([nn.Parameter(torch.full((d,), self.scale)) for _ in range(depth)])
        self.alpha_m = nn.ParameterList([nn.Parameter(torch.full((d,), self.scale)) for _ in range(depth)])
        self.sqk = nn.ParameterList([nn.Parameter(torch.full((d,), self.scale)) for _ in range(depth)])
        self.sz = nn.Parameter(torch.full((WORDS,), self.scale))

    def stack(self, depth, rows, columns):
        return nn.ParameterList([nn.Parameter(torch.randn(rows, columns) * self.scale) for _ in range(depth)])

    def forward(self, idx):
        norm = lambda t: F.normalize(t, dim=-1)
        h = norm(self.embed)[idx]
        for i in range(len(self.wq)):
            sqk = self.sqk[i] / self.scale
            q, k, v = (F.linear(h, norm(w[i])) for w in (self.wq, self.wk, self.wv))
            q, k = (sqk * norm(t.unflatten(-1, (self.heads, -1))).flatten(-2) for t in (q, k))
            b, n, d = q.shape
            q, k, v = (t.view(b, n, self.heads, -1).transpose(1, 2) for t in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=(d / self.heads) ** 0.5)
            y = norm(F.linear(y.transpose(1, 2).reshape(b, n, d), norm(self.wo[i])))
            h = norm(h + self.alpha_a[i] * 0.05 / self.scale * (y - h))
            u, z = F.linear(h, norm(self.wu[i])), F.linear(h, norm(self.wv2[i])) * d**0.5
            y = norm(F.linear(u * F.silu(z), norm(self.wo2[i])))
            h = norm(h + self.alpha_m[i] * 0.05 / self.scale * (y - h))
        return F.linear(h, norm(self.unembed)) * (self.sz / self.scale)


class Reversible(nn.Module):
    """Kitaev et al. (2020), Reformer: two streams, shared queries and keys sorted into buckets by random rotations."""

    def __init__(self, d=32, depth=3, buckets=4):
        super().__init__()
        self.emb, self.pos = nn.Embedding(WORDS, d), nn.Parameter(torch.randn(LENGTH, d) * 0.02)
        self.f_norm, self.g_norm = (nn.ModuleList(nn.LayerNorm(d) for _ in range(depth)) for _ in range(2))
        self.qk, self.v, self.o = (nn.ModuleList(nn.Linear(d, d, bias=False) for _ in range(depth)) for _ in range(3))
        self.ff = nn.ModuleList(nn.Sequential(nn.Linear(d, 128), nn.GELU(), nn.Linear(128, d)) for _ in range(depth))
        self.register_buffer("rotations", torch.randn(d, buckets // 2))
        self.out = nn.Linear(2 * d, WORDS)

    def lsh(self, x, i):
        qk, v = self.qk[i](x), self.v[i](x)
        turned = qk @ self.rotations
        order = torch.cat([turned, -turned], -1).argmax(-1).argsort(stable=True, dim=-1)
        back = order.argsort(-1)
        take = lambda t, o: torch.gather(t, 1, o[..., None].expand_as(t))
        q, v = (take(t, order).unflatten(1, (-1, 4)) for t in (qk, v))
        score = q @ F.normalize(q, dim=-1).transpose(-1, -2) / q.shape[-1] ** 0.5
        y = (score.softmax(-1) @ v).flatten(1, 2)
        return self.o[i](take(y, back))

    def forward(self, idx):
        x = self.emb(idx) + self.pos
        a, b = x, x
        for i in range(len(self.ff)):
            a = a + self.lsh(self.f_norm[i](b), i)
            b = b + self.ff[i](self.g_norm[i](a))
        return self.out(torch.cat([a, b], -1))


class Primer(nn.Module):
    """So et al. (2021): depthwise convolutions after q, k and v; squared ReLU."""

    def __init__(self, d=32, depth=4, heads=4):
        super().__init__()
        self.heads, self.tok = heads, nn.Embedding(WORDS, d)
        self.layers = nn.ModuleList()
        for _ in range(depth):
            layer = nn.ModuleDict(
                {"n1": nn.LayerNorm(d), "n2": nn.LayerNorm(d), "qkv": nn.Linear(d, 3 * d, bias=False)}
            )
            layer["dconv"] = nn.Conv1d(3 * d, 3 * d, 3, padding=2, groups=3 * d, bias=False)
            layer.update({"o": nn.Linear(d, d), "w1": nn.Linear(d, 4 * d), "w2": nn.Linear(4 * d, d)})
            self.layers.append(layer)
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, WORDS, bias=False)

    def forward(self, idx):
        x = self.tok(idx)
        for m in self.layers:
            qkv = m["dconv"](m["qkv"](m["n1"](x)).transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
            x = x + m["o"](attend(*qkv.chunk(3, -1), self.heads))
            x = x + m["w2"](F.relu(m["w1"](m["n2"](x))).square())
        return self.head(self.norm(x))


class Depths(nn.Module):
    """Raposo et al. (2024), mixture of depths: a router lets half the tokens through each second block."""

    def __init__(self, d=32, depth=4):
        super().__init__()
        self.tok, self.pos = nn.Embedding(WORDS, d), nn.Embedding(LENGTH, d)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(d, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(depth)
        )
        self.routers = nn.ModuleList(nn.Linear(d, 1, bias=False) for _ in range(depth // 2))
        self.head = nn.Linear(d, WORDS)

    def forward(self, idx):
        x = self.tok(idx) + self.pos(torch.arange(idx.size(1)))
        for i, block in enumerate(self.blocks):
            if i % 2 == 0:
                x = block(x)
                continue
            weight = self.routers[i // 2](x).squeeze(-1)
            chosen, index = torch.topk(weight, x.size(1) // 2, dim=1)
            index, order = index.sort(1)
            chosen = chosen.gather(1, order)
            index = index.unsqueeze(-1).expand(-1, -1, x.size(-1))
            part = x.gather(1, index)
            x = x.scatter_add(1, index, (block(part) - part) * chosen.unsqueeze(-1))
        return self.head(F.layer_norm(x, (x.size(-1),)))


class HyperConnections(nn.Module):
    """Zhu et al. (2024): several copies of the stream, mixed by learned matrices around every layer."""

    def __init__(self, d=32, depth=4, rate=2):
        super().__init__()
        self.rate, self.tok = rate, nn.Embedding(WORDS, d)
        self.norms = nn.ModuleList(nn.RMSNorm(d) for _ in range(2 * depth))
        self.layers = nn.ModuleList()
        for _ in range(depth):
            self.layers.append(nn.MultiheadAttention(d, 4, batch_first=True))
            self.layers.append(nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d)))
        self.beta = nn.Parameter(torch.ones(2 * depth, rate))
        alpha = [torch.cat([F.one_hot(torch.tensor([i % rate]), rate).T, torch.eye(rate)], 1) for i in range(2 * depth)]
        self.alpha = nn.Parameter(torch.stack(alpha))
        self.last, self.head = nn.RMSNorm(d), nn.Linear(d, WORDS, bias=False)

    def forward(self, idx):
        h = self.tok(idx).unsqueeze(2).repeat(1, 1, self.rate, 1)
        hidden = torch.ones(idx.size(1), idx.size(1), dtype=torch.bool).triu(1)
        for i, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
            mix = torch.einsum("nm,btnd->btmd", self.alpha[i], h)
            x = norm(mix[:, :, 0])
            y = layer(x, x, x, attn_mask=hidden, need_weights=False)[0] if i % 2 == 0 else layer(x)
            h = torch.einsum("btd,n->btnd", y, self.beta[i]) + mix[:, :, 1:]
        return self.head(self.last(h.sum(2)))


class Parallel(nn.Module):
    """One fused map gives q, k, v, gate and up; one map of both results ends the block (as in ViT-22B)."""

    def __init__(self, d=32, depth=3, heads=4):
        super().__init__()
        self.d, self.heads = d, heads
        self.embed = nn.Embedding(WORDS, d)
        self.norm_scale = nn.ParameterDict({f"l{i}": nn.Parameter(torch.zeros(d)) for i in range(depth)})
        self.w_in = nn.ParameterDict({f"l{i}": nn.Parameter(torch.randn(d, 7 * d) * 0.02) for i in range(depth)})
        self.w_out = nn.ParameterDict({f"l{i}": nn.Parameter(torch.randn(3 * d, d) * 0.02) for i in range(depth)})

    def forward(self, idx):
        x = self.embed(idx) * self.d**0.5
        for name, w_in in self.w_in.items():
            y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + self.norm_scale[name])
            q, k, v, gate, up = (y @ w_in).split([self.d] * 3 + [2 * self.d] * 2, dim=-1)
            y = torch.cat([attend(q, k, v, self.heads), F.gelu(gate) * up], -1)
            x = x + y @ self.w_out[name]
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return x @ self.embed.weight.T


class SoftExperts(nn.Module):
    """Puigcerver et al. (2024), soft mixture of experts: slots are averages of tokens, experts one batched tensor."""

    def __init__(self, d=32, experts=4, slots=2, depth=3):
        super().__init__()
        self.inp = nn.Linear(d, 8 * d)
        self.phi = nn.ParameterList(nn.Parameter(torch.randn(d, experts, slots) * d**-0.5) for _ in range(depth))
        self.scale = nn.Parameter(torch.ones(depth))
        self.w1 = nn.ParameterList(nn.Parameter(torch.randn(experts, d, 2 * d) * 0.1) for _ in range(depth))
        self.b1 = nn.ParameterList(nn.Parameter(torch.zeros(experts, 1, 2 * d)) for _ in range(depth))
        self.w2 = nn.ParameterList(nn.Parameter(torch.randn(experts, 2 * d, d) * 0.1) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(depth))
        self.fc = nn.Linear(d, 10)

    def forward(self, x):
        x = self.inp(x).unflatten(-1, (8, -1))
        for i, norm in enumerate(self.norms):
            y = norm(x)
            logits = torch.einsum(
                "bnd,des->bnes", F.normalize(y, dim=-1), self.scale[i] * F.normalize(self.phi[i], dim=0)
            )
            d = torch.softmax(logits, dim=1)
            c = torch.softmax(logits.flatten(2), dim=-1).view_as(logits)
            z = torch.einsum("bnd,bnes->ebsd", y, d).flatten(1, 2)
            z = torch.baddbmm(self.b1[i], z, self.w1[i]).relu_()
            z = torch.bmm(z, self.w2[i]).unflatten(1, (x.shape[0], -1))
            x = x + torch.einsum("ebsd,bnes->bnd", z, c)
        return self.fc(x.mean(1))


class ExpertChoice(nn.Module):
    """Zhou et al. (2022): experts take their tokens, a list of experts, results put back with `index_add_`."""

    def __init__(self, d=32, experts=4, depth=2):
        super().__init__()
        self.tok = nn.Embedding(WORDS, d)
        self.gates = nn.ModuleList([nn.Linear(d, experts, bias=False) for _ in range(depth)])
        expert = lambda: nn.Sequential(nn.Linear(d, 64), nn.SiLU(), nn.Linear(64, d))
        self.experts = nn.ModuleList([nn.ModuleList([expert() for _ in range(experts)]) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(d) for _ in range(depth + 1)])
        self.head = nn.Linear(d, WORDS)

    def forward(self, idx):
        x = self.tok(idx).flatten(0, 1)
        for gate, experts, norm in zip(self.gates, self.experts, self.norms, strict=False):
            y = norm(x)
            weight, index = gate(y).softmax(-1).t().topk(len(x) // 2, dim=-1)
            out = torch.zeros_like(x)
            for e, expert in enumerate(experts):
                out.index_add_(0, index[e], weight[e, :, None] * expert(y[index[e]]))
            x = x + out
        return self.head(self.norms[-1](x)).view(*idx.shape, -1)


MODELS = (
    language("normalised_gpt", NormalisedGPT),
    language("reformer", Reversible),
    language("primer", Primer, blocks=None),
    language("mixture_of_depths", Depths),
    language("hyper_connections", HyperConnections),
    language("fused_parallel", Parallel),
    classifier("soft_experts", "transformer", SoftExperts, vectors),
    language("expert_choice", ExpertChoice),
)
