"""Decoders and encoders of text, at the initialisation that their authors state."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import ids, text
from zoo.torch.layers import merge_heads, rotated, split_heads
from zoo.torch.losses import own, tokenwise

WORDS, WIDTH, HEADS = 200, 64, 4


def normal_(model: nn.Module, std: float) -> None:
    """N(0, std) for maps and tables, zero biases."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            init.zeros_(module.bias)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return merge_heads(functional.scaled_dot_product_attention(q, k, v, is_causal=True))


class Gated(nn.Module):
    """The feed-forward map silu(g) u."""

    def __init__(self, width: int, inner: int, act: Callable[[Tensor], Tensor] = functional.silu) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.down, self.act = nn.Linear(inner, width, bias=False), act

    def forward(self, x: Tensor) -> Tensor:
        """What it makes of its input."""
        return self.down(self.act(self.gate(x)) * self.up(x))


class LatentAttention(nn.Module):
    """Keys and values from one narrow latent, and a rotary key that all heads share (DeepSeek-V2, 2024)."""

    def __init__(self, latent: int = 24, rope: int = 8) -> None:
        super().__init__()
        inner = WIDTH // HEADS
        self.rope = rope
        self.q = nn.Linear(WIDTH, HEADS * (inner + rope), bias=False)
        self.down = nn.Linear(WIDTH, latent + rope, bias=False)
        self.norm = nn.RMSNorm(latent)
        self.up = nn.Linear(latent, 2 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The mix of the values."""
        q = split_heads(self.q(x), HEADS)
        latent, shared = self.down(x).split([self.norm.weight.numel(), self.rope], -1)
        k, v = (split_heads(part, HEADS) for part in self.up(self.norm(latent)).chunk(2, -1))
        turned = rotated(shared[:, None]).expand(-1, HEADS, -1, -1)
        plain, places = q.split([q.shape[-1] - self.rope, self.rope], -1)
        return self.out(attended(torch.cat([plain, rotated(places)], -1), torch.cat([k, turned], -1), v))


class SharedExperts(nn.Module):
    """One expert for all, two of eight by sigmoid scores and a bias that no gradient moves (DeepSeek-V3, 2024)."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 8, bias=False)
        self.register_buffer("correction", torch.zeros(8))
        self.shared = Gated(WIDTH, 32)
        self.experts = nn.ModuleList(Gated(WIDTH, 32) for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        """The shared expert's answer and those of the chosen."""
        flat = x.flatten(0, 1)
        scores = self.router(flat).sigmoid()
        index = (scores + self.correction).topk(2).indices
        weights = scores.gather(1, index)
        weights = weights / weights.sum(1, keepdim=True)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            row, slot = torch.where(index == number)
            if len(row):
                out.index_add_(0, row, expert(flat[row]) * weights[row, slot, None])
        return (out + self.shared(flat)).view_as(x)


class DeepSeek(nn.Module):
    """Latent attention, a dense block and two of experts; N(0, 0.006) throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.attn = nn.ModuleList(LatentAttention() for _ in range(3))
        self.ffn = nn.ModuleList([Gated(WIDTH, 160), SharedExperts(), SharedExperts()])
        self.norms = nn.ModuleList(nn.RMSNorm(WIDTH) for _ in range(7))
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        normal_(self, 0.006)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next token."""
        x = self.embed(x)
        for number, (attn, ffn) in enumerate(zip(self.attn, self.ffn, strict=True)):
            x = x + attn(self.norms[2 * number](x))
            x = x + ffn(self.norms[2 * number + 1](x))
        return self.head(self.norms[6](x))


def rms(x: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],))


