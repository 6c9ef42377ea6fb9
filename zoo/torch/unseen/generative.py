"""Denoisers and adversaries, at the initialisation that their authors state."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional, init
from torch.nn.utils import parametrizations

from zoo.model import maker
from zoo.torch.batches import correlated, images, normal, uniform
from zoo.torch.layers import merge_heads, split_heads
from zoo.torch.losses import own


def zero(layer: nn.Module) -> nn.Module:
    """The layer with everything zero."""
    for weight in layer.parameters():
        init.zeros_(weight)
    return layer


def timed(time: Tensor, width: int, scale: float = 1000.0) -> Tensor:
    """Cosines and sines of times in [0, 1]."""
    angle = scale * time[:, None] * torch.exp(-math.log(10000) * torch.arange(width // 2) / (width // 2))
    return torch.cat([angle.cos(), angle.sin()], 1)


class AdmBlock(nn.Module):
    """Group norm, SiLU, convolution; scale and shift by the time; the last convolution zero (Dhariwal 2021)."""

    def __init__(self, before: int, after: int, embed: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.embed = nn.Sequential(nn.SiLU(), nn.Linear(embed, 2 * after))
        self.norm = nn.GroupNorm(8, after)
        self.last = nn.Sequential(nn.SiLU(), nn.Dropout(0.0), zero(nn.Conv2d(after, after, 3, padding=1)))
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """The stream with the branch added."""
        scale, shift = self.embed(time)[..., None, None].chunk(2, 1)
        return self.skip(x) + self.last(self.norm(self.first(x)) * (1 + scale) + shift)


class AdmAttention(nn.Module):
    """Attention over places whose last map is zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv = nn.GroupNorm(8, width), nn.Conv1d(width, 3 * width, 1)
        self.proj = zero(nn.Conv1d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The stream with the mix added."""
        q, k, v = (part.transpose(1, 2) for part in self.qkv(self.norm(x.flatten(2))).chunk(3, 1))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return x + self.proj(mixed).view_as(x)


class AdmUNet(nn.Module):
    """ADM's U-Net of two scales, classes added to the time."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        embed = 4 * width
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, embed), nn.SiLU(), nn.Linear(embed, embed))
        self.classes = nn.Embedding(10, embed)
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.one, self.halve = AdmBlock(width, width, embed), nn.Conv2d(width, width, 3, 2, 1)
        self.two, self.attn = AdmBlock(width, 2 * width, embed), AdmAttention(2 * width)
        self.middle = AdmBlock(2 * width, 2 * width, embed)
        self.back, self.attn_back = AdmBlock(4 * width, 2 * width, embed), AdmAttention(2 * width)
        self.wider = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.last = AdmBlock(3 * width, width, embed)
        self.out = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), zero(nn.Conv2d(width, 3, 3, padding=1)))

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        """The noise in the pictures."""
        t = self.time(timed(time, self.width)) + self.classes(label)
        a = self.one(self.enter(x), t)
        b = self.attn(self.two(self.halve(a), t))
        x = self.attn_back(self.back(torch.cat([self.middle(b, t), b], 1), t))
        x = self.wider(functional.interpolate(x, scale_factor=2))
        return self.out(self.last(torch.cat([x, a], 1), t))


