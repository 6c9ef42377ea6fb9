"""State spaces, long filters, perceptrons over places, sets, and transformers of other things than text."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import images, normal, photos, text, uniform
from zoo.torch.laws import drawn, small, zeroed
from zoo.torch.layers import Function, Net, decoder, merge_heads, mlp, sines, split_heads, stacked
from zoo.torch.losses import tokenwise
from zoo.torch.transformer.decoders import HEADS, WIDTH, attention, blocks, feed, pre


def averaged(blocks: list[nn.Module], width: int = 128) -> nn.Module:
    """Patches, blocks, the mean over them and a head."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.blocks(net.embed(x).flatten(2).transpose(1, 2))
        return net.head(net.norm(x).mean(1))

    parts = {"blocks": nn.Sequential(*blocks), "norm": nn.LayerNorm(width), "head": nn.Linear(width, 10)}
    return Net(run, embed=nn.Conv2d(3, width, 4, 4), **parts)


def mixer() -> nn.Module:
    """Perceptrons over places and over channels, Xavier uniform, and a zero head (Tolstikhin 2021)."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            x = x + net.places(net.ln1(x).transpose(1, 2)).transpose(1, 2)
            return x + net.channels(net.ln2(x))

        mixed = {"places": mlp(64, 128, 64, act=nn.GELU), "channels": mlp(128, 512, 128, act=nn.GELU)}
        return Net(run, ln1=nn.LayerNorm(128), ln2=nn.LayerNorm(128), **mixed)

    model = averaged([block() for _ in range(8)])
    drawn(model.blocks, init.xavier_uniform_)
    zeroed(model.head)
    return model


def gated_mlp() -> nn.Module:
    """gMLP: the gate over places starts near zero weight and at one."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            kept, gate = functional.gelu(net.up(net.norm(x))).chunk(2, -1)
            gate = net.places(net.gate_norm(gate).transpose(1, 2)).transpose(1, 2)
            return x + net.down(kept * gate)

        places = nn.Linear(64, 64)
        init.normal_(places.weight, std=1e-6)
        init.ones_(places.bias)
        parts = {"norm": nn.LayerNorm(128), "up": nn.Linear(128, 512), "gate_norm": nn.LayerNorm(256)}
        return Net(run, **parts, places=places, down=nn.Linear(256, 128))

    return averaged([block() for _ in range(8)])


def state_space(depth: int = 4, states: int = 16) -> nn.Module:
    """S4D: diagonal states with real part -1/2 and imaginary parts pi n, steps of 1e-3 to 1e-1, GLU at the end."""

    def kernel(net: Any, length: int) -> Tensor:
        a = -net.log_real.exp() + 1j * net.imaginary
        step = a * net.log_step.exp()[:, None]
        weight = torch.view_as_complex(net.c) * (step.exp() - 1) / a
        return 2 * torch.einsum("hn,hnl->hl", weight, (step[..., None] * torch.arange(length)).exp()).real

    def layer() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            x = x.transpose(1, 2)
            length = x.shape[2]
            seen = torch.fft.irfft(torch.fft.rfft(x, 2 * length) * torch.fft.rfft(kernel(net, length), 2 * length))
            y = functional.gelu(seen[..., :length] + x * net.skip[:, None])
            return functional.glu(net.out(y), 1).transpose(1, 2)

        span = math.log(1e-1) - math.log(1e-3)
        parts = {
            "log_step": torch.rand(WIDTH) * span + math.log(1e-3),
            "c": torch.randn(WIDTH, states, 2) / math.sqrt(2),
        }
        parts |= {"log_real": torch.full((WIDTH, states), math.log(0.5)), "skip": torch.randn(WIDTH)}
        parts |= {"imaginary": math.pi * torch.arange(states).float().repeat(WIDTH, 1)}
        return Net(run, **{k: nn.Parameter(v) for k, v in parts.items()}, out=nn.Conv1d(WIDTH, 2 * WIDTH, 1))

    return decoder(blocks(depth, lambda: pre(layer())), WIDTH)


def implicit_filters() -> nn.Module:
    """Hyena: gates around long convolutions whose filters a sine perceptron writes, with decay."""

    def mixer() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            length = x.shape[1]
            short = net.short(net.enter(x).transpose(1, 2))[..., :length]
            a, b, v = short.chunk(3, 1)
            time = torch.linspace(0, 1, length)[:, None]
            angles = 2 * math.pi * time * torch.arange(1, 9)
            filters = net.writer(torch.cat([time, angles.sin(), angles.cos()], 1)).T * (-3 * net.decay * time.T).exp()
            seen = torch.fft.irfft(torch.fft.rfft(v * a, 2 * length) * torch.fft.rfft(filters, 2 * length))
            return net.out((b * (seen[..., :length] + net.skip[:, None] * v * a)).transpose(1, 2))

        writer = mlp(17, 32, 32, WIDTH, act=lambda: Function(torch.sin))
        short = nn.Conv1d(3 * WIDTH, 3 * WIDTH, 3, padding=2, groups=3 * WIDTH)
        parts = {"enter": nn.Linear(WIDTH, 3 * WIDTH), "short": short, "writer": writer, "out": nn.Linear(WIDTH, WIDTH)}
        numbers = {"decay": torch.linspace(0.5, 2, WIDTH)[:, None], "skip": nn.Parameter(torch.randn(WIDTH))}
        return Net(run, **parts, **numbers)

    model = decoder(blocks(4, lambda: nn.Sequential(pre(mixer()), pre(feed()))), WIDTH)
    for layer in (model.tokens, model.head):
        small(layer.weight)
    return model