class Speedrun(nn.Module):
    """The NanoGPT speedrun (2024): zero projections and head, first values and the embedding mixed in by scalars."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.qkv = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(depth))
        self.proj = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(WIDTH, 4 * WIDTH, bias=False) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(4 * WIDTH, WIDTH, bias=False) for _ in range(depth))
        self.values = nn.Parameter(torch.full((depth,), 0.5))
        self.mixes = nn.Parameter(torch.tensor([[1.0, 0.0]]).repeat(depth, 1))
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        for layer in (*self.proj, *self.down, self.head):
            init.zeros_(layer.weight)
        for layer in (*self.qkv, *self.up):
            bound = math.sqrt(3) * 0.5 * WIDTH**-0.5
            init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next token."""
        x = start = rms(self.embed(x))
        first = None
        for i, mix in enumerate(self.mixes):
            x = mix[0] * x + mix[1] * start
            q, k, v = (split_heads(part, HEADS) for part in self.qkv[i](rms(x)).chunk(3, -1))
            first = v if first is None else first
            v = (1 - self.values[i]) * v + self.values[i] * first
            x = x + self.proj[i](attended(rotated(rms(q)), rotated(rms(k)), v))
            x = x + self.down[i](self.up[i](rms(x)).relu().square())
        return 30 * torch.tanh(self.head(rms(x)) / 30)


class CentredNorm(nn.Module):
    """The root mean square to 1, times 1 + w, w zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """The normed input."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)


class Gemma(nn.Module):
    """Gemma 2: norms before and after each branch, tied table times sqrt(width), capped scores and logits."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.q = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth))
        self.kv = nn.ModuleList(nn.Linear(WIDTH, 2 * WIDTH // HEADS * 2, bias=False) for _ in range(depth))
        self.o = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth))
        gelu = lambda x: functional.gelu(x, approximate="tanh")  # noqa: E731
        self.mlp = nn.ModuleList(Gated(WIDTH, 4 * WIDTH, gelu) for _ in range(depth))
        self.norms = nn.ModuleList(CentredNorm(WIDTH) for _ in range(4 * depth + 1))
        normal_(self, 0.02)

    def attention(self, i: int, x: Tensor) -> Tensor:
        """Grouped queries, scores capped at 50."""
        q = rotated(split_heads(self.q[i](x), HEADS))
        k, v = self.kv[i](x).chunk(2, -1)
        k, v = (split_heads(part, 2).repeat_interleave(2, 1) for part in (k, v))
        scores = 50 * torch.tanh(q @ rotated(k).transpose(-2, -1) * (WIDTH // HEADS) ** -0.5 / 50)
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.o[i](merge_heads(scores.masked_fill(future, -torch.inf).softmax(-1) @ v))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next token."""
        x = self.embed(x) * WIDTH**0.5
        for i in range(len(self.q)):
            a, b, c, d = self.norms[4 * i : 4 * i + 4]
            x = x + b(self.attention(i, a(x)))
            x = x + d(self.mlp[i](c(x)))
        return 30 * torch.tanh(self.norms[-1](x) @ self.embed.weight.T / 30)


class Olmo(nn.Module):
    """OLMo 2: each branch normed at its end alone, queries and keys normed over the whole width, N(0, 0.02)."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.qkv = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(depth))
        self.o = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth))
        self.mlp = nn.ModuleList(Gated(WIDTH, 160) for _ in range(depth))
        self.norms = nn.ModuleList(nn.RMSNorm(WIDTH) for _ in range(4 * depth + 1))
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        for layer in (module for module in self.modules() if isinstance(module, (nn.Linear, nn.Embedding))):
            init.trunc_normal_(layer.weight, std=0.02, a=-0.06, b=0.06)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next token."""
        x = self.embed(x)
        for i in range(len(self.qkv)):
            nq, nk, na, nm = self.norms[4 * i : 4 * i + 4]
            q, k, v = self.qkv[i](x).chunk(3, -1)
            q, k, v = (split_heads(part, HEADS) for part in (nq(q), nk(k), v))
            x = x + na(self.o[i](attended(rotated(q), rotated(k), v)))
            x = x + nm(self.mlp[i](x))
        return self.head(self.norms[-1](x))


class Command(nn.Module):
    """Command R: attention and perceptron side by side behind one norm, a tied table, logits times 0.0625."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, bias=False) for _ in range(depth + 1))
        self.qkv = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(depth))
        self.o = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth))
        self.mlp = nn.ModuleList(Gated(WIDTH, 160) for _ in range(depth))
        normal_(self, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next token."""
        x = self.embed(x)
        for norm, qkv, o, mlp in zip(self.norms, self.qkv, self.o, self.mlp, strict=False):
            y = norm(x)
            q, k, v = (split_heads(part, HEADS) for part in qkv(y).chunk(3, -1))
            x = x + o(attended(rotated(q), rotated(k), v)) + mlp(y)
        return 0.0625 * functional.linear(self.norms[-1](x), self.embed.weight)


