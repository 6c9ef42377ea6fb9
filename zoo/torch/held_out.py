"""Healthy models that judge the finished check: neither its rules nor the two collections before had a part in them.

Each is initialised as its authors or its field do it.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
import transformers as tf
from torch import Tensor, nn
from torch.nn import functional, init

import zoo.torch.batches as fp
import zoo.torch.hf.vision as ft
import zoo.torch.layers as cp
from zoo.torch.batches import BINARY, decoder, laid, stacked
from zoo.torch.layers import (
    Block,
    Net,
    Residual,
    Subject,
    conv,
    conv_norm,
    drawn,
    filled,
    he_out,
    ids,
    images,
    lecun,
    mlp,
)

MODULES = nn.ModuleList
relu = functional.relu

# Dense


def plain(*widths: int, act: Callable[[], nn.Module], law: Callable[[Tensor], object]) -> nn.Module:
    """A perceptron by one law, its head by LeCun's."""
    model = drawn(mlp(*widths, act=act), law)
    filled(model[-1], lecun)
    return model


he_uniform = partial(init.kaiming_uniform_, nonlinearity="relu")
isometric = partial(init.orthogonal_, gain=1.05)
leaky_he = partial(init.kaiming_normal_, a=0.1, nonlinearity="leaky_relu")


def sparse_dictionary(width: int = 96, atoms: int = 512) -> nn.Module:
    """A sparse autoencoder: unit atoms in the decoder, their transpose in the encoder, the 8 strongest kept."""
    decode = nn.Parameter(functional.normalize(torch.randn(atoms, width), dim=1))
    encode = nn.Parameter(decode.detach().t().clone())

    def run(net: Any, x: Tensor) -> Tensor:
        strong, where = relu((x - net.shift) @ net.encode).topk(8)
        code = torch.zeros(len(x), atoms).scatter(1, where, strong)
        return code @ net.decode + net.shift

    return Net(run, decode=decode, encode=encode, shift=nn.Parameter(torch.zeros(width)))


# Pictures and volumes


def plain_convs(depth: int = 14, width: int = 48) -> nn.Module:
    """Convolutions with no norm, LeakyReLU of slope 0.1 and its He law."""
    body = [nn.Sequential(conv(3 if not k else width, width), nn.LeakyReLU(0.1)) for k in range(depth)]
    model = drawn(cp.pooled(nn.Sequential(*body), width=width, classes=8), leaky_he)
    filled(model[-1], lecun)
    return model


class Shortcut(nn.Module):
    """The stream at half the size with zeros for the new channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Every second pixel, padded channels."""
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, x.shape[1] // 2, x.shape[1] // 2))


