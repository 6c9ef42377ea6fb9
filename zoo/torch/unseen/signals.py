"""Sounds, series and graphs, at the initialisation that their authors state."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import ids, normal, series, uniform
from zoo.torch.losses import own


class ConvTasNet(nn.Module):
    """Conv-TasNet (2019): a learned basis, masks from dilated separable convolutions with PReLU and global norms."""

    def __init__(self, basis: int = 48, narrow: int = 32, wide: int = 64) -> None:
        super().__init__()
        self.encode, self.decode = nn.Conv1d(1, basis, 8, 4, bias=False), nn.ConvTranspose1d(basis, 1, 8, 4, bias=False)
        self.norm, self.enter = nn.GroupNorm(1, basis, eps=1e-8), nn.Conv1d(basis, narrow, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(nn.Conv1d(narrow, wide, 1), nn.PReLU(), nn.GroupNorm(1, wide, eps=1e-8)),
                nn.Conv1d(wide, wide, 3, padding=2**i, dilation=2**i, groups=wide),
                *(nn.PReLU(), nn.GroupNorm(1, wide, eps=1e-8)),
            )
            for i in range(5)
        )
        self.stay = nn.ModuleList(nn.Conv1d(wide, narrow, 1) for _ in range(5))
        self.skip = nn.ModuleList(nn.Conv1d(wide, narrow, 1) for _ in range(5))
        self.mask = nn.Sequential(nn.PReLU(), nn.Conv1d(narrow, 2 * basis, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The two sources."""
        seen = self.encode(x[:, None])
        y, total = self.enter(self.norm(seen)), 0
        for block, stay, skip in zip(self.blocks, self.stay, self.skip, strict=True):
            z = block(y)
            y, total = y + stay(z), total + skip(z)
        masks = self.mask(total).unflatten(1, (2, -1)).sigmoid()
        return self.decode((masks * seen[:, None]).flatten(0, 1)).view(len(x), 2, -1)


def minus_sdr(output: Tensor, target: Tensor) -> Tensor:
    """Minus the scale-invariant ratio of signal and distortion, in decibels."""
    share = (output * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True)
    wanted = share * target
    ratio = wanted.square().sum(-1) / ((output - wanted).square().sum(-1) + 1e-8)
    return -10 * torch.log10(ratio + 1e-8).mean()


class ConformerBlock(nn.Module):
    """Half a perceptron, attention, a gated depthwise convolution with batch norm, half a perceptron (Gulati 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def feed() -> nn.Module:
            return nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
            )

        self.first, self.last = feed(), feed()
        self.norm, self.attn = nn.LayerNorm(width), nn.MultiheadAttention(width, 4, batch_first=True)
        self.before = nn.LayerNorm(width)
        self.conv = nn.Sequential(
            *(nn.Conv1d(width, 2 * width, 1), nn.GLU(1), nn.Conv1d(width, width, 7, padding=3, groups=width)),
            *(nn.BatchNorm1d(width), nn.SiLU(), nn.Conv1d(width, width, 1)),
        )
        self.end = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """The stream after the four branches."""
        x = x + 0.5 * self.first(x)
        y = self.norm(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        x = x + self.conv(self.before(x).transpose(1, 2)).transpose(1, 2)
        return self.end(x + 0.5 * self.last(x))


class Conformer(nn.Module):
    """Two convolutions of stride two and three blocks, letters by CTC; torch's own weights."""

    def __init__(self, width: int = 48, letters: int = 12) -> None:
        super().__init__()
        self.few = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.enter = nn.Linear(16 * 5, width)
        self.blocks = nn.Sequential(*(ConformerBlock(width) for _ in range(3)))
        self.head = nn.Linear(width, letters)

    def forward(self, x: Tensor, spelt: Tensor) -> Tensor:
        """The CTC loss of the spelling."""
        x = self.few(x[:, None]).transpose(1, 2).flatten(2)
        logs = self.head(self.blocks(self.enter(x))).log_softmax(-1).transpose(0, 1)
        count = torch.full((len(spelt),), logs.shape[0])
        return functional.ctc_loss(logs, spelt, count, torch.full_like(count, spelt.shape[1]))


