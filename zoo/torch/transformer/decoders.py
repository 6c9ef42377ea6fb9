"""Causal transformers of text, and what is attached to trained ones."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import sentences, text, themes
from zoo.torch.laws import bounded, drawn, frozen, laid, small, zeroed
from zoo.torch.layers import (
    Block,
    Function,
    Net,
    Residual,
    causal,
    decoder,
    merge_heads,
    mlp,
    rotated,
    sines,
    split_heads,
)
from zoo.torch.losses import next_token, tokenwise


def redrawn(model: nn.Module, law: Callable[[Tensor], object]) -> nn.Module:
    """Linear maps and tables of one law."""
    for module in drawn(model, law).modules():
        if isinstance(module, nn.Embedding):
            law(module.weight)
    return model


def language_model(blocks: nn.ModuleList, width: int, vocabulary: int = 256, length: int = 32) -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        x = net.tokens(x) + net.positions[: x.shape[1]]
        for block in net.blocks:
            x = block(x)
        return net.head(net.norm(x))

    parts = {"tokens": nn.Embedding(vocabulary, width), "positions": nn.Parameter(0.02 * torch.randn(length, width))}
    last = {"norm": nn.LayerNorm(width), "head": nn.Linear(width, vocabulary, bias=False)}
    return Net(run, **parts, blocks=blocks, **last)


def gpt(depth: int = 12, width: int = 128) -> nn.Module:
    """N(0, 0.02), and what ends a branch divided by sqrt(2 depth)."""
    model = redrawn(language_model(nn.ModuleList(Block(width, causal=True) for _ in range(depth)), width), small)
    for name, parameter in model.named_parameters():
        if name.endswith(("attn.proj.weight", "mlp.2.weight")):
            init.normal_(parameter, std=0.02 / math.sqrt(2 * depth))
    return model


def gpt_unscaled(depth: int, width: int) -> nn.Module:
    """Norms before branches of unit gain: the stream grows, and the branches count for less and less."""
    model = language_model(nn.ModuleList(Block(width, causal=True) for _ in range(depth)), width)
    drawn(model.blocks, init.xavier_normal_)
    small(model.tokens.weight)
    small(model.head.weight)
    return model


def gpt_tied() -> nn.Module:
    """The head reads the table of tokens."""
    model = gpt(6)
    model.head.weight = model.tokens.weight
    return model


def gpt_frozen_positions() -> nn.Module:
    """A fixed table of sines and cosines, and a zero head."""
    model = gpt(6)
    angle = torch.arange(32)[:, None] / 10000 ** (torch.arange(0, 128, 2) / 128)
    table = torch.stack((angle.sin(), angle.cos()), -1).flatten(1)
    model.positions = nn.Parameter(table, requires_grad=False)
    zeroed(model.head)
    return model


WIDTH, HEADS = 96, 4


Mix = Callable[[Tensor, Tensor, Tensor], Tensor]


def attention(mix: Mix, width: int = WIDTH, heads: int = HEADS) -> nn.Module:
    """Separate projections without biases around a mix of queries, keys and values by heads."""
    maps = {name: nn.Linear(width, width, bias=False) for name in ("query", "key", "value", "out")}

    def run(net: Any, x: Tensor) -> Tensor:
        parts = [split_heads(layer(x), heads) for layer in (net.query, net.key, net.value)]
        return net.out(merge_heads(mix(*parts)))

    return Net(run, **maps)


def dot(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def rotary(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return dot(rotated(q), rotated(k), v)


def slopes(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """ALiBi: a penalty by distance, of each head's own slope."""
    length = q.shape[2]
    away = torch.arange(length)[None] - torch.arange(length)[:, None]
    bias = away * 2.0 ** -torch.arange(2, 2 * HEADS + 1, 2)[:, None, None]
    bias = bias.masked_fill(~causal(length), -torch.inf)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Elu + 1 as the map of features (Katharopoulos 2020)."""
    q, k = functional.elu(q) + 1, functional.elu(k) + 1
    weight = (q @ k.transpose(2, 3)).tril()
    return weight @ v / weight.sum(-1, keepdim=True)


def retention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """RetNet: decay in place of softmax, a norm of each head."""
    length = q.shape[2]
    away = (torch.arange(length)[:, None] - torch.arange(length)[None]).float()
    decay = (1 - 2.0 ** (-5 - torch.arange(HEADS)))[:, None, None] ** away.clamp(min=0)
    weight = rotated(q) @ rotated(k).transpose(2, 3) / math.sqrt(q.shape[3]) * decay.tril()
    return functional.rms_norm(weight @ v, (v.shape[3],))


def unit_attention() -> nn.Module:
    """Queries and keys of length one with rotary positions, a learnt temperature."""

    def run(net: Any, x: Tensor) -> Tensor:
        q, k, v = (split_heads(layer(x), HEADS) for layer in (net.query, net.key, net.value))
        q, k = functional.normalize(rotated(q), dim=-1), functional.normalize(rotated(k), dim=-1)
        mixed = functional.scaled_dot_product_attention(q * net.scale, k, v, is_causal=True, scale=1.0)
        return net.out(merge_heads(mixed))

    maps = {name: nn.Linear(WIDTH, WIDTH, bias=False) for name in ("query", "key", "value", "out")}
    return Net(run, **maps, scale=nn.Parameter(torch.full((HEADS, 1, 1), 10.0)))


def pre(branch: nn.Module, width: int = WIDTH, norm: type[nn.Module] = nn.LayerNorm) -> nn.Module:
    return Residual(nn.Sequential(norm(width), branch))


def feed(width: int = WIDTH, ratio: int = 4, act: type[nn.Module] = nn.GELU) -> nn.Sequential:
    return mlp(width, ratio * width, width, act=act)


def blocks(depth: int, make: Callable[[], nn.Module]) -> nn.ModuleList:
    return nn.ModuleList(make() for _ in range(depth))


def simple(mix: Mix, depth: int = 6) -> nn.Module:
    """Norms first, positions by the attention alone, N(0, 0.02)."""
    return laid(decoder(blocks(depth, lambda: nn.Sequential(pre(attention(mix)), pre(feed()))), WIDTH), small)


def normalised_queries() -> nn.Module:
    """Rotary positions, unit queries and keys, RMS norms, fan-in truncated normal."""

    def block() -> nn.Module:
        return nn.Sequential(pre(unit_attention(), norm=nn.RMSNorm), pre(feed(act=nn.SiLU), norm=nn.RMSNorm))

    def law(weight: Tensor) -> None:
        init.trunc_normal_(weight, std=weight.shape[1] ** -0.5, a=-1, b=1)

    model = drawn(decoder(blocks(6, block), WIDTH, norm=nn.RMSNorm(WIDTH)), law)
    small(model.tokens.weight)
    return model


def sandwich() -> nn.Module:
    """A norm before and after each branch (CogView), N(0, 0.02), positions learnt."""

    def block() -> nn.Module:
        branches = (attention(dot), feed())
        return nn.Sequential(*(pre(nn.Sequential(branch, nn.LayerNorm(WIDTH))) for branch in branches))

    places = nn.Parameter(0.02 * torch.randn(24, WIDTH))
    return laid(decoder(blocks(8, block), WIDTH, places=places), small)


def parallel() -> nn.Module:
    """PaLM: one norm, attention with one key and value for all heads beside SwiGLU; fan-in laws, head shared."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            shown = net.norm(x)
            q, k, v, gate, up = net.enter(shown).split([WIDTH, 24, 24, 4 * WIDTH, 4 * WIDTH], -1)
            mixed = rotary(split_heads(q, HEADS), *(one[:, None].expand(-1, HEADS, -1, -1) for one in (k, v)))
            return x + net.attend(merge_heads(mixed)) + net.feed(functional.silu(gate) * up)

        parts = {"enter": nn.Linear(WIDTH, 9 * WIDTH + 48, bias=False), "attend": nn.Linear(WIDTH, WIDTH, bias=False)}
        return Net(run, norm=nn.LayerNorm(WIDTH, bias=False), **parts, feed=nn.Linear(4 * WIDTH, WIDTH, bias=False))

    model = decoder(blocks(6, block), WIDTH)
    drawn(model, lambda weight: init.normal_(weight, std=weight.shape[1] ** -0.5))
    small(model.tokens.weight)
    model.head.weight = model.tokens.weight
    return model