def cifar_resnet(blocks: int = 3) -> nn.Module:
    """The small ResNet of 20 layers, shortcuts without parameters."""

    def block(before: int, after: int) -> nn.Module:
        branch = stacked(conv_norm(before, after, stride=after // before), conv_norm(after, after, act=nn.Identity))
        skip = Shortcut() if after > before else nn.Identity()
        return Net(lambda net, x: relu(net.skip(x) + net.branch(x)), branch=branch, skip=skip)

    pairs = [(16, 16)] * blocks + [(16, 32)] + [(32, 32)] * (blocks - 1) + [(32, 64)] + [(64, 64)] * (blocks - 1)
    return drawn(
        cp.pooled(conv_norm(3, 16), *(block(*pair) for pair in pairs), width=64, classes=8), he_out, (nn.Conv2d,)
    )


def xception() -> nn.Module:
    """Separable convolutions with batch norm in residual threes."""

    def separable() -> nn.Module:
        return stacked(nn.ReLU(), conv(64, 64, groups=64, bias=False), conv(64, 64, 1, bias=False), nn.BatchNorm2d(64))

    middle = [Residual(stacked(separable(), separable(), separable())) for _ in range(4)]
    return cp.pooled(conv_norm(3, 64, stride=2), *middle, separable(), nn.ReLU(), width=64, classes=8)


def conv_mixer(width: int = 96) -> nn.Module:
    """Patches, then depthwise and pointwise convolutions, GELU before batch norm."""

    def after(layer: nn.Module) -> nn.Module:
        return stacked(layer, nn.GELU(), nn.BatchNorm2d(width))

    blocks = [
        stacked(Residual(after(conv(width, width, 7, groups=width))), after(conv(width, width, 1))) for _ in "x" * 6
    ]
    return cp.pooled(after(nn.Conv2d(3, width, 4, 4)), *blocks, width=width, classes=8)


def nn_unet_3d() -> nn.Module:
    """A U-Net for volumes: instance norm, LeakyReLU, He's law for it, and an answer at the lower scale too."""

    def twice(before: int, after: int, stride: int = 1) -> nn.Module:
        def once(fan: int, step: int) -> list[nn.Module]:
            return [nn.Conv3d(fan, after, 3, step, 1), nn.InstanceNorm3d(after, affine=True), nn.LeakyReLU(0.01)]

        return stacked(once(before, stride), once(after, 1))

    def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        top = net.top(x)
        low = net.low(top)
        low = net.back(torch.cat([low, net.rise(net.deep(low))], 1))
        return net.answer(net.leave(torch.cat([top, net.up(low)], 1))), net.lower(low)

    parts = {"top": twice(1, 16), "low": twice(16, 32, 2), "deep": twice(32, 64, 2), "back": twice(64, 32)}
    parts |= {"rise": nn.ConvTranspose3d(64, 32, 2, 2), "up": nn.ConvTranspose3d(32, 16, 2, 2), "leave": twice(32, 16)}
    model = Net(run, **parts, answer=nn.Conv3d(16, 3, 1), lower=nn.Conv3d(32, 3, 1))
    for module in model.modules():
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            init.kaiming_normal_(module.weight, a=0.01)
            init.zeros_(module.bias)
    return model


def scans() -> tuple[Tensor, Tensor]:
    x = functional.interpolate(cp.normal(2, 1, 4, 4, 4, seed=301), size=16, mode="trilinear") / 0.6
    return x, (x[:, 0] + 1.5).long().clamp(0, 2)


def at_both_scales(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    low = target[:, ::2, ::2, ::2]
    return functional.cross_entropy(output[0], target) + 0.5 * functional.cross_entropy(output[1], low)


def pix2pix() -> nn.Module:
    """A U-Net that halves to the bottom, N(0, 0.02), pictures in [-1, 1] at both ends."""

    def down(before: int, after: int) -> nn.Module:
        return stacked(nn.LeakyReLU(0.2), nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after))

    def up(before: int, after: int) -> nn.Module:
        return stacked(nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after))

    def run(net: Any, x: Tensor) -> Tensor:
        a = net.enter(x)
        b = net.one(a)
        c = net.two(b)
        back = torch.cat([net.back(net.three(c)), c], 1)
        return net.leave(torch.cat([net.last(torch.cat([net.more(back), b], 1)), a], 1))

    parts = {"enter": nn.Conv2d(3, 32, 4, 2, 1), "one": down(32, 64), "two": down(64, 128), "three": down(128, 128)}
    parts |= {"back": up(128, 128), "more": up(256, 64), "last": up(128, 32)}
    leave = stacked(nn.ReLU(), nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh())
    return laid(Net(run, **parts, leave=leave), cp.small)


def painted() -> tuple[Tensor, Tensor]:
    x = fp.bright(6, 32) * 2 - 1
    return x, x.mean(1, keepdim=True).expand_as(x).flip(3)


def crnn() -> nn.Module:
    """Convolutions over a line of writing, two LSTMs that look both ways, and CTC."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.head(net.read(net.see(x).mean(2).transpose(1, 2))[0]).log_softmax(-1)

    see = stacked(conv_norm(1, 32), nn.MaxPool2d(2), conv_norm(32, 64), nn.MaxPool2d(2), conv_norm(64, 64))
    return Net(run, see=see, read=nn.LSTM(64, 96, 2, batch_first=True, bidirectional=True), head=nn.Linear(192, 11))


def ctc(output: Tensor, target: Tensor) -> Tensor:
    long = [torch.full((len(x),), x.shape[1]) for x in (output, target)]
    return functional.ctc_loss(output.transpose(0, 1), target, *long)


# Sequences, sets and graphs


def inception_time(width: int = 32) -> nn.Module:
    """Three kernels and a pool side by side, batch norm, residual every third."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            thin = net.thin(x)
            return relu(net.norm(torch.cat([*(one(thin) for one in net.sides), net.pool(x)], 1)))

        sides = MODULES(nn.Conv1d(32, width, k, padding=k // 2, bias=False) for k in (9, 19, 39))
        parts = {"thin": nn.Conv1d(4 * width, 32, 1, bias=False), "norm": nn.BatchNorm1d(4 * width), "sides": sides}
        return Net(run, **parts, pool=stacked(nn.MaxPool1d(3, 1, 1), nn.Conv1d(4 * width, width, 1, bias=False)))

    threes = [Residual(stacked(block(), block(), block())) for _ in range(2)]
    enter = stacked(nn.Conv1d(2, 4 * width, 1, bias=False), nn.BatchNorm1d(4 * width))
    return stacked(enter, *threes, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4 * width, 5))


def memory_network(width: int = 48, hops: int = 3) -> nn.Module:
    """Stories looked up in hops; each hop's answers are the next one's keys, N(0, 0.1)."""

    def run(net: Any, story: Tensor, question: Tensor) -> Tensor:
        state = net.tables[0](question).sum(1)
        for keys, values in zip(net.tables, net.tables[1:], strict=False):
            chance = (keys(story).sum(2) @ state[..., None]).softmax(1)
            state = state + (chance * values(story).sum(2)).sum(1)
        return state @ net.tables[-1].weight.t()

    tables = MODULES(nn.Embedding(60, width) for _ in range(hops + 1))
    return laid(Net(run, tables=tables), partial(init.normal_, std=0.1))


def causal(depth: int, width: int) -> nn.Module:
    return laid(decoder(MODULES(Block(width, 2, causal=True) for _ in range(depth)), width), cp.small)


def lora() -> nn.Module:
    """A frozen decoder with low-rank additions to its attention: down by He's uniform law, up zero."""
    model = cp.frozen(causal(6, 96))

    def adapted(layer: nn.Linear) -> nn.Module:
        down, up = nn.Linear(96, 8, bias=False), cp.zeroed(nn.Linear(8, layer.out_features, bias=False))
        return Net(lambda net, x: net.layer(x) + 2 * net.up(net.down(x)), layer=layer, down=down, up=up)

    for block in model.get_submodule("blocks").children():
        block.set_submodule("attn.qkv", adapted(block.get_submodule("attn.qkv")))
    return model


def gcn_ii(depth: int = 16, width: int = 64) -> nn.Module:
    """Deep graph convolutions that keep a tenth of the start and most of the identity."""

    def run(net: Any, x: Tensor, links: Tensor) -> Tensor:
        x = start = relu(net.enter(x))
        for k, layer in enumerate(net.layers):
            mixed, part = 0.9 * links @ x + 0.1 * start, math.log(1 + 0.5 / (k + 1))
            x = relu((1 - part) * mixed + part * layer(mixed))
        return net.leave(x)

    layers = MODULES(nn.Linear(width, width, bias=False) for _ in range(depth))
    return Net(run, enter=nn.Linear(32, width), layers=layers, leave=nn.Linear(width, 6))


def graph() -> tuple[Tensor, ...]:
    x, links = cp.normal(80, 32, seed=310), (cp.normal(80, 80, seed=311) > 1.7).float()
    links = ((links + links.t()) > 0).float().fill_diagonal_(1)
    degree = links.sum(1).rsqrt()
    return x, degree[:, None] * links * degree, cp.labels(x, 6)


# Densities and agents


def nice() -> nn.Module:
    """Additive couplings, halves in turn, and a log scale that begins at zero; the negative log-likelihood."""

    def run(net: Any, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        for shift in net.shifts:
            a, b = b + shift(a), a
        z = torch.cat([a, b], 1) * net.scale.exp()
        return (functional.softplus(z) + functional.softplus(-z)).sum(1).mean() / 32 - net.scale.mean()

    return Net(run, shifts=MODULES(mlp(16, 128, 128, 16) for _ in range(4)), scale=nn.Parameter(torch.zeros(32)))


def energy(width: int = 64) -> nn.Module:
    """The energies of pictures against those of noise, and a small price on both; torch's own weights."""

    def run(net: Any, x: Tensor, noise: Tensor) -> Tensor:
        real, false = net.body(x), net.body(noise)
        return real.mean() - false.mean() + 0.1 * (real.square() + false.square()).mean()

    convs = [stacked(nn.Conv2d(k, width, 4, 2, 1), nn.SiLU()) for k in (3, width, width)]
    return Net(run, body=stacked(*convs, nn.Flatten(), nn.Linear(width * 16, 1)))


def agent(*widths: int, gain: float) -> nn.Module:
    """Orthogonal, gain sqrt(2) in the body and its own at the end, biases zero."""
    model = drawn(mlp(*widths, act=nn.Tanh), partial(init.orthogonal_, gain=math.sqrt(2)))
    filled(model[-1], partial(init.orthogonal_, gain=gain))
    return model


def gaussian_policy() -> nn.Module:
    """PPO's actor and critic: the actor's end a hundredth, the spread learnt from one."""

    def run(net: Any, state: Tensor, act: Tensor, gain: Tensor, worth: Tensor) -> Tensor:
        chance = torch.distributions.Normal(net.actor(state), net.spread.exp()).log_prob(act).sum(1)
        return functional.mse_loss(net.critic(state)[:, 0], worth) - (chance * gain).mean()

    spread = nn.Parameter(torch.zeros(6))
    return Net(run, actor=agent(17, 64, 64, 6, gain=0.01), critic=agent(17, 64, 64, 1, gain=1.0), spread=spread)


def twin_critics() -> nn.Module:
    """TD3's two critics of a state and an action, both learning one value."""
    critics = MODULES(mlp(23, 256, 256, 1) for _ in "xx")
    return Net(lambda net, s, a: torch.cat([one(torch.cat([s, a], 1)) for one in net.critics], 1), critics=critics)


# Losses


def cox(output: Tensor, target: Tensor) -> Tensor:
    """The partial likelihood of who goes first."""
    risk = output[target[:, 0].argsort(descending=True), 0]
    return (risk.logcumsumexp(0) - risk).mean()


def ranked(output: Tensor, target: Tensor) -> Tensor:
    gap = output - output.t()
    return functional.softplus(-gap)[(target - target.t()) > 0].mean()


def prototypes(output: Tensor, target: Tensor) -> Tensor:
    """Distances to the means of the first half, by class, judge the second half."""
    known, asked = output.chunk(2)
    hot = functional.one_hot(target[: len(known)], 3).float()
    means = hot.t() @ known / hot.sum(0).clamp(min=1)[:, None]
    return functional.cross_entropy(-torch.cdist(asked, means).square() / output.shape[1], target[len(known) :])


def cells(output: Tensor, target: Tensor) -> Tensor:
    """Each cell's objectness, and its class."""
    sure = functional.binary_cross_entropy_with_logits(output[:, 0], (target > 0).float())
    return sure + functional.cross_entropy(output[:, 1:], target)


def gaussian(output: Tensor, target: Tensor) -> Tensor:
    return functional.gaussian_nll_loss(output[:, :1], target, functional.softplus(output[:, 1:]) + 1e-3)


# The collection


def lone(body: nn.Module, head: nn.Module) -> nn.Module:
    """A recurrent body, and its last state's answer."""
    return Net(lambda net, x: net.head(net.body(x)[0][:, -1]), body=body, head=head)


def bag() -> nn.Module:
    """Gated attention weighs the parts of a bag."""
    parts = {"see": mlp(32, 128, 64), "a": nn.Linear(64, 32), "b": nn.Linear(64, 32), "c": nn.Linear(32, 1)}

    def run(net: Any, x: Tensor) -> Tensor:
        x = relu(net.see(x))
        return net.head((net.c(net.a(x).tanh() * net.b(x).sigmoid()).softmax(1) * x).sum(1))

    return Net(run, **parts, head=nn.Linear(64, 4))


def sound() -> nn.Module:
    parts = [stacked(nn.Conv1d(a, b, 5, 2, 2), nn.BatchNorm1d(b), nn.ReLU()) for a, b in ((1, 32), (32, 64), (64, 128))]
    return stacked(*parts, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, 5))


def four_convs() -> nn.Module:
    convs = [stacked(conv_norm(a, 64), nn.MaxPool2d(2)) for a in (3, 64, 64, 64)]
    return stacked(*convs, nn.Flatten(), nn.Linear(256, 64))


def normed_residual(depth: int = 20) -> nn.Module:
    blocks = (Residual(stacked(nn.LayerNorm(96), mlp(96, 192, 96, act=nn.GELU))) for _ in range(depth))
    return stacked(nn.Linear(40, 96), *blocks, nn.LayerNorm(96), nn.Linear(96, 7))


def grid() -> nn.Module:
    return stacked(*(conv_norm(a, 64, stride=2) for a in (3, 64, 64)), conv(64, 6, 1))


def lines() -> tuple[Tensor, Tensor]:
    x = functional.interpolate(cp.normal(8, 1, 4, 16, seed=323), size=(16, 64), mode="bilinear")
    return x, ids(8, 6, high=10, seed=324) + 1


def played() -> tuple[Tensor, ...]:
    extra = (cp.normal(64, seed=k) for k in (326, 327))
    return cp.normal(64, 17, seed=325), cp.normal(64, 6, seed=328), *extra, ZERO


def classed(x: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    return x, cp.labels(x, classes)


def noisy() -> tuple[Tensor, Tensor]:
    start, end, time = cp.normal(128, 2, seed=320), cp.normal(128, 2, seed=321).tanh(), fp.uniform(128, 1, seed=322)
    return torch.cat([start + time * (1.5 * end - start), time], 1), 1.5 * end - start


def cut_waves() -> tuple[Tensor, Tensor]:
    return fp.series(32, 49)[:, :40, None], fp.series(32, 49)[:, 48:]


def judged() -> tuple[Tensor, ...]:
    state = cp.normal(128, 17, seed=338)
    return state, cp.normal(128, 6, seed=339).tanh(), cp.targets(state).expand(-1, 2)


ZERO = torch.zeros(())
leaky = partial(nn.LeakyReLU, 0.1)
CODER, STORY = (784, 384, 96, 24, 96, 384, 784), ((10, 6), (6,), ())
CLASS, HUBER, MSE = "cross_entropy", "smooth_l1_loss", "mse_loss"
ROWS: tuple[tuple[str, str, Callable[[], nn.Module], Any, Any], ...] = (
    ("mlp", "he_uniform_24", lambda: plain(64, *[160] * 23, 5, act=nn.ReLU, law=he_uniform), fp.rows(64, 64, 5), CLASS),
    ("mlp", "orthogonal_40", lambda: plain(64, *[96] * 39, 8, act=nn.Tanh, law=isometric), fp.rows(64, 64, 8), CLASS),
    ("mlp", "selu_10", lambda: plain(48, *[128] * 9, 3, act=nn.SELU, law=lecun), fp.curve(64, 48, 3), MSE),
    ("mlp", "elu_norm_24", lambda: mlp(64, *[192] * 23, 1, act=nn.ELU, norm=nn.LayerNorm), fp.curve(64, 64), MSE),
    ("mlp", "tanh_norm", lambda: mlp(30, *[72] * 11, 4, act=nn.Tanh, norm=nn.BatchNorm1d), fp.rows(96, 30, 4), CLASS),
    ("mlp", "gaussian_head", lambda: mlp(16, 64, 64, 2, act=nn.SiLU), fp.curve(128, 16), gaussian),
    ("mlp", "survival", lambda: plain(24, 64, 64, 1, act=nn.SELU, law=lecun), fp.curve(64, 24), cox),
    ("mlp", "pairwise_ranks", lambda: mlp(40, 128, 64, 1), fp.curve(64, 40), ranked),
    ("mlp", "relu_norm_8", lambda: mlp(32, *[64] * 7, 3, norm=nn.BatchNorm1d), fp.rows(128, 32, 3), CLASS),
    ("mlp", "silu_norm_6", lambda: mlp(50, *[384] * 5, 9, act=nn.SiLU, norm=nn.LayerNorm), fp.rows(64, 50, 9), CLASS),
    ("mlp", "leaky_he_12", lambda: plain(40, *[320] * 11, 2, act=leaky, law=leaky_he), fp.curve(96, 40, 2), MSE),
    ("mlp", "digit_coder", lambda: plain(*CODER, act=nn.ReLU, law=he_uniform), lambda: cp.digits(32)[:1] * 2, BINARY),
    ("mlp", "normed_residual_20", normed_residual, fp.rows(64, 40, 7), CLASS),
    ("mlp", "flow_matching", lambda: mlp(3, 256, 256, 256, 2, act=nn.SiLU), noisy, MSE),
    ("mlp", "sparse_dictionary", sparse_dictionary, lambda: [cp.normal(128, 96)] * 2, MSE),
    ("other", "bag_of_parts", bag, lambda: classed(cp.normal(24, 12, 32), 4), CLASS),
    ("other", "fast_text", lambda: nn.Sequential(nn.EmbeddingBag(200, 64), nn.Linear(64, 5)), fp.themes, CLASS),
    ("other", "memory_network", memory_network, lambda: [ids(32, *k, high=60, seed=337) for k in STORY], CLASS),
    ("other", "gcn_ii_16", gcn_ii, graph, CLASS),
    ("other", "nice", nice, fp.curve(64, 32), fp.own),
    ("other", "energy_of_pictures", energy, lambda: (images(12, 32)[0], cp.normal(12, 3, 32, 32), ZERO), fp.own),
    ("other", "ppo_gaussian", gaussian_policy, played, fp.own),
    ("other", "td3_critics", twin_critics, judged, MSE),
    ("other", "cloned_policy", lambda: agent(8, 128, 128, 4, gain=0.01), fp.rows(64, 8, 4), CLASS),
    ("rnn", "lstm_forecast", lambda: lone(nn.LSTM(1, 64, 2, batch_first=True), nn.Linear(64, 1)), cut_waves, MSE),
    ("rnn", "gru_3", lambda: lone(nn.GRU(1, 48, 3, batch_first=True), nn.Linear(48, 1)), cut_waves, HUBER),
    ("rnn", "crnn", crnn, lines, ctc),
    ("cnn", "plain_leaky_14", plain_convs, fp.photos(12, 24), CLASS),
    ("cnn", "cifar_resnet_20", cifar_resnet, fp.photos(), CLASS),
    ("cnn", "xception", xception, fp.photos(), CLASS),
    ("cnn", "conv_mixer", conv_mixer, fp.photos(), CLASS),
    ("cnn", "nn_unet_3d", nn_unet_3d, scans, at_both_scales),
    ("cnn", "pix2pix", pix2pix, painted, "l1_loss"),
    ("cnn", "grid_detector", grid, lambda: (images(8, 64)[0], ids(8, 8, 8, high=5)), cells),
    ("cnn", "prototypes", four_convs, fp.photos(24, 32, 3), prototypes),
    ("cnn", "raw_sound", sound, lambda: classed(fp.series(16, 800)[:, None], 5), CLASS),
    ("cnn", "inception_time", inception_time, lambda: classed(cp.normal(16, 2, 64), 5), CLASS),
    ("transformer", "lora", lora, fp.text, fp.tokenwise),
    ("transformer", "narrow_decoder_20", lambda: causal(20, 64), fp.text, fp.tokenwise),
)

# Models of transformers

SIZE = {"hidden_size": 96, "num_hidden_layers": 6, "intermediate_size": 256}
ENCODER, DECODER, PAIR, VIEW = (x | SIZE for x in (ft.ENCODER, ft.DECODER, ft.PAIR, ft.VIEW))
DECODER |= {"head_dim": 24, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
FEW = DECODER | {"num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 4}
STAGES = {"num_labels": 6, "image_size": 64, "classifier_dropout_prob": 0.1}
SOUND = ft.SPEECH | SIZE | {"ctc_loss_reduction": "mean"}
CTC = ft.waves(ids(12, 8, high=23, seed=330) + 1)
T5 = {"vocab_size": 320, "d_model": 96, "d_ff": 256, "num_heads": 4, "num_layers": 4, "decoder_start_token_id": 0}
SWIFT = {"depths": [2, 2, 3, 2], "embed_dims": [24, 48, 96, 128]}
TUBES = {"tubelet_size": [2, 8, 8]}
HF: tuple[tuple[str, Any, Any, Mapping[str, Any], Any], ...] = (
    ("helium", tf.HeliumForCausalLM, tf.HeliumConfig, DECODER, ft.continued),
    ("smol_lm3", tf.SmolLM3ForCausalLM, tf.SmolLM3Config, DECODER, ft.continued),
    ("arcee", tf.ArceeForCausalLM, tf.ArceeConfig, DECODER, ft.continued),
    ("apertus", tf.ApertusForCausalLM, tf.ApertusConfig, DECODER, ft.continued),
    ("lfm2", tf.Lfm2ForCausalLM, tf.Lfm2Config, DECODER | {"full_attn_idxs": [2, 4]}, ft.continued),
    ("glm", tf.GlmForCausalLM, tf.GlmConfig, DECODER, ft.continued),
    ("exaone4", tf.Exaone4ForCausalLM, tf.Exaone4Config, DECODER, ft.continued),
    ("granite_moe", tf.GraniteMoeForCausalLM, tf.GraniteMoeConfig, FEW, ft.continued),
    ("gpt_oss", tf.GptOssForCausalLM, tf.GptOssConfig, FEW, ft.continued),
    ("seed_oss", tf.SeedOssForCausalLM, tf.SeedOssConfig, DECODER, ft.continued),
    ("yoso", tf.YosoForMaskedLM, tf.YosoConfig, ENCODER | {"use_expectation": True}, ft.hidden),
    ("i_bert", tf.IBertForMaskedLM, tf.IBertConfig, ENCODER, ft.hidden),
    ("esm", tf.EsmForMaskedLM, tf.EsmConfig, ENCODER | {"mask_token_id": 4, "token_dropout": False}, ft.hidden),
    ("data2vec_text", tf.Data2VecTextForMaskedLM, tf.Data2VecTextConfig, ENCODER, ft.hidden),
    ("m2m_100", tf.M2M100ForConditionalGeneration, tf.M2M100Config, PAIR, ft.translated),
    ("pegasus_x", tf.PegasusXForConditionalGeneration, tf.PegasusXConfig, PAIR | {"block_size": 8}, ft.translated),
    ("umt5", tf.UMT5ForConditionalGeneration, tf.UMT5Config, T5, ft.translated),
    ("mobile_vit_v2", tf.MobileViTV2ForImageClassification, tf.MobileViTV2Config, STAGES, ft.pictures(64)),
    ("swift_former", tf.SwiftFormerForImageClassification, tf.SwiftFormerConfig, STAGES | SWIFT, ft.pictures(64)),
    ("mobile_net_v1", tf.MobileNetV1ForImageClassification, tf.MobileNetV1Config, STAGES, ft.pictures(64)),
    ("i_jepa", tf.IJepaForImageClassification, tf.IJepaConfig, VIEW, ft.pictures()),
    ("registers", tf.Dinov2WithRegistersForImageClassification, tf.Dinov2WithRegistersConfig, VIEW, ft.pictures()),
    ("vivit", tf.VivitForVideoClassification, tf.VivitConfig, SIZE | ft.FRAMES | TUBES, ft.films),
    ("conformer", tf.Wav2Vec2ConformerForCTC, tf.Wav2Vec2ConformerConfig, SOUND, CTC),
    ("uni_speech_sat", tf.UniSpeechSatForCTC, tf.UniSpeechSatConfig, SOUND, CTC),
)
MADE = [Subject(f"last_{name}", *row, kind) for kind, name, *row in ROWS]


def made(model: Any, config: Any, sizes: Mapping[str, Any]) -> nn.Module:
    return model(config(**sizes))


LIBRARY = [Subject(f"last_hf_{name}", partial(made, *row), batch, None, "transformer") for name, *row, batch in HF]
LAST_HEALTHY: Mapping[str, Subject] = MappingProxyType({one.name: one for one in (*MADE, *LIBRARY)})
