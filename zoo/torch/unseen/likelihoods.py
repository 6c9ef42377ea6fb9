"""Codes and flows, at the initialisation that their authors state."""

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import correlated, digit_images, normal
from zoo.torch.losses import own


def zero(layer: nn.Module) -> nn.Module:
    """The layer with everything zero."""
    for weight in layer.parameters():
        init.zeros_(weight)
    return layer


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


class VeryDeep(nn.Module):
    """A very deep VAE of three levels (Child 2021): ends of branches times sqrt(1 / N), the prior's zero."""

    def __init__(self, width: int = 48, levels: int = 3, latent: int = 8) -> None:
        super().__init__()
        act = nn.GELU

        def branch(before: int, after: int, last: float | None) -> nn.Module:
            layers = [act(), nn.Linear(before, width), act(), nn.Linear(width, width), act(), nn.Linear(width, after)]
            if last is not None:
                layers[-1].weight.data *= last
            return nn.Sequential(*layers)

        self.latent = latent
        self.enter = nn.Linear(784, width)
        self.encode = nn.ModuleList(branch(width, width, math.sqrt(1 / levels)) for _ in range(levels))
        self.start = nn.Parameter(torch.zeros(width))
        self.posterior = nn.ModuleList(branch(2 * width, 2 * latent, None) for _ in range(levels))
        self.prior = nn.ModuleList(branch(width, 2 * latent + width, 0.0) for _ in range(levels))
        self.project = nn.ModuleList(nn.Linear(latent, width) for _ in range(levels))
        self.residual = nn.ModuleList(branch(width, width, math.sqrt(1 / levels)) for _ in range(levels))
        for layer in self.project:
            layer.weight.data *= math.sqrt(1 / levels)
        self.gain, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, 784)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Minus the bound, for each pixel."""
        seen, states = self.enter(x.flatten(1)), []
        for encode in self.encode:
            seen = seen + encode(seen)
            states.insert(0, seen)
        h, kl = self.start.expand(len(x), -1), torch.zeros(len(x))
        for i, state in enumerate(states):
            mean, spread = self.posterior[i](torch.cat([h, state], 1)).chunk(2, 1)
            pm, pv, more = self.prior[i](h).split([self.latent, self.latent, h.shape[1]], 1)
            z = mean + spread.exp() * noise[:, i]
            gap = (2 * (spread - pv)).exp() + ((mean - pm) / pv.exp()) ** 2
            kl = kl + (pv - spread + 0.5 * (gap - 1)).sum(1)
            h = h + more + self.project[i](z)
            h = h + self.residual[i](h)
        logits = self.out(h * self.gain + self.bias)
        pixels = functional.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="none").sum(1)
        return (pixels + kl).mean() / 784


class Codes(nn.Module):
    """A VQ-GAN's autoencoder: swish, group norms, attention in the middle, codes U(1 / K) (Esser 2021)."""

    def __init__(self, width: int = 32, codes: int = 64, latent: int = 8) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(nn.Conv2d(1, width, 3, padding=1), Residual(width), nn.Conv2d(width, width, 3, 2, 1), Residual(width)),
            *(nn.Conv2d(width, width, 3, 2, 1), Residual(width), PlainAttention(width), Residual(width)),
            *(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, latent, 3, padding=1), nn.Conv2d(latent, latent, 1)),
        )
        self.codes = nn.Embedding(codes, latent)
        init.uniform_(self.codes.weight, -1 / codes, 1 / codes)
        self.up = nn.Sequential(
            *(nn.Conv2d(latent, latent, 1), nn.Conv2d(latent, width, 3, padding=1), Residual(width)),
            *(PlainAttention(width), nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1)),
            *(Residual(width), nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1), Residual(width)),
            *(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The errors of picture, codes and commitment."""
        z = self.down(x)
        flat = z.movedim(1, -1).reshape(-1, z.shape[1])
        index = torch.cdist(flat, self.codes.weight).argmin(1)
        q = self.codes(index).view(len(z), *z.shape[2:], -1).movedim(-1, 1)
        extra = functional.mse_loss(q.detach(), z) * 0.25 + functional.mse_loss(q, z.detach())
        return functional.l1_loss(self.up(z + (q - z).detach()), x) + extra


class Residual(nn.Module):
    """Two convolutions, each behind a group norm and SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The stream with the branch added."""
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


class PlainAttention(AdmAttention):
    """The same attention with torch's own last map."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.proj = nn.Conv1d(width, width, 1)


class Ffjord(nn.Module):
    """A continuous flow by six Euler steps and Hutchinson's trace (Grathwohl 2019): gated maps of time, softplus."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        widths = (12, width, width, 12)
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.gates = nn.ModuleList(nn.Linear(1, b) for b in widths[1:])
        self.shifts = nn.ModuleList(nn.Linear(1, b, bias=False) for b in widths[1:])

    def speed(self, x: Tensor, time: Tensor) -> Tensor:
        """How each place moves."""
        for i, (layer, gate, shift) in enumerate(zip(self.maps, self.gates, self.shifts, strict=True)):
            x = layer(x) * gate(time).sigmoid() + shift(time)
            x = functional.softplus(x) if i < 2 else x
        return x

    def forward(self, x: Tensor, probe: Tensor) -> Tensor:
        """Minus the log-likelihood."""
        change = torch.zeros(len(x))
        x = x.clone().requires_grad_()
        for step in range(6):
            speed = self.speed(x, torch.full((1, 1), step / 6))
            grown = torch.autograd.grad((speed * probe).sum(), x, create_graph=True)[0]
            change = change + (grown * probe).sum(1) / 6
            x = x + speed / 6
        return (0.5 * x.square().sum(1) + 0.5 * 12 * math.log(2 * math.pi) - change).mean()


class InverseFlow(nn.Module):
    """Inverse autoregressive steps behind a Gaussian encoder (Kingma 2016): gates begin at sigmoid(1.5)."""

    def __init__(self, latent: int = 16, width: int = 64) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(784, 128), nn.ELU(), nn.Linear(128, 2 * latent + width))
        self.decode = nn.Sequential(nn.Linear(latent, 128), nn.ELU(), nn.Linear(128, 784))
        self.enter = nn.ModuleList(nn.Linear(latent, width) for _ in range(3))
        self.leave = nn.ModuleList(nn.Linear(width, 2 * latent) for _ in range(3))
        degree = torch.arange(width) % (latent - 1)
        self.register_buffer("low", (degree[:, None] >= torch.arange(latent)).float())
        self.register_buffer("high", (torch.arange(latent)[:, None] > degree).float().repeat(2, 1))
        for layer in self.leave:
            init.constant_(layer.bias[latent:], 1.5)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Minus the bound, for each pixel."""
        x, latent = x.flatten(1), noise.shape[1]
        mean, spread, context = self.encode(x).split([latent, latent, 64], 1)
        z = mean + spread.exp() * noise
        dense = -(0.5 * noise.square() + spread).sum(1)
        for enter, leave in zip(self.enter, self.leave, strict=True):
            h = functional.elu(functional.linear(z, enter.weight * self.low, enter.bias) + context)
            shift, gate = functional.linear(h, leave.weight * self.high, leave.bias).chunk(2, 1)
            z = gate.sigmoid() * z + (1 - gate.sigmoid()) * shift
            dense = dense - functional.logsigmoid(gate).sum(1)
            z = z.flip(1)
        pixels = functional.binary_cross_entropy_with_logits(self.decode(z), x, reduction="none").sum(1)
        return (pixels + dense + 0.5 * z.square().sum(1)).mean() / 784


class LatentPrior(nn.Module):
    """A bootstrapped latent target: V-JEPA in small. A predictor tells the average's answer at hidden patches."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.patches, self.places = nn.Linear(49, width), nn.Parameter(torch.zeros(16, width))
        self.online = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)
        self.mask = nn.Parameter(torch.zeros(width))
        self.predict = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.out = nn.Linear(width, width)
        init.trunc_normal_(self.places, std=0.02)
        init.trunc_normal_(self.mask, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init.trunc_normal_(module.weight, std=0.02)
                init.zeros_(module.bias)
        self.average = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """The distance at hidden patches."""
        tokens = self.patches(functional.unfold(x, 7, stride=7).transpose(1, 2)) + self.places
        with torch.no_grad():
            target = functional.layer_norm(self.average(tokens), (tokens.shape[-1],))[:, 10:]
        seen = self.online(tokens[:, :10])
        hidden = (self.mask + self.places[10:]).expand(len(x), -1, -1)
        told = self.out(self.predict(torch.cat([seen, hidden], 1))[:, 10:])
        return functional.l1_loss(told, target)


def coded() -> tuple[Tensor, Tensor]:
    return 2 * digit_images(8)[0] - 1, torch.zeros(())


def digits_with(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    return digit_images(32)[0], normal(32, *shape, seed=7), torch.zeros(())


def probed() -> tuple[Tensor, Tensor, Tensor]:
    return correlated()[0], normal(64, 12, seed=9).sign(), torch.zeros(())


unseen = maker("torch", "generative", "unseen", own)
MODELS = (
    unseen("very_deep_vae", VeryDeep, lambda: digits_with(3, 8)),
    unseen("vq_gan", Codes, coded),
    unseen("ffjord", Ffjord, probed),
    unseen("inverse_flow", InverseFlow, lambda: digits_with(16)),
    unseen("joint_embedding", LatentPrior, coded),
)