class Consistency(nn.Module):
    """Consistency training (Song 2023): c_skip x + c_out F(c_in x, t) at two noises; torch's own weights."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Linear(12 + 16, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 12)),
        )

    def jump(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The clean example from a noisy one."""
        near, scale = (sigma - 0.002)[:, None], (sigma**2 + 0.25).sqrt()[:, None]
        c_skip, c_out = 0.25 / (near**2 + 0.25), 0.5 * near / scale
        seen = torch.cat([x / scale, timed(0.25 * sigma.log(), 16, 1.0)], 1)
        return c_skip * x + c_out * self.body(seen)

    def forward(self, x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """The pseudo-Huber distance of two jumps."""
        low = (0.002 ** (1 / 7) + level * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
        high = (low ** (1 / 7) + 0.05 * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
        with torch.no_grad():
            near = self.jump(x + low[:, None] * noise, low)
        far = self.jump(x + high[:, None] * noise, high)
        distance = ((far - near).square().sum(1) + 0.03**2).sqrt() - 0.03
        return (distance / (high - low)).mean()


class JointBlock(nn.Module):
    """Two streams, pictures and words, that attend to both; modulations by the time that start at zero (SD3, 2024)."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.shifts = nn.ModuleList(zero(nn.Linear(width, 6 * width)) for _ in range(2))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.proj = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.rms = nn.ModuleList(nn.RMSNorm(width // heads) for _ in range(4))

    def forward(self, streams: tuple[Tensor, Tensor], time: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams after attention and perceptron."""
        shifts = [layer(functional.silu(time))[:, None].chunk(6, -1) for layer in self.shifts]
        q, k, v = [], [], []
        for i, x in enumerate(streams):
            y = self.norm(x) * (1 + shifts[i][1]) + shifts[i][0]
            parts = [split_heads(part, self.heads) for part in self.qkv[i](y).chunk(3, -1)]
            q.append(self.rms[2 * i](parts[0]))
            k.append(self.rms[2 * i + 1](parts[1]))
            v.append(parts[2])
        mixed = functional.scaled_dot_product_attention(torch.cat(q, 2), torch.cat(k, 2), torch.cat(v, 2))
        out = []
        for i, y in enumerate(merge_heads(mixed).split([part.shape[1] for part in streams], 1)):
            x = streams[i] + shifts[i][2] * self.proj[i](y)
            out.append(x + shifts[i][5] * self.mlp[i](self.norm(x) * (1 + shifts[i][4]) + shifts[i][3]))
        return out[0], out[1]


class JointDiffusion(nn.Module):
    """A rectified flow over patches and words: Xavier maps, zero modulations, zero last map."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.patches, self.words = nn.Linear(48, width), nn.Embedding(30, width)
        self.register_buffer("places", timed(torch.linspace(0, 1, 16), width, 16.0))
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(JointBlock(width) for _ in range(3))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.shift, self.out = nn.Linear(width, 2 * width), nn.Linear(width, 48)
        for layer in (module for module in self.modules() if isinstance(module, nn.Linear)):
            init.xavier_uniform_(layer.weight)
            init.zeros_(layer.bias)
        for layer in (*(part for block in self.blocks for part in block.shifts), self.shift, self.out):
            zero(layer)
        for layer in (self.time[0], self.time[2]):
            init.normal_(layer.weight, std=0.02)
        init.normal_(self.words.weight, std=0.02)

    def forward(self, x: Tensor, noise: Tensor, time: Tensor, words: Tensor) -> Tensor:
        """The error of the velocity."""
        x, noise = (functional.unfold(part, 4, stride=4).transpose(1, 2) for part in (x, noise))
        seen = (1 - time)[:, None, None] * x + time[:, None, None] * noise
        t = self.time(timed(time, 32))
        streams = (self.patches(seen) + self.places, self.words(words))
        for block in self.blocks:
            streams = block(streams, t)
        shift, scale = self.shift(functional.silu(t))[:, None].chunk(2, -1)
        return functional.mse_loss(self.out(self.norm(streams[0]) * (1 + scale) + shift), noise - x)


class SelfAttention(nn.Module):
    """SAGAN's attention, whose share starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        wrap = parametrizations.spectral_norm
        self.theta, self.phi = wrap(nn.Conv2d(width, width // 8, 1)), wrap(nn.Conv2d(width, width // 8, 1))
        self.g, self.o = wrap(nn.Conv2d(width, width // 2, 1)), wrap(nn.Conv2d(width // 2, width, 1))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """The picture with the mix added."""
        theta, phi, g = self.theta(x).flatten(2), self.phi(x).flatten(2), self.g(x).flatten(2)
        weights = (theta.transpose(1, 2) @ phi).softmax(-1)
        return self.gamma * self.o((g @ weights.transpose(1, 2)).view(len(x), -1, *x.shape[2:])) + x


class SagCritic(nn.Module):
    """SAGAN's projection critic: Xavier uniform, spectral norms, residual blocks without norms."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        wrap = parametrizations.spectral_norm

        def conv(before: int, after: int, kernel: int = 3) -> nn.Module:
            layer = nn.Conv2d(before, after, kernel, padding=kernel // 2)
            init.xavier_uniform_(layer.weight)
            init.zeros_(layer.bias)
            return wrap(layer)

        pairs = ((3, width), (width, 2 * width), (2 * width, 2 * width))
        self.first = nn.ModuleList(conv(a, b) for a, b in pairs)
        self.second = nn.ModuleList(conv(b, b) for _, b in pairs)
        self.skip = nn.ModuleList(conv(a, b, 1) for a, b in pairs)
        self.attn = SelfAttention(width)
        self.head, self.classes = wrap(nn.Linear(2 * width, 1)), wrap(nn.Embedding(10, 2 * width))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """How real each picture is."""
        for i, (first, second, skip) in enumerate(zip(self.first, self.second, self.skip, strict=True)):
            y = second(first(x.relu() if i else x).relu())
            x = functional.avg_pool2d(y + skip(x), 2) if i < 2 else y + x
            x = self.attn(x) if i == 0 else x
        x = x.relu().sum((2, 3))
        return self.head(x) + (self.classes(label) * x).sum(1, keepdim=True)


def hinge(output: Tensor, real: Tensor) -> Tensor:
    return functional.relu(1 - real * output).mean()


class ModernCritic(nn.Module):
    """R3GAN (2024): no norms, grouped bottlenecks, the last map of a branch zero, a relativistic loss."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        gain, blocks = math.sqrt(2 / (1 + 0.2**2)), 4

        def drawn(layer: nn.Conv2d, factor: float) -> nn.Module:
            init.normal_(layer.weight, std=factor / math.sqrt(layer.weight[0].numel()))
            return layer

        scale = gain * blocks ** (-1 / 4)
        self.enter = drawn(nn.Conv2d(3, width, 1), 1.0)
        self.one = nn.ModuleList(drawn(nn.Conv2d(width, width, 1), scale) for _ in range(blocks))
        self.two = nn.ModuleList(
            drawn(nn.Conv2d(width, width, 3, padding=1, groups=6, bias=False), scale) for _ in range(blocks)
        )
        self.three = nn.ModuleList(drawn(nn.Conv2d(width, width, 1, bias=False), 0.0) for _ in range(blocks))
        self.head = nn.Linear(width, 1, bias=False)
        init.normal_(self.head.weight, std=1 / math.sqrt(width))

    def judge(self, x: Tensor) -> Tensor:
        """How real each picture is."""
        x = self.enter(x)
        for i, (one, two, three) in enumerate(zip(self.one, self.two, self.three, strict=True)):
            y = functional.leaky_relu(two(functional.leaky_relu(one(x), 0.2)), 0.2)
            x = x + three(y)
            x = functional.avg_pool2d(x, 2) if i < 3 else x
        return self.head(x.mean((2, 3)))

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """The relativistic loss."""
        return functional.softplus(self.judge(fake) - self.judge(real)).mean()


def noised() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, label = images(8, 16)
    noise, time = normal(8, 3, 16, 16, seed=3), uniform(8)
    angle = 0.5 * math.pi * time[:, None, None, None]
    return angle.cos() * x + angle.sin() * noise, time, label, noise


def jumps() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return 0.5 * correlated()[0], normal(64, 12, seed=6), 0.9 * uniform(64), torch.zeros(())


def flows() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    x, label = images(16, 16)
    return x, normal(16, 3, 16, 16, seed=3), uniform(16), label[:, None] + torch.arange(5), torch.zeros(())


def real_and_fake() -> tuple[Tensor, Tensor, Tensor]:
    x, label = images(16, 16)
    real = torch.where(torch.arange(16) % 2 == 0, 1.0, -1.0)
    return torch.where(real[:, None, None, None] > 0, x, normal(16, 3, 16, 16, seed=8)), label, real[:, None]


def opposed() -> tuple[Tensor, Tensor, Tensor]:
    return images(16, 16)[0], normal(16, 3, 16, 16, seed=8), torch.zeros(())


unseen = maker("torch", "generative", "unseen", own)
MODELS = (
    unseen("adm_u_net", AdmUNet, noised, "mse_loss"),
    unseen("consistency", Consistency, jumps),
    unseen("joint_diffusion", JointDiffusion, flows),
    unseen("sagan_critic", SagCritic, real_and_fake, hinge),
    unseen("r3gan_critic", ModernCritic, opposed),
)