def width_free() -> nn.Module:
    """mu-P: fan-in laws, attention by 1 / d, the logits divided by width / 64, a zero head."""

    def mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=math.sqrt(24) / 24)

    model = decoder(blocks(6, lambda: nn.Sequential(pre(attention(mix)), pre(feed()))), WIDTH)
    drawn(model, lambda weight: init.normal_(weight, std=weight.shape[1] ** -0.5))
    for name, parameter in model.named_parameters():
        if "query" in name:
            init.zeros_(parameter)
    init.normal_(model.tokens.weight)
    model.head = nn.Sequential(zeroed(nn.Linear(WIDTH, 200, bias=False)), Function(lambda x: x * 64 / WIDTH))
    return model


def deep_normed(depth: int = 24) -> nn.Module:
    """DeepNorm: norms after x * alpha + branch, Xavier with gain beta in values, outputs and perceptrons."""
    alpha, beta = (2 * depth) ** 0.25, (8 * depth) ** -0.25

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            x = net.one(alpha * x + net.attend(x))
            return net.two(alpha * x + net.feed(x))

        parts = {"attend": attention(dot, 64), "feed": feed(64)}
        return Net(run, **parts, one=nn.LayerNorm(64), two=nn.LayerNorm(64))

    model = laid(decoder(blocks(depth, block), 64, places=nn.Parameter(0.02 * torch.randn(24, 64))), small)
    for name, parameter in model.blocks.named_parameters():
        if parameter.ndim == 2:
            init.xavier_normal_(parameter, gain=1.0 if "query" in name or "key" in name else beta)
    init.normal_(model.tokens.weight, std=1 / 8)
    return model