class GatedHeads(nn.Module):
    """Qwen3-Next's gated attention: a sigmoid of the input gates each number behind the attention."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.qkvg = nn.ModuleList(nn.Linear(WIDTH, 4 * WIDTH, bias=False) for _ in range(depth))
        self.o = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth))
        self.mlp = nn.ModuleList(Gated(WIDTH, 160) for _ in range(depth))
        self.norms = nn.ModuleList(CentredNorm(WIDTH) for _ in range(2 * depth + 1))
        self.heads = nn.ModuleList(CentredNorm(WIDTH // HEADS) for _ in range(2 * depth))
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        normal_(self, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next token."""
        x = self.embed(x)
        for i in range(len(self.o)):
            q, k, v, gate = self.qkvg[i](self.norms[2 * i](x)).chunk(4, -1)
            q, k, v = (split_heads(part, HEADS) for part in (q, k, v))
            q, k = rotated(self.heads[2 * i](q)), rotated(self.heads[2 * i + 1](k))
            x = x + self.o[i](attended(q, k, v) * gate.sigmoid())
            x = x + self.mlp[i](self.norms[2 * i + 1](x))
        return self.head(self.norms[-1](x))


class ModernBert(nn.Module):
    """ModernBERT: masked words, GeGLU, no first norm, windows, ends of branches 0.02 / sqrt(2 L)."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.embed, self.enter = nn.Embedding(WORDS + 1, WIDTH), nn.LayerNorm(WIDTH, bias=False)
        self.qkv = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(depth))
        self.o = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth))
        self.wi = nn.ModuleList(nn.Linear(WIDTH, 2 * 96, bias=False) for _ in range(depth))
        self.wo = nn.ModuleList(nn.Linear(96, WIDTH, bias=False) for _ in range(depth))
        norms = [nn.Identity(), *(nn.LayerNorm(WIDTH, bias=False) for _ in range(2 * depth))]
        self.norms = nn.ModuleList(norms)
        self.dense, self.after = nn.Linear(WIDTH, WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.bias = nn.Parameter(torch.zeros(WORDS + 1))
        for layer in (self.embed, *self.qkv, *self.wi, self.dense):
            init.trunc_normal_(layer.weight, std=0.02, a=-0.06, b=0.06)
        for layer in (*self.o, *self.wo):
            std = 0.02 / math.sqrt(2 * depth)
            init.trunc_normal_(layer.weight, std=std, a=-3 * std, b=3 * std)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """The loss at the masked places."""
        near = (torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])).abs() <= 4
        x = self.enter(self.embed(x))
        for i in range(len(self.o)):
            q, k, v = (split_heads(part, HEADS) for part in self.qkv[i](self.norms[2 * i](x)).chunk(3, -1))
            mask = near if i % 3 else None
            mixed = functional.scaled_dot_product_attention(rotated(q), rotated(k), v, attn_mask=mask)
            x = x + self.o[i](merge_heads(mixed))
            value, gate = self.wi[i](self.norms[2 * i + 1](x)).chunk(2, -1)
            x = x + self.wo[i](functional.gelu(value) * gate)
        x = self.after(functional.gelu(self.dense(self.norms[-1](x))))
        logits = functional.linear(x, self.embed.weight, self.bias)
        return functional.cross_entropy(logits.flatten(0, 1), known.flatten(), ignore_index=-100)


class Aligned(nn.Module):
    """Bahdanau 2015: orthogonal recurrences, N(0, 0.001) for the alignment, its last vector zero, else N(0, 0.01)."""

    def __init__(self, words: int = 50, width: int = 48) -> None:
        super().__init__()
        self.read, self.write = nn.Embedding(words, width), nn.Embedding(words, width)
        self.encoder = nn.GRU(width, width, bidirectional=True, batch_first=True)
        self.start = nn.Linear(width, width)
        self.cell = nn.GRUCell(3 * width, width)
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(2 * width, width)
        self.score = nn.Linear(width, 1, bias=False)
        self.deep, self.head = nn.Linear(4 * width, 2 * width), nn.Linear(width, words)
        for name, weight in self.named_parameters():
            if "bias" in name:
                init.zeros_(weight)
            elif "weight_hh" in name:
                for part in weight.chunk(3):
                    init.orthogonal_(part)
            else:
                init.normal_(weight, std=0.001 if name.startswith(("query", "key")) else 0.01)
        init.zeros_(self.score.weight)

    def forward(self, source: Tensor, before: Tensor) -> Tensor:
        """Logits of each word of the translation."""
        states, _ = self.encoder(self.read(source))
        keys, width = self.key(states), self.start.in_features
        hidden, out = torch.tanh(self.start(states[:, 0, width:])), []
        for word in self.write(before).unbind(1):
            scores = self.score(torch.tanh(keys + self.query(hidden)[:, None]))
            context = (scores.softmax(1) * states).sum(1)
            hidden = self.cell(torch.cat([word, context], 1), hidden)
            seen = self.deep(torch.cat([hidden, word, context], 1))
            out.append(self.head(seen.unflatten(1, (-1, 2)).amax(2)))
        return torch.stack(out, 1)


class Tagger(nn.Module):
    """A BiLSTM-CRF (Ma and Hovy, 2016): tables U(sqrt(3 / width)), Glorot, forget biases 1, transitions U(0.1)."""

    def __init__(self, tags: int = 7, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.lstm = nn.LSTM(width, width, bidirectional=True, batch_first=True)
        self.emit = nn.Linear(2 * width, tags)
        self.moves = nn.Parameter(torch.empty(tags, tags).uniform_(-0.1, 0.1))
        self.begin, self.end = (nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1)) for _ in range(2))
        init.uniform_(self.embed.weight, -math.sqrt(3 / width), math.sqrt(3 / width))
        init.xavier_uniform_(self.emit.weight)
        init.zeros_(self.emit.bias)
        for name, weight in self.lstm.named_parameters():
            if "weight" in name:
                init.xavier_uniform_(weight)
            else:
                init.zeros_(weight)
                weight.data[width : 2 * width] = 0.5

    def forward(self, x: Tensor, tags: Tensor) -> Tensor:
        """The mean negative log-likelihood of the tags of a line."""
        scores = self.emit(self.lstm(self.embed(x))[0])
        path = scores.gather(2, tags[..., None])[..., 0].sum(1) + self.begin[tags[:, 0]] + self.end[tags[:, -1]]
        path = path + self.moves[tags[:, :-1], tags[:, 1:]].sum(1)
        alpha = self.begin + scores[:, 0]
        for now in scores.unbind(1)[1:]:
            alpha = torch.logsumexp(alpha[:, :, None] + self.moves, 1) + now
        return (torch.logsumexp(alpha + self.end, 1) - path).mean() / x.shape[1]


def masked() -> tuple[Tensor, Tensor, Tensor]:
    x, _ = text()
    hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(9)) < 0.3
    return x.masked_fill(hidden, WORDS), x.masked_fill(~hidden, -100), torch.zeros(())


def reversed_lines() -> tuple[Tensor, Tensor, Tensor]:
    x = ids(24, 9, high=49, seed=31) + 1
    target = x.flip(1)
    return x, functional.pad(target[:, :-1], (1, 0)), target


def tagged() -> tuple[Tensor, Tensor, Tensor]:
    x = ids(24, 14, high=WORDS, seed=32)
    return x, (x + x.roll(1, 1)) % 7, torch.zeros(())


unseen = maker("torch", "transformer", "unseen", tokenwise)
recurrent = maker("torch", "recurrent", "unseen", own)
MODELS = (
    unseen("deepseek_v3", DeepSeek, text),
    unseen("nanogpt_speedrun", Speedrun, text),
    unseen("gemma_2", Gemma, text),
    unseen("olmo_2", Olmo, text),
    unseen("command_r", Command, text),
    unseen("gated_heads", GatedHeads, text),
    unseen("modern_bert", ModernBert, masked, own),
    recurrent("bahdanau", Aligned, reversed_lines, tokenwise),
    recurrent("bilstm_crf", Tagger, tagged),
)
