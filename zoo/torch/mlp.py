"""Perceptrons, each initialised as its authors or its field do it."""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init
from torch.nn.utils import parametrizations

from zoo.model import maker
from zoo.torch.batches import curve, digits, digits_again, ids, normal, rows, series, vectors
from zoo.torch.laws import GAINS, Law, drawn, fan_bounded, filled, frozen, he, headed, leaky_he, lecun, trained, zeroed
from zoo.torch.layers import Function, Net, Residual, deep, mlp, stacked
from zoo.torch.losses import BINARY


def he_mlp(depth: int, **options: Any) -> nn.Module:
    return drawn(mlp(*deep(depth), **options), he)


def critical(depth: int, act: Callable[[], nn.Module], law: Law, last: Law = lecun) -> nn.Module:
    """A stack of one law, its head of another."""
    model = drawn(mlp(*deep(depth), act=act), law)
    filled(model[-1], last)
    return model


def residuals(depth: int, law: Law, last: Law, scale: Callable[[], Tensor | float]) -> nn.Module:
    """Residual perceptrons without norms: the laws of each branch's two maps, and a factor."""
    blocks = []
    for _ in range(depth):
        first, second = filled(nn.Linear(128, 128), law), filled(nn.Linear(128, 128), last)
        blocks.append(Residual(nn.Sequential(first, nn.ReLU(), second), scale()))
    return nn.Sequential(*blocks, nn.Linear(128, 10))


def rezero() -> nn.Parameter:
    return nn.Parameter(torch.zeros(()))


def weight_normed() -> nn.Module:
    """He first, then split into length and direction."""
    model = he_mlp(12)
    for module in list(model):
        if isinstance(module, nn.Linear):
            parametrizations.weight_norm(module)
    return model


def maxout() -> nn.Module:
    """The larger of two maps: E max(a, b)^2 = 1, so LeCun's law keeps the scale."""

    def piece(fan_in: int, fan_out: int) -> list[nn.Module]:
        largest = Function(lambda x: x.unflatten(1, (-1, 2)).amax(2))
        return [nn.Linear(fan_in, 2 * fan_out), largest]

    body = [part for i in range(6) for part in piece(256 if i else 128, 256)]
    return drawn(nn.Sequential(*body, nn.Linear(256, 10)), lecun)


def highway() -> nn.Module:
    """Gates that start nearly shut: bias -2."""

    def block() -> nn.Module:
        gate = nn.Linear(128, 128)
        init.constant_(gate.bias, -2.0)

        def run(net: Any, x: Tensor) -> Tensor:
            share = net.gate(x).sigmoid()
            return share * net.change(x).relu() + (1 - share) * x

        return Net(run, change=nn.Linear(128, 128), gate=gate)

    return nn.Sequential(*(block() for _ in range(20)), nn.Linear(128, 10))


def adapted() -> nn.Module:
    """Low-rank adapters beside a frozen network, their second factor zero."""

    def adapter(layer: nn.Module) -> nn.Module:
        down, up = nn.Linear(layer.in_features, 8, bias=False), nn.Linear(8, layer.out_features, bias=False)
        parts = {"base": frozen(layer), "down": down, "up": zeroed(up)}
        return Net(lambda net, x: net.base(x) + 2 * net.up(net.down(x)), **parts)

    return nn.Sequential(*(adapter(part) if isinstance(part, nn.Linear) else part for part in he_mlp(6)))


def mixture() -> nn.Module:
    """A soft gate over eight experts."""
    experts = nn.ModuleList(drawn(mlp(128, 128, 128, 10), he) for _ in range(8))

    def run(net: Any, x: Tensor) -> Tensor:
        found = torch.stack([expert(x) for expert in net.experts], 1)
        return (net.gate(x).softmax(-1)[..., None] * found).sum(1)

    return Net(run, gate=nn.Linear(128, 8), experts=experts)