def low_rank() -> nn.Module:
    """Linformer over pictures: keys and values of 16 mixed places, Xavier maps of places; the mean answers."""

    def attend() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            q, k, v = net.qkv(x).chunk(3, -1)
            k, v = (net.places @ one for one in (k, v))
            parts = [split_heads(one, HEADS) for one in (q, k, v)]
            return net.out(merge_heads(functional.scaled_dot_product_attention(*parts)))

        places = nn.Parameter(init.xavier_uniform_(torch.empty(16, 64)))
        return Net(run, qkv=nn.Linear(WIDTH, 3 * WIDTH), places=places, out=nn.Linear(WIDTH, WIDTH))

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.embed(x).flatten(2).transpose(1, 2) + net.places
        return net.head(net.norm(net.blocks(x)).mean(1))

    body = stacked(*(nn.Sequential(pre(attend()), pre(feed())) for _ in range(6)))
    parts = {"embed": nn.Conv2d(3, WIDTH, 4, 4), "places": nn.Parameter(0.02 * torch.randn(64, WIDTH))}
    return Net(run, **parts, blocks=body, norm=nn.LayerNorm(WIDTH), head=nn.Linear(WIDTH, 8))


def diffusing() -> nn.Module:
    """DiT: zero maps from time and class to scales, shifts and gates; Xavier uniform; a zero last map."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor, told: Tensor) -> Tensor:
            a, b, c, d, e, f = net.told(functional.silu(told))[:, None].chunk(6, -1)
            x = x + c * net.attend((1 + a) * functional.layer_norm(x, (WIDTH,)) + b)
            return x + f * net.feed((1 + d) * functional.layer_norm(x, (WIDTH,)) + e)

        attend = attention(functional.scaled_dot_product_attention)
        return Net(run, attend=attend, feed=feed(), told=nn.Linear(WIDTH, 6 * WIDTH))

    def run(net: Any, x: Tensor, time: Tensor, kind: Tensor) -> Tensor:
        angle = time[:, None] * 1000 ** -torch.linspace(0, 1, 48)
        told = net.time(torch.cat([angle.cos(), angle.sin()], 1)) + net.kinds(kind)
        x = net.embed(x).flatten(2).transpose(1, 2) + net.places
        for one in net.blocks:
            x = one(x, told)
        scale, shift = net.told(functional.silu(told))[:, None].chunk(2, -1)
        x = net.out((1 + scale) * functional.layer_norm(x, (WIDTH,)) + shift)
        return functional.fold(x.transpose(1, 2), 32, 4, stride=4)

    parts = {"embed": nn.Conv2d(3, WIDTH, 4, 4), "time": mlp(WIDTH, WIDTH, WIDTH, act=nn.SiLU)}
    parts |= {"kinds": nn.Embedding(8, WIDTH), "told": nn.Linear(WIDTH, 2 * WIDTH), "out": nn.Linear(WIDTH, 48)}
    model = drawn(Net(run, **parts, blocks=blocks(6, block), places=sines(64, WIDTH)), init.xavier_uniform_)
    for layer in (model.told, model.out, *(one.told for one in model.blocks)):
        zeroed(layer)
    for layer in (model.time[0], model.time[2], model.kinds):
        small(layer.weight)
    return model


def set_attention() -> nn.Module:
    """Set transformer: induced attention and pooling by learnt seeds, Xavier uniform, no norms (Lee 2019)."""

    def attend(fan_in: int) -> nn.Module:
        def run(net: Any, x: Tensor, y: Tensor) -> Tensor:
            q, k, v = net.query(x), net.key(y), net.value(y)
            parts = [split_heads(one, HEADS) for one in (q, k, v)]
            x = q + merge_heads(functional.scaled_dot_product_attention(*parts))
            return x + net.out(x).relu()

        maps = {"query": nn.Linear(64, 64), "key": nn.Linear(fan_in, 64), "value": nn.Linear(fan_in, 64)}
        return Net(run, **maps, out=nn.Linear(64, 64))

    def induced() -> nn.Module:
        points = nn.Parameter(init.xavier_uniform_(torch.empty(1, 8, 64)))
        parts = {"points": points, "read": attend(64), "write": attend(64)}
        return Net(lambda net, x: net.write(x, net.read(net.points.expand(len(x), -1, -1), x)), **parts)

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.blocks(net.enter(x))
        return net.head(net.pool(net.seed.expand(len(x), -1, -1), x)[:, 0])

    seed = nn.Parameter(init.xavier_uniform_(torch.empty(1, 1, 64)))
    ends = {"enter": nn.Linear(8, 64), "pool": attend(64), "head": nn.Linear(64, 1)}
    return Net(run, blocks=nn.Sequential(induced(), induced()), seed=seed, **ends)


def noised() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, kind = images(12, 32, 8)
    noise, share = normal(12, 3, 32, 32, seed=51), uniform(12, seed=52)
    mixed = (1 - share).sqrt()[:, None, None, None] * x + share.sqrt()[:, None, None, None] * noise
    return mixed, 1000 * share, kind, noise


def bags() -> tuple[Tensor, Tensor]:
    x = normal(32, 20, 8, seed=53)
    return x, x[..., 0].amax(1, keepdim=True) - 2


tuned = maker("torch", "transformer", "tuned")
MODELS = (
    tuned("mixer", mixer, images),
    tuned("gmlp", gated_mlp, images),
    tuned("fresh_s4d", state_space, text, tokenwise),
    tuned("fresh_hyena", implicit_filters, text, tokenwise),
    tuned("fresh_linformer", low_rank, photos()),
    tuned("fresh_dit", diffusing, noised, "mse_loss"),
    tuned("fresh_set_transformer", set_attention, bags, "mse_loss"),
)
