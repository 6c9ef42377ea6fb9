"""Hand-made networks that are more than a sequence of blocks."""

import torch

from zoo.torch.tiny.batches import CLASSES, VOCABULARY

nn, F, Tensor = torch.nn, torch.nn.functional, torch.Tensor
checkpoint = torch.utils.checkpoint.checkpoint


class SharedTwice(nn.Module):
    """One linear module at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.head = nn.Linear(32, 48), nn.Linear(48, 48), nn.Linear(48, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.head(torch.relu(self.shared(torch.relu(self.shared(x)))))


class Functional(nn.Module):
    """Bare parameters: F.linear with (out, in), a matrix product with (in, out), an einsum with (out, in)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(48, 32) * 32**-0.5)
        self.bias = nn.Parameter(torch.zeros(48))
        self.w = nn.Parameter(torch.randn(48, 40) * 48**-0.5)
        self.head = nn.Parameter(torch.randn(CLASSES, 40) * 40**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(F.linear(x, self.weight, self.bias))
        return torch.einsum("bi,oi->bo", torch.relu(x @ self.w), self.head)


class Positive(nn.Module):
    """A parametrization: weights that stay positive."""

    def forward(self, raw: Tensor) -> Tensor:
        return F.softplus(raw)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return torch.log(torch.expm1(weight.abs().clamp_min(1e-4)))


class LanguageModel(nn.Module):
    """Token and position embeddings, blocks, a norm and a head, whose matrix may be that of the embedding."""

    def __init__(self, blocks: list[nn.Module], norm: nn.Module, *, width: int = 32, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(torch.randn(32, width) * 0.02)
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class UNet(nn.Module):
    """Down by a stride, on by a depthwise and a pointwise convolution, up by a transposed one, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 32, 1), nn.ReLU())
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.merge = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Conv2d(16, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.enter(x)
        x = self.up(self.middle(self.down(skip)))
        return self.head(self.merge(torch.cat([x, skip], dim=1)))


class BilinearPair(nn.Module):
    """nn.Bilinear on two views of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(32, 12), nn.Linear(32, 8)
        self.bilinear, self.head = nn.Bilinear(12, 8, 24), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.bilinear(torch.tanh(self.left(x)), torch.tanh(self.right(x)))))


class Bag(nn.Module):
    """The mean of the tokens' embeddings, and a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(VOCABULARY, 32, mode="mean")
        self.hidden, self.head = nn.Linear(32, 48), nn.Linear(48, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.bag(tokens))))


class GatedLinear(nn.Module):
    """F.glu after each linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(32, 96), nn.Linear(48, 96), nn.Linear(48, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.glu(self.second(F.glu(self.first(x)))))


class WithUnused(nn.Module):
    """A mask token that forward adds only on demand, and a head that training dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(32))
        self.body, self.head, self.old_head = nn.Linear(32, 48), nn.Linear(48, CLASSES), nn.Linear(48, CLASSES)

    def forward(self, x: Tensor, masked: Tensor | None = None) -> Tensor:
        if masked is not None:
            x = torch.where(masked[:, None], self.mask_token, x)
        return self.head(torch.relu(self.body(x)))


class Scaled(nn.Module):
    """Weights of variance 1 that forward scales, and one matrix made of two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(48, 32))
        self.left, self.right = nn.Parameter(torch.randn(24, 48)), nn.Parameter(torch.randn(24, 48))
        self.head = nn.Linear(48, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(F.linear(x, self.weight * (2 / 32) ** 0.5))
        joined = torch.cat([self.left, self.right])
        return self.head(torch.relu(x @ joined.t() * (2 / 48) ** 0.5))


class LowRank(nn.Module):
    """A frozen linear map and a trained correction of rank 4, whose second factor starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.head = nn.Linear(32, 48).requires_grad_(False), nn.Linear(48, CLASSES)
        self.down, self.up = nn.Linear(32, 4, bias=False), nn.Linear(4, 48, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.base(x) + self.up(self.down(x))))


class Fourier(nn.Module):
    """A complex matrix at each of the lowest frequencies, beside a convolution of kernel 1."""

    def __init__(self, width: int, frequencies: int) -> None:
        super().__init__()
        shape = (frequencies, width, width)
        self.spectral = nn.Parameter(torch.randn(shape, dtype=torch.cfloat) * width**-0.5)
        self.pointwise = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x, norm="ortho")
        low = torch.einsum("bif,fio->bof", spectrum[..., : len(self.spectral)], self.spectral)
        low = F.pad(low, (0, spectrum.shape[-1] - low.shape[-1]))
        return F.gelu(torch.fft.irfft(low, x.shape[-1], norm="ortho") + self.pointwise(x))


class InPlace(nn.Module):
    """Activations and sums in place, and a block that backward runs again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(32, 48), nn.Linear(48, 48), nn.Linear(48, 48)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(48, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        update = self.second(x).mul_(0.5)
        update += x
        return self.head(checkpoint(self.third, update, use_reentrant=False).relu_())