class HifiGan(nn.Module):
    """HiFi-GAN's generator (2020): N(0, 0.01) for transposed and residual convolutions, several kernels averaged."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.enter = norm(nn.Conv1d(20, width, 7, padding=3))
        self.up, self.mixes = nn.ModuleList(), nn.ModuleList()
        for before, after in ((width, width // 2), (width // 2, width // 4)):
            layer = nn.ConvTranspose1d(before, after, 8, 4, 2)
            init.normal_(layer.weight, 0.0, 0.01)
            self.up.append(norm(layer))
            for kernel in (3, 7):
                convs = [nn.Conv1d(after, after, kernel, padding=d * (kernel // 2), dilation=d) for d in (1, 3)]
                for conv in convs:
                    init.normal_(conv.weight, 0.0, 0.01)
                self.mixes.append(nn.ModuleList(norm(conv) for conv in convs))
        self.leave = nn.Conv1d(width // 4, 1, 7, padding=3)
        init.normal_(self.leave.weight, 0.0, 0.01)
        self.leave = norm(self.leave)

    def forward(self, x: Tensor) -> Tensor:
        """The wave of a spectrogram."""
        x = self.enter(x)
        for i, up in enumerate(self.up):
            x = up(functional.leaky_relu(x, 0.1))
            total = torch.zeros_like(x)
            for mix in self.mixes[2 * i : 2 * i + 2]:
                y = x
                for conv in mix:
                    y = y + conv(functional.leaky_relu(y, 0.1))
                total = total + y
            x = total / 2
        return self.leave(functional.leaky_relu(x)).tanh()[:, 0]


class PatchSeries(nn.Module):
    """PatchTST (2023): channels apart, patches of a window normed by itself, places U(0.02), batch norms."""

    def __init__(self, width: int = 32, ahead: int = 8) -> None:
        super().__init__()
        self.patches = nn.Linear(8, width)
        self.places = nn.Parameter(torch.empty(11, width).uniform_(-0.02, 0.02))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.o = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(width, 64) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(64, width) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(4))
        self.head = nn.Linear(11 * width, ahead)
        self.gain, self.shift = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        """The next numbers of each channel."""
        mean, std = x.mean(1, keepdim=True), (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        x = (x - mean) / std * self.gain + self.shift
        x = self.patches(x.transpose(1, 2).flatten(0, 1).unfold(1, 8, 4)) + self.places
        for i in range(2):
            q, k, v = self.qkv[i](x).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            x = self.norms[2 * i]((x + self.o[i](mixed)).transpose(1, 2)).transpose(1, 2)
            y = self.down[i](functional.gelu(self.up[i](x)))
            x = self.norms[2 * i + 1]((x + y).transpose(1, 2)).transpose(1, 2)
        ahead = self.head(x.flatten(1)).unflatten(0, (-1, 3)).transpose(1, 2)
        return (ahead - self.shift) / (self.gain + 1e-10) * std + mean


class NeuralProcess(nn.Module):
    """An attentive neural process: two encoders of known points, cross-attention, mean and spread of the others."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()

        def body(before: int, after: int) -> nn.Module:
            layers = [nn.Linear(before, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, after)]
            return nn.Sequential(*layers)

        self.known, self.latent, self.places = body(2, width), body(2, width), body(1, width)
        self.spread, self.decode = nn.Linear(width, 2 * width), body(2 * width + 1, 2)

    def forward(self, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """Minus the bound on the likelihood of the points that are told last."""
        pairs = torch.cat([x, y], -1)
        mean, raw = self.spread(self.latent(pairs[:, :6]).mean(1)).chunk(2, -1)
        full_mean, full_raw = self.spread(self.latent(pairs).mean(1)).chunk(2, -1)
        prior = torch.distributions.Normal(mean, 0.1 + 0.9 * raw.sigmoid())
        posterior = torch.distributions.Normal(full_mean, 0.1 + 0.9 * full_raw.sigmoid())
        z = full_mean + posterior.scale * noise
        keys, queries = self.places(x[:, :6]), self.places(x)
        mixed = functional.scaled_dot_product_attention(queries, keys, self.known(pairs[:, :6]))
        seen = torch.cat([mixed, z[:, None].expand_as(mixed), x], -1)
        middle, width = self.decode(seen).chunk(2, -1)
        likely = torch.distributions.Normal(middle, 0.1 + 0.9 * functional.softplus(width)).log_prob(y)
        return torch.distributions.kl_divergence(posterior, prior).sum(-1).mean() / x.shape[1] - likely.mean()


class Graphormer(nn.Module):
    """Graphormer (2021): degrees added to nodes, distances and edges added to the scores, tables N(0, 0.02)."""

    def __init__(self, width: int = 48, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.atoms, self.degrees = nn.Embedding(9, width), nn.Embedding(6, width)
        self.whole, self.far = nn.Parameter(torch.randn(1, width)), nn.Embedding(12, heads)
        self.virtual = nn.Parameter(torch.randn(heads))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))
        self.o = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth + 1))
        self.head = nn.Linear(width, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init.normal_(module.weight, std=0.02 / math.sqrt(depth))
                init.zeros_(module.bias)
            if isinstance(module, nn.Embedding):
                init.normal_(module.weight, std=0.02)
        init.normal_(self.whole, std=0.02)
        init.normal_(self.virtual, std=0.02)

    def forward(self, atoms: Tensor, degrees: Tensor, far: Tensor) -> Tensor:
        """A number for each graph."""
        x = self.atoms(atoms) + self.degrees(degrees)
        x = torch.cat([self.whole.expand(len(x), 1, -1), x], 1)
        bias = self.far(far).movedim(-1, 1)
        bias = functional.pad(bias, (1, 0, 1, 0))
        edge = functional.pad(torch.ones(x.shape[1] - 1, x.shape[1] - 1), (1, 0, 1, 0)) == 0
        bias = bias + edge * self.virtual[:, None, None]
        for i in range(len(self.o)):
            q, k, v = self.qkv[i](self.norms[2 * i](x)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias
            x = x + self.o[i]((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
            x = x + self.down[i](functional.gelu(self.up[i](self.norms[2 * i + 1](x))))
        return self.head(self.norms[-1](x)[:, 0])


class LightGcn(nn.Module):
    """LightGCN (2020): tables N(0, 0.1) that are averaged over neighbours, pairs told from others (BPR)."""

    def __init__(self, users: int = 40, items: int = 60, width: int = 32) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, width), nn.Embedding(items, width)
        init.normal_(self.users.weight, std=0.1)
        init.normal_(self.items.weight, std=0.1)
        links = (uniform(users, items, seed=8) < 0.15).float()
        norm = links.sum(1, keepdim=True).clamp(min=1) * links.sum(0, keepdim=True).clamp(min=1)
        self.register_buffer("links", links / norm.sqrt())

    def forward(self, user: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
        """The loss of the chosen against the others."""
        u, i = self.users.weight, self.items.weight
        all_u, all_i = [u], [i]
        for _ in range(3):
            u, i = self.links @ i, self.links.T @ u
            all_u.append(u)
            all_i.append(i)
        u, i = torch.stack(all_u).mean(0), torch.stack(all_i).mean(0)
        return functional.softplus((u[user] * (i[other] - i[chosen])).sum(1)).mean()


def sources() -> tuple[Tensor, Tensor]:
    low, high = series(8, 256), series(24, 256)[8:16].roll(3, 1).flip(1)
    high = high * torch.sin(torch.arange(256) * 1.3)
    return low + high, torch.stack([low, high], 1)


def spoken() -> tuple[Tensor, Tensor, Tensor]:
    return normal(8, 64, 20), 1 + ids(8, 6, high=11, seed=5), torch.zeros(())


def waves() -> tuple[Tensor, Tensor]:
    return normal(8, 20, 8), 0.5 * series(8, 128)


def windows() -> tuple[Tensor, Tensor]:
    x = torch.stack([series(32, 56) * a + b for a, b in ((1.0, 0.0), (2.0, 3.0), (0.5, -1.0))], 2)
    return x[:, :48], x[:, 48:]


def known_points() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = 4 * uniform(16, 20, 1) - 2
    return x, (2 * x + 6 * uniform(16, 1, 1, seed=3)).sin(), normal(16, 64, seed=4), torch.zeros(())


def molecules() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    place = torch.arange(12)
    far = (place[:, None] - place).abs().expand(16, -1, -1)
    atoms = ids(16, 12, high=9)
    return atoms, 1 + (atoms % 4), far, (atoms == 3).float().sum(1, keepdim=True) - 1.3


def bought() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    user = ids(64, high=40)
    return user, (user * 7) % 60, ids(64, high=60, seed=4), torch.zeros(())


heard, rows = maker("torch", "cnn", "unseen", own), maker("torch", "tabular", "unseen", own)
told, linked = maker("torch", "transformer", "unseen"), maker("torch", "graph", "unseen", own)
placed, acted = maker("torch", "fields", "unseen", own), maker("torch", "agents", "unseen", own)
MODELS = (
    heard("conv_tasnet", ConvTasNet, sources, minus_sdr),
    heard("conformer", Conformer, spoken),
    heard("hifi_gan", HifiGan, waves, "l1_loss"),
    told("patch_tst", PatchSeries, windows, "mse_loss"),
    told("neural_process", NeuralProcess, known_points, own),
    linked("graphormer", Graphormer, molecules, "l1_loss"),
    linked("light_gcn", LightGcn, bought),
)
