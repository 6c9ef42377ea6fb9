"""Encoders that learn without labels, at the initialisation that their authors state."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional, init
from torch.nn.utils import parametrizations

from zoo.model import maker
from zoo.torch.batches import images, normal, uniform
from zoo.torch.layers import conv_norm
from zoo.torch.losses import own


def small_encoder(width: int = 64) -> nn.Sequential:
    """Three convolutions with batch norms, and the mean over places."""
    layers = (conv_norm(3, 16, stride=2), conv_norm(16, 32, stride=2), conv_norm(32, width, stride=2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Dino(nn.Module):
    """DINO (2021): a student and its average, a head with a normed last layer, centred and sharpened targets."""

    def __init__(self, codes: int = 96) -> None:
        super().__init__()

        def head() -> nn.Module:
            layers = [nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 32)]
            for layer in layers[::2]:
                init.trunc_normal_(layer.weight, std=0.02)
                init.zeros_(layer.bias)
            return nn.Sequential(*layers)

        self.student = nn.Sequential(small_encoder(), head())
        self.codes = parametrizations.weight_norm(nn.Linear(32, codes, bias=False))
        self.codes.parametrizations.weight.original0.data.fill_(1)
        self.codes.parametrizations.weight.original0.requires_grad_(False)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.register_buffer("teacher_codes", self.codes.weight.detach().clone())
        self.register_buffer("centre", torch.zeros(codes))

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        """The cross-entropy of each view to the other's target."""
        views = torch.cat([one, two])
        logits = self.codes(functional.normalize(self.student(views), dim=1)) / 0.1
        with torch.no_grad():
            seen = functional.normalize(self.teacher(views), dim=1) @ self.teacher_codes.T
            target = ((seen - self.centre) / 0.04).softmax(1).chunk(2)[::-1]
        return functional.cross_entropy(logits, torch.cat(target))