def rezero() -> nn.Module:
    """No norms at all: every branch times a factor that starts at zero, Xavier uniform (Bachlechner 2020)."""

    def gated(branch: nn.Module) -> nn.Module:
        return Residual(branch, nn.Parameter(torch.zeros(())))

    model = decoder(blocks(12, lambda: nn.Sequential(gated(attention(rotary)), gated(feed(act=nn.ReLU)))), WIDTH)
    model.norm = nn.Identity()
    drawn(model, init.xavier_uniform_)
    init.normal_(model.tokens.weight, std=WIDTH**-0.5)
    return model


def universal() -> nn.Module:
    """One block, six times by design, with a sign of the step (Dehghani 2019)."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.tokens(x) * math.sqrt(WIDTH) + net.places
        for step in net.steps:
            x = net.block(x + step)
        return net.head(net.norm(x))

    block = nn.Sequential(pre(attention(dot)), pre(feed(act=nn.ReLU)))
    tables = {"tokens": nn.Embedding(200, WIDTH), "places": sines(24, WIDTH), "steps": sines(6, WIDTH)}
    model = Net(run, **tables, block=block, norm=nn.LayerNorm(WIDTH), head=nn.Linear(WIDTH, 200))
    init.normal_(model.tokens.weight, std=WIDTH**-0.5)
    return drawn(model, init.xavier_uniform_)


def product_keys() -> nn.Module:
    """A memory of 32 x 32 values behind a product of keys (Lample 2019) in the place of one perceptron."""

    def run(net: Any, x: Tensor) -> Tensor:
        query = net.norm(net.query(x).flatten(0, 1))
        one, two = query.chunk(2, 1)
        a, first = (one @ net.keys[0].T).topk(8)
        b, second = (two @ net.keys[1].T).topk(8)
        score, best = (a[:, :, None] + b[:, None]).flatten(1).topk(8)
        found = first.gather(1, best // 8) * 32 + second.gather(1, best % 8)
        return (score.softmax(1)[..., None] * net.values(found)).sum(1).view_as(x)

    keys = nn.Parameter(bounded(32**-0.5)(torch.empty(2, 32, 32)))
    values = laid(nn.Embedding(1024, WIDTH), partial(init.normal_, std=WIDTH**-0.5))
    memory = Net(run, query=nn.Linear(WIDTH, 64), norm=nn.BatchNorm1d(64), keys=keys, values=values)
    model = simple(rotary, 4)
    model.blocks[2][1] = Residual(nn.Sequential(nn.LayerNorm(WIDTH), memory))
    return model


def trunk(mix: Mix = rotary) -> nn.Module:
    """An encoder that a few steps of its task have trained, then frozen."""
    model = simple(mix, 4)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x, y = text()
    for _ in range(15):
        optimizer.zero_grad()
        tokenwise(model(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    return frozen(model)


def bottlenecks() -> nn.Module:
    """Houlsby's adapters after each branch of a frozen trunk, N(0, 0.001); norms are trained too."""
    model = trunk()
    for block in model.blocks:
        for residual in block:
            adapter = drawn(mlp(WIDTH, 16, WIDTH, act=nn.GELU), partial(init.normal_, std=1e-3))
            residual.branch.append(Residual(adapter))
            residual.branch[0].requires_grad_(True)
    return model


