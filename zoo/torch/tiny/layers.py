"""Blocks from which the hand-made specimens are put together."""

from collections.abc import Callable

import torch

nn, F, Tensor = torch.nn, torch.nn.functional, torch.Tensor


class RMSNorm(nn.Module):
    """x / sqrt(mean(x**2) + eps) * weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class FusedAttention(nn.Module):
    """Causal attention, its three projections one linear map that is cut by chunk."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = (q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5
        hidden = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))


class FusedSwiGLU(nn.Module):
    """down(silu(gate) * up), gate and up one linear map that is cut by chunk."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class PreNormBlock(nn.Module):
    """RMSNorm before fused attention and before fused SwiGLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = RMSNorm(width), FusedAttention(width)
        self.mlp_norm, self.mlp = RMSNorm(width), FusedSwiGLU(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class PostNormBlock(nn.Module):
    """LayerNorm after each sum, as in the first transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.attention_norm = FusedAttention(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.mlp_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_norm(x + self.attention(x))
        return self.mlp_norm(x + self.mlp(x))


class Residual(nn.Module):
    """x + scale * branch(x), the scale a parameter of any shape that broadcasts."""

    def __init__(self, branch: nn.Module, scale: Tensor | None = None) -> None:
        super().__init__()
        self.branch = branch
        self.scale = None if scale is None else nn.Parameter(scale)

    def forward(self, x: Tensor) -> Tensor:
        update = self.branch(x)
        return x + (update if self.scale is None else self.scale * update)


class Highway(nn.Module):
    """gate * candidate + (1 - gate) * x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.candidate, self.gate = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.candidate(x)) + (1 - gate) * x


class SqueezeExcite(nn.Module):
    """Each channel times a gate from the means of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class Concat(nn.Module):
    """Parallel branches, one after another along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Dense(nn.Module):
    """The input and what a convolution adds to it, one after another along the channels."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(torch.relu(self.norm(x)))], dim=1)


class MixerBlock(nn.Module):
    """One perceptron along the patches, one along the channels."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.patch_norm, self.channel_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.patches, self.channels = perceptron(patches, 2 * patches), perceptron(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.patches(self.patch_norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.channel_norm(x))


class Sine(nn.Module):
    """sin(frequency * (W x + b))."""

    def __init__(self, fan_in: int, fan_out: int, frequency: float = 30.0) -> None:
        super().__init__()
        self.linear, self.frequency = nn.Linear(fan_in, fan_out), frequency

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.frequency * self.linear(x))


class StackedExperts(nn.Module):
    """Experts whose matrices are slices of two 3-D parameters, mixed by a dense softmax router."""

    def __init__(self, experts: int, width: int, hidden: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, hidden) * width**-0.5)
        self.down = nn.Parameter(torch.randn(experts, hidden, width) * hidden**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.router(x).softmax(-1)
        hidden = torch.relu(torch.bmm(x.expand(len(self.up), *x.shape), self.up))
        return torch.einsum("ebh,ehw,be->bw", hidden, self.down, weights)


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def perceptron(width: int, hidden: int) -> nn.Module:
    """Two linear maps around a GELU."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