class SimSiam(nn.Module):
    """SimSiam (2021): a projector with batch norms, a predictor, no gradient through the other view."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            small_encoder(width),
            *(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()),
            *(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width, affine=False)),
        )
        self.predictor = nn.Sequential(
            *(nn.Linear(width, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, width))
        )

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        """Minus the cosine of each prediction and the other view."""
        z1, z2 = self.encoder(one), self.encoder(two)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        cosine = functional.cosine_similarity
        return -0.5 * (cosine(p1, z2.detach()).mean() + cosine(p2, z1.detach()).mean())


class Vicreg(nn.Module):
    """VICReg (2022): invariance, variance and covariance of an expander's answers."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.encoder = small_encoder()
        self.expand = nn.Sequential(
            *(nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)),
            *(nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width, bias=False)),
        )

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        """The weighted sum of the three terms."""
        views = [self.expand(self.encoder(view)) for view in (one, two)]
        loss = 25 * functional.mse_loss(*views)
        for z in views:
            loss = loss + 12.5 * functional.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()
            covariance = z.T.cov()
            loss = loss + (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
        return loss


class Masked(nn.Module):
    """A masked autoencoder (2022): a quarter of the patches is seen, Xavier maps, tokens N(0, 0.02), fixed places."""

    def __init__(self, width: int = 48, narrow: int = 32) -> None:
        super().__init__()

        def blocks(size: int, depth: int) -> nn.Module:
            layer = nn.TransformerEncoderLayer(size, 4, 4 * size, 0.0, "gelu", batch_first=True, norm_first=True)
            stack = nn.TransformerEncoder(layer, depth, nn.LayerNorm(size), enable_nested_tensor=False)
            for module in stack.modules():
                if isinstance(module, nn.Linear):
                    init.xavier_uniform_(module.weight)
                    init.zeros_(module.bias)
            return stack

        self.patches = nn.Linear(48, width)
        self.token, self.mask = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(narrow))
        self.encoder, self.decoder = blocks(width, 2), blocks(narrow, 1)
        self.between, self.out = nn.Linear(width, narrow), nn.Linear(narrow, 48)
        angle = torch.arange(64)[:, None] / 10000 ** (torch.arange(width // 2) / (width // 2))
        self.register_buffer("places", torch.cat([angle.sin(), angle.cos()], 1))
        for part in (self.token, self.mask):
            init.normal_(part, std=0.02)
        for layer in (self.patches, self.between, self.out):
            init.xavier_uniform_(layer.weight)
            init.zeros_(layer.bias)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """The error of the unseen patches, each normed."""
        patches = functional.unfold(x, 4, stride=4).transpose(1, 2)
        tokens = self.patches(patches) + self.places
        kept, wide = order[:, :16], tokens.shape[-1]
        seen = tokens.gather(1, kept[..., None].expand(-1, -1, wide))
        told = self.between(self.encoder(torch.cat([self.token.expand(len(x), 1, -1), seen], 1)))
        whole = torch.cat([told[:, 1:], self.mask.expand(len(x), 48, -1)], 1)
        back = order.argsort(1)[..., None].expand(-1, -1, whole.shape[-1])
        whole = whole.gather(1, back) + self.places[:, : whole.shape[-1]]
        made = self.out(self.decoder(torch.cat([told[:, :1], whole], 1)))[:, 1:]
        target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
        unseen = order.argsort(1) >= 16
        return (made - target).square().mean(-1)[unseen].mean()


class Clip(nn.Module):
    """CLIP (2021): two towers, N(0, 0.02) tables, N(0, 0.01) places, projections N(0, 1 / width), scale 1 / 0.07."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8, bias=False)
        self.token = nn.Parameter(width**-0.5 * torch.randn(width))
        self.places = nn.Parameter(width**-0.5 * torch.randn(17, width))
        self.words, self.steps = nn.Embedding(30, width), nn.Parameter(0.01 * torch.randn(6, width))

        def tower() -> nn.Module:
            layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            return nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)

        self.enter, self.image, self.text = nn.LayerNorm(width), tower(), tower()
        self.image_out = nn.Parameter(width**-0.5 * torch.randn(width, width))
        self.text_out = nn.Parameter(width**-0.5 * torch.randn(width, width))
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        init.normal_(self.words.weight, std=0.02)
        for layer in self.text.layers:
            init.normal_(layer.self_attn.in_proj_weight, std=width**-0.5)
            init.normal_(layer.self_attn.out_proj.weight, std=width**-0.5 * 4**-0.5)
            init.normal_(layer.linear1.weight, std=(2 * width) ** -0.5)
            init.normal_(layer.linear2.weight, std=width**-0.5 * 4**-0.5)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """The contrast of pictures and their texts."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), 1, -1), x], 1) + self.places
        image = functional.normalize(self.image(self.enter(x))[:, 0] @ self.image_out, dim=-1)
        text = functional.normalize(self.text(self.words(words) + self.steps)[:, -1] @ self.text_out, dim=-1)
        logits = self.scale.exp() * image @ text.T
        target = torch.arange(len(x))
        return 0.5 * (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target))


def views() -> tuple[Tensor, Tensor, Tensor]:
    x, _ = images(32, 32)
    return (x + 0.2 * normal(*x.shape, seed=3), x.flip(3) + 0.2 * normal(*x.shape, seed=4), torch.zeros(()))


def hidden() -> tuple[Tensor, Tensor, Tensor]:
    return images(16, 32)[0], uniform(16, 64, seed=6).argsort(1), torch.zeros(())


def captioned() -> tuple[Tensor, Tensor, Tensor]:
    x, label = images(16, 32)
    return x, (label[:, None] * 3 + torch.arange(16)[:, None] + torch.arange(6)) % 30, torch.zeros(())


unseen = maker("torch", "cnn", "unseen")
viewed = maker("torch", "cnn", "unseen", own)
MODELS = (
    viewed("dino", Dino, views),
    viewed("sim_siam", SimSiam, views),
    viewed("vicreg", Vicreg, views),
    viewed("masked_autoencoder", Masked, hidden),
    viewed("clip", Clip, captioned),
)