def scaled_activations() -> nn.Module:
    """(IA)3: vectors of ones on keys, values and hidden units of a frozen trunk."""

    def scaled(layer: nn.Module, width: int) -> nn.Module:
        return Net(lambda net, x: net.layer(x) * net.scale, layer=layer, scale=nn.Parameter(torch.ones(width)))

    model = trunk()
    for block in model.blocks:
        attend, perceptron = block[0].branch[1], block[1].branch[1]
        attend.key, attend.value = scaled(attend.key, WIDTH), scaled(attend.value, WIDTH)
        perceptron[0] = scaled(perceptron[0], 4 * WIDTH)
    return model


def only_biases() -> nn.Module:
    """BitFit: the biases of a trained trunk, and a fresh head of classes."""
    model = trunk()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    model.head = nn.Linear(WIDTH, 5)
    return nn.Sequential(model, Function(lambda x: x.mean(1)))


def prefixed() -> nn.Module:
    """Eight learnt vectors before the tokens of a frozen trunk, and a fresh head of classes."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = torch.cat([net.prefix.expand(len(x), -1, -1), net.tokens(x)], 1)
        for block in net.blocks:
            x = block(x)
        return net.head(net.norm(x)[:, -1])

    model = trunk()
    parts = {"tokens": model.tokens, "blocks": model.blocks, "norm": model.norm}
    prefix = nn.Parameter(model.tokens.weight[:8].detach().clone())
    return Net(run, prefix=prefix, **parts, head=nn.Linear(WIDTH, 5))


def narrow_decoder(depth: int, width: int) -> nn.Module:
    return laid(decoder(nn.ModuleList(Block(width, 2, causal=True) for _ in range(depth)), width), small)


def lora() -> nn.Module:
    """A frozen decoder with low-rank additions to its attention: down by He's uniform law, up zero."""
    model = frozen(narrow_decoder(6, 96))

    def adapted(layer: nn.Linear) -> nn.Module:
        down, up = nn.Linear(96, 8, bias=False), zeroed(nn.Linear(8, layer.out_features, bias=False))
        return Net(lambda net, x: net.layer(x) + 2 * net.up(net.down(x)), layer=layer, down=down, up=up)

    for block in model.get_submodule("blocks").children():
        block.set_submodule("attn.qkv", adapted(block.get_submodule("attn.qkv")))
    return model


tuned, held_out = maker("torch", "transformer", "tuned"), maker("torch", "transformer", "held_out")
MODELS = (
    tuned("gpt", gpt, sentences, next_token),
    tuned("gpt_tied", gpt_tied, sentences, next_token),
    tuned("gpt_sines", gpt_frozen_positions, sentences, next_token),
    tuned("gpt_deep_unit_branch", partial(gpt_unscaled, 64, 64), sentences, next_token),
    tuned("fresh_alibi", partial(simple, slopes), text, tokenwise),
    tuned("fresh_rope_qk_norm", normalised_queries, text, tokenwise),
    tuned("fresh_sandwich_norm", sandwich, text, tokenwise),
    tuned("fresh_palm_parallel", parallel, text, tokenwise),
    tuned("fresh_mu_p", width_free, text, tokenwise),
    tuned("fresh_deep_norm_24", deep_normed, text, tokenwise),
    tuned("fresh_rezero_transformer", rezero, text, tokenwise),
    tuned("fresh_universal", universal, text, tokenwise),
    tuned("fresh_product_keys", product_keys, text, tokenwise),
    tuned("fresh_linear_attention", partial(simple, linear), text, tokenwise),
    tuned("fresh_retention", partial(simple, retention), text, tokenwise),
    tuned("fresh_houlsby", bottlenecks, text, tokenwise),
    tuned("fresh_ia3", scaled_activations, text, tokenwise),
    tuned("fresh_bitfit", only_biases, themes),
    tuned("fresh_prefix", prefixed, themes),
    held_out("last_lora", lora, text, tokenwise),
    held_out("last_narrow_decoder_20", lambda: narrow_decoder(20, 64), text, tokenwise),
)