def tied_autoencoder() -> nn.Module:
    """The decoder is the encoder's transpose."""

    def run(net: Any, x: Tensor) -> Tensor:
        hidden = net.second(net.first(x).relu())
        back = functional.linear(hidden, net.second.weight.T, net.back).relu()
        return functional.linear(back, net.first.weight.T, net.out)

    biases = {"back": nn.Parameter(torch.zeros(256)), "out": nn.Parameter(torch.zeros(784))}
    return drawn(Net(run, first=nn.Linear(784, 256), second=nn.Linear(256, 64), **biases), init.xavier_uniform_)


def siamese() -> nn.Module:
    encoder = drawn(mlp(128, 256, 256, 64), he)
    return Net(lambda net, a, b: (net.encoder(a), net.encoder(b)), encoder=encoder)


def couples() -> tuple[Tensor, Tensor, Tensor]:
    a = normal(64, 128)
    near = torch.arange(64) % 2 == 0
    return (
        a,
        torch.where(near[:, None], a + 0.3 * normal(64, 128, seed=5), normal(64, 128, seed=6)),
        near.float() * 2 - 1,
    )


def cosine(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return functional.cosine_embedding_loss(*output, target)


def leaky_he_16() -> nn.Module:
    law = partial(init.kaiming_normal_, a=0.3)
    return drawn(mlp(96, *[192] * 15, 12, act=lambda: nn.LeakyReLU(0.3)), law)


def concatenated() -> nn.Module:
    """CReLU: both halves of every unit go on, so He's law holds with the doubled fan."""

    def piece(fan_in: int) -> list[nn.Module]:
        return [nn.Linear(fan_in, 96), Function(lambda x: torch.cat([x, -x], 1).relu())]

    body = [part for fan_in in (96, *[192] * 8) for part in piece(fan_in)]
    return drawn(nn.Sequential(*body, nn.Linear(192, 12)), he)


def softsign() -> nn.Module:
    """Five hidden layers, softsign, Glorot's normalised law (2010)."""
    return drawn(mlp(784, *[300] * 5, 10, act=nn.Softsign), init.xavier_uniform_)


def gated_stream() -> nn.Module:
    """RMS norms and SwiGLU branches without biases, N(0, 0.02)."""

    def block() -> nn.Module:
        parts = {"gate": nn.Linear(160, 320, bias=False), "up": nn.Linear(160, 320, bias=False)}
        down = nn.Linear(320, 160, bias=False)
        branch = Net(lambda net, x: net.down(functional.silu(net.gate(x)) * net.up(x)), **parts, down=down)
        return Residual(nn.Sequential(nn.RMSNorm(160), branch))

    body = (nn.Linear(96, 160, bias=False), *(block() for _ in range(7)), nn.RMSNorm(160))
    return drawn(nn.Sequential(*body, nn.Linear(160, 12, bias=False)), partial(init.normal_, std=0.02))


def gated() -> nn.Module:
    """Three GLU layers, torch's own weights."""
    body = [part for fan_in in (96, 128, 128) for part in (nn.Linear(fan_in, 256), nn.GLU())]
    return nn.Sequential(*body, nn.Linear(128, 12))


def tangent() -> nn.Module:
    """NTK's parameters: N(0, 1) everywhere, divided by sqrt(fan_in) at run time."""

    def layer(fan_in: int, fan_out: int, gain: float) -> nn.Module:
        weight, bias = nn.Parameter(torch.randn(fan_out, fan_in)), nn.Parameter(torch.zeros(fan_out))

        def run(net: Any, x: Tensor) -> Tensor:
            return functional.linear(x, net.weight * gain / math.sqrt(fan_in), net.bias)

        return Net(run, weight=weight, bias=bias)

    root = math.sqrt(2)
    hidden = [part for fan_in in (96, *[384] * 4) for part in (layer(fan_in, 384, root), nn.ReLU())]
    return nn.Sequential(*hidden, layer(384, 12, 1.0))


def dense_input() -> nn.Module:
    """Every hidden layer sees the input again (Sinha 2020), torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        hidden = net.first(x).relu()
        for layer in net.layers:
            hidden = layer(torch.cat([hidden, x], 1)).relu()
        return net.last(hidden)

    layers = nn.ModuleList(nn.Linear(256 + 24, 256) for _ in range(3))
    return Net(run, first=nn.Linear(24, 256), layers=layers, last=nn.Linear(256, 1))


def variational_weights() -> nn.Module:
    """Bayes by backprop: means uniform in 1 / sqrt(fan_in), spreads 0.05."""

    def layer(fan_in: int, fan_out: int) -> nn.Module:
        mean = nn.Parameter(fan_bounded(torch.empty(fan_out, fan_in)))
        parts = {"mean": mean, "log_sigma": nn.Parameter(torch.full((fan_out, fan_in), math.log(0.05)))}

        def run(net: Any, x: Tensor) -> Tensor:
            noise = net.log_sigma.exp() * torch.randn_like(net.mean)
            return functional.linear(x, net.mean + noise, net.bias)

        return Net(run, **parts, bias=nn.Parameter(torch.zeros(fan_out)))

    return nn.Sequential(layer(784, 200), nn.ReLU(), layer(200, 200), nn.ReLU(), layer(200, 10))


def modulated() -> nn.Module:
    """FiLM: a condition scales and shifts each layer, by one and zero at first."""

    def run(net: Any, x: Tensor, condition: Tensor) -> Tensor:
        for layer, film in zip(net.layers, net.films, strict=True):
            scale, shift = film(condition).chunk(2, 1)
            x = functional.gelu((1 + scale) * layer(x) + shift)
        return net.head(x)

    layers = nn.ModuleList(nn.Sequential(nn.Linear(n, 128), nn.LayerNorm(128)) for n in (96, 128, 128, 128))
    films = nn.ModuleList(zeroed(nn.Linear(10, 256)) for _ in layers)
    return Net(run, layers=layers, films=films, head=nn.Linear(128, 12))


def distilled() -> nn.Module:
    """A student and the trained frozen teacher that it follows."""
    teacher = frozen(trained(mlp(784, 256, 256, 10), digits(), 60))
    return Net(lambda net, x: (net.student(x), net.teacher(x)), student=mlp(784, 64, 10), teacher=teacher)


def mean_teacher() -> nn.Module:
    """A frozen copy that follows the student, on another view."""

    def run(net: Any, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            told = net.teacher(other)
        return net.student(x), told

    student = mlp(96, 128, 128, 12, norm=nn.BatchNorm1d)
    return Net(run, student=student, teacher=frozen(copy.deepcopy(student)))


def early_exits() -> nn.Module:
    """A head after each of four stages."""

    def run(net: Any, x: Tensor) -> tuple[Tensor, ...]:
        found = []
        for stage, head in zip(net.stages, net.heads, strict=True):
            x = stage(x)
            found.append(head(x))
        return tuple(found)

    stages = nn.ModuleList(nn.Sequential(filled(nn.Linear(n, 128), he), nn.ReLU()) for n in (96, 128, 128, 128))
    return Net(run, stages=stages, heads=nn.ModuleList(nn.Linear(128, 12) for _ in stages))


def taught(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    student, teacher = output[0].div(4).log_softmax(1), output[1].div(4).softmax(1)
    soft = functional.kl_div(student, teacher, reduction="batchmean")
    return functional.cross_entropy(output[0], target) + 16 * soft


def consistent(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    away = functional.mse_loss(output[0].softmax(1), output[1].softmax(1))
    return functional.cross_entropy(output[0], target) + away


def seen_twice() -> tuple[Tensor, Tensor, Tensor]:
    x, y = rows(48, 96, 12)()
    return x, x + 0.2 * normal(48, 96, seed=18), y


def at_every_exit(output: tuple[Tensor, ...], target: Tensor) -> Tensor:
    return sum(functional.cross_entropy(one, target) for one in output) / len(output)


def noisy_digits() -> tuple[Tensor, Tensor]:
    x, _ = digits(48)
    return (x + 0.1 * normal(*x.shape)).clamp(0, 1), x


def conditioned() -> tuple[Tensor, Tensor, Tensor]:
    x, y = rows(48, 96, 12)()
    return x, functional.one_hot(ids(48, high=10), 10).float(), y


def pinball(output: Tensor, target: Tensor) -> Tensor:
    """Nine quantiles."""
    share, away = torch.arange(1, 10) / 10, target - output
    return torch.maximum(share * away, (share - 1) * away).mean()


FEATURES = rows(48, 96, 12)


def expansion() -> nn.Module:
    """N-BEATS: six blocks that take their part of the past away and add theirs to the future."""

    def run(net: Any, past: Tensor) -> Tensor:
        future = past[:, -1:].expand(-1, 8)
        for block in net.blocks:
            back, ahead = block(past).split([32, 8], 1)
            past, future = past - back, future + ahead
        return future

    return Net(run, blocks=nn.ModuleList(mlp(32, 128, 128, 128, 40) for _ in range(6)))


def ahead() -> tuple[Tensor, Tensor]:
    x = series(length=40)
    return x[:, :32], x[:, 32:]


def plain(*widths: int, act: Callable[[], nn.Module], law: Callable[[Tensor], object]) -> nn.Module:
    """A perceptron by one law, its head by LeCun's."""
    model = drawn(mlp(*widths, act=act), law)
    filled(model[-1], lecun)
    return model


he_uniform = partial(init.kaiming_uniform_, nonlinearity="relu")


isometric = partial(init.orthogonal_, gain=1.05)


def sparse_dictionary(width: int = 96, atoms: int = 512) -> nn.Module:
    """A sparse autoencoder: unit atoms in the decoder, their transpose in the encoder, the 8 strongest kept."""
    decode = nn.Parameter(functional.normalize(torch.randn(atoms, width), dim=1))
    encode = nn.Parameter(decode.detach().t().clone())

    def run(net: Any, x: Tensor) -> Tensor:
        strong, where = functional.relu((x - net.shift) @ net.encode).topk(8)
        code = torch.zeros(len(x), atoms).scatter(1, where, strong)
        return code @ net.decode + net.shift

    return Net(run, decode=decode, encode=encode, shift=nn.Parameter(torch.zeros(width)))


def cox(output: Tensor, target: Tensor) -> Tensor:
    """The partial likelihood of who goes first."""
    risk = output[target[:, 0].argsort(descending=True), 0]
    return (risk.logcumsumexp(0) - risk).mean()


def ranked(output: Tensor, target: Tensor) -> Tensor:
    gap = output - output.t()
    return functional.softplus(-gap)[(target - target.t()) > 0].mean()


def gaussian(output: Tensor, target: Tensor) -> Tensor:
    return functional.gaussian_nll_loss(output[:, :1], target, functional.softplus(output[:, 1:]) + 1e-3)


def normed_residual(depth: int = 20) -> nn.Module:
    blocks = (Residual(stacked(nn.LayerNorm(96), mlp(96, 192, 96, act=nn.GELU))) for _ in range(depth))
    return stacked(nn.Linear(40, 96), *blocks, nn.LayerNorm(96), nn.Linear(96, 7))


LEAKY = partial(nn.LeakyReLU, 0.1)


tuned, held_out = maker("torch", "mlp", "tuned"), maker("torch", "mlp", "held_out")
MODELS = (
    tuned("mlp_he_3", lambda: drawn(mlp(784, 256, 256, 10), he), digits),
    tuned("mlp_he_10", lambda: he_mlp(10), vectors),
    tuned("mlp_he_20", lambda: he_mlp(20), vectors),
    tuned("mlp_he_30", lambda: he_mlp(30), vectors),
    tuned("mlp_leaky_10", lambda: critical(10, lambda: nn.LeakyReLU(0.2), partial(he, gain=1.04**-0.5)), vectors),
    tuned("mlp_tanh_orthogonal", lambda: critical(20, nn.Tanh, init.orthogonal_), vectors),
    tuned("mlp_tanh_xavier", lambda: critical(10, nn.Tanh, init.xavier_uniform_), vectors),
    tuned("mlp_tanh_gain", lambda: critical(6, nn.Tanh, partial(init.xavier_normal_, gain=5 / 3)), vectors),
    tuned("mlp_selu_20", lambda: critical(20, nn.SELU, lecun), vectors),
    tuned("mlp_elu_8", lambda: critical(8, nn.ELU, partial(lecun, gain=GAINS["elu"])), vectors),
    tuned("mlp_gelu_10", lambda: critical(10, nn.GELU, partial(lecun, gain=GAINS["gelu"])), vectors),
    tuned("mlp_silu_10", lambda: critical(10, nn.SiLU, partial(lecun, gain=GAINS["silu"])), vectors),
    tuned("mlp_default_3", lambda: mlp(128, 256, 256, 10), vectors),
    tuned("mlp_default_4", lambda: mlp(784, 256, 128, 64, 10), digits),
    tuned("mlp_default_tanh_3", lambda: mlp(128, 128, 128, 10, act=nn.Tanh), vectors),
    tuned("mlp_dropout", lambda: drawn(mlp(784, 512, 512, 10, norm=lambda _: nn.Dropout(0.5)), he), digits),
    tuned("mlp_batch_norm_15", lambda: mlp(*deep(15), norm=nn.BatchNorm1d), vectors),
    tuned("mlp_layer_norm_12", lambda: mlp(*deep(12), norm=nn.LayerNorm), vectors),
    tuned("mlp_weight_norm", weight_normed, vectors),
    tuned("mlp_maxout", maxout, vectors),
    tuned("mlp_prelu_10", lambda: critical(10, nn.PReLU, partial(he, gain=1.0625**-0.5)), vectors),
    tuned("mlp_residual_scaled", lambda: residuals(32, he, lecun, lambda: 32**-0.5), vectors),
    tuned("mlp_rezero", lambda: residuals(32, he, lecun, rezero), vectors),
    tuned("mlp_fixup", lambda: residuals(24, partial(he, gain=24**-0.5), init.zeros_, lambda: 1.0), vectors),
    tuned("mlp_highway", highway, vectors),
    tuned("mlp_adapters", adapted, vectors),
    tuned("mlp_zero_head", lambda: headed(he_mlp(8), init.zeros_), vectors),
    tuned("mlp_small_head", lambda: headed(he_mlp(8), partial(init.normal_, std=0.01)), vectors),
    tuned("mlp_experts", mixture, vectors),
    tuned("mlp_funnel", lambda: drawn(mlp(784, 512, 128, 32, 10), he), digits),
    tuned("mlp_sigmoid_2", lambda: mlp(784, 128, 10, act=nn.Sigmoid), digits),
    tuned("mlp_trained", lambda: trained(mlp(784, 128, 128, 10), digits()), digits),
    tuned("autoencoder_tied", tied_autoencoder, digits_again, "mse_loss"),
    tuned("siamese", siamese, couples, cosine),
    tuned("fresh_leaky_16", leaky_he_16, FEATURES),
    tuned("fresh_crelu", concatenated, FEATURES),
    tuned("fresh_softsign_xavier", softsign, digits),
    tuned(
        "fresh_hardtanh_xavier", lambda: drawn(mlp(96, *[128] * 4, 12, act=nn.Hardtanh), init.xavier_uniform_), FEATURES
    ),
    tuned("fresh_softplus_3", lambda: mlp(24, 128, 128, 1, act=nn.Softplus), curve(64, 24), "mse_loss"),
    tuned("fresh_mish_batch_norm", lambda: mlp(96, *[160] * 7, 12, act=nn.Mish, norm=nn.BatchNorm1d), FEATURES),
    tuned("fresh_swiglu_rms_norm", gated_stream, FEATURES),
    tuned("fresh_glu_default", gated, FEATURES),
    tuned("fresh_ntk", tangent, FEATURES),
    tuned("fresh_d2rl", dense_input, curve(64, 24), "mse_loss"),
    tuned("fresh_bayes", variational_weights, digits),
    tuned("fresh_film", modulated, conditioned),
    tuned("fresh_quantiles", lambda: mlp(24, 64, 64, 9), curve(64, 24), pinball),
    tuned("fresh_elu_autoencoder", lambda: mlp(784, 256, 64, 16, 64, 256, 784, act=nn.ELU), noisy_digits, BINARY),
    tuned("fresh_half_trained", lambda: trained(mlp(784, 160, 160, 10, act=nn.GELU), digits(1000), 100), digits),
    tuned("fresh_logistic", lambda: zeroed(nn.Linear(784, 10)), digits),
    tuned("fresh_distilled", distilled, digits, taught),
    tuned("fresh_mean_teacher", mean_teacher, seen_twice, consistent),
    tuned("fresh_early_exits", early_exits, FEATURES, at_every_exit),
    tuned("fresh_n_beats", expansion, ahead, "smooth_l1_loss"),
    held_out("last_he_uniform_24", lambda: plain(64, *[160] * 23, 5, act=nn.ReLU, law=he_uniform), rows(64, 64, 5)),
    held_out("last_orthogonal_40", lambda: plain(64, *[96] * 39, 8, act=nn.Tanh, law=isometric), rows(64, 64, 8)),
    held_out("last_selu_10", lambda: plain(48, *[128] * 9, 3, act=nn.SELU, law=lecun), curve(64, 48, 3), "mse_loss"),
    held_out(
        "last_elu_norm_24", lambda: mlp(64, *[192] * 23, 1, act=nn.ELU, norm=nn.LayerNorm), curve(64, 64), "mse_loss"
    ),
    held_out("last_tanh_norm", lambda: mlp(30, *[72] * 11, 4, act=nn.Tanh, norm=nn.BatchNorm1d), rows(96, 30, 4)),
    held_out("last_gaussian_head", lambda: mlp(16, 64, 64, 2, act=nn.SiLU), curve(128, 16), gaussian),
    held_out("last_survival", lambda: plain(24, 64, 64, 1, act=nn.SELU, law=lecun), curve(64, 24), cox),
    held_out("last_pairwise_ranks", lambda: mlp(40, 128, 64, 1), curve(64, 40), ranked),
    held_out("last_relu_norm_8", lambda: mlp(32, *[64] * 7, 3, norm=nn.BatchNorm1d), rows(128, 32, 3)),
    held_out("last_silu_norm_6", lambda: mlp(50, *[384] * 5, 9, act=nn.SiLU, norm=nn.LayerNorm), rows(64, 50, 9)),
    held_out(
        "last_leaky_he_12", lambda: plain(40, *[320] * 11, 2, act=LEAKY, law=leaky_he), curve(96, 40, 2), "mse_loss"
    ),
    held_out(
        "last_digit_coder",
        lambda: plain(*(784, 384, 96, 24, 96, 384, 784), act=nn.ReLU, law=he_uniform),
        lambda: digits(32)[:1] * 2,
        BINARY,
    ),
    held_out("last_normed_residual_20", normed_residual, rows(64, 40, 7)),
    held_out("last_sparse_dictionary", sparse_dictionary, lambda: [normal(128, 96)] * 2, "mse_loss"),
)
