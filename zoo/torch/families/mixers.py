"""What mixes tokens without attention: maps across places, shifts, and products of spectra."""

import torch

from zoo.torch.families.rows import CLASSES, classifier, pixels

nn, F = torch.nn, torch.nn.functional


class Affine(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(dim))
        self.beta = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return self.alpha * x + self.beta


class ResMLPBlock(nn.Module):
    def __init__(self, dim, tokens, init=0.1):
        super().__init__()
        self.aff1, self.aff2 = Affine(dim), Affine(dim)
        self.linear_tokens = nn.Linear(tokens, tokens)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.scale1 = nn.Parameter(init * torch.ones(dim))
        self.scale2 = nn.Parameter(init * torch.ones(dim))

    def forward(self, x):
        x = x + self.scale1 * self.linear_tokens(self.aff1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.scale2 * self.mlp(self.aff2(x))


class ResMLP(nn.Module):
    """Touvron et al. (2021): affine maps in place of norms, one map across patches."""

    def __init__(self, dim=32, depth=4):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, stride=4)
        self.blocks = nn.ModuleList([ResMLPBlock(dim, 16) for _ in range(depth)])
        self.aff = Affine(dim)
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.aff(x).mean(1))


def spatial_shift(x):
    _, w, h, c = x.size()
    x[:, 1:, :, : c // 4] = x[:, : w - 1, :, : c // 4].clone()
    x[:, : w - 1, :, c // 4 : c // 2] = x[:, 1:, :, c // 4 : c // 2].clone()
    x[:, :, 1:, c // 2 : c * 3 // 4] = x[:, :, : h - 1, c // 2 : c * 3 // 4].clone()
    x[:, :, : h - 1, 3 * c // 4 :] = x[:, :, 1:, 3 * c // 4 :].clone()
    return x


class S2Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.fc1, self.fc2 = nn.Linear(d, d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x):
        y = F.gelu(self.fc1(self.norm1(x)))
        x = self.fc2(spatial_shift(y)) + x
        return self.mlp(self.norm2(x)) + x


class S2MLP(nn.Module):
    """Yu et al. (2021): a quarter of the channels moves a step each way, by writing in place."""

    def __init__(self, d=32, depth=4):
        super().__init__()
        self.stem = nn.Conv2d(3, d, 2, 2)
        self.stages = nn.Sequential(*[S2Block(d) for _ in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, CLASSES))

    def forward(self, x):
        return self.head(self.stages(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2)))


class PermuteMLP(nn.Module):
    def __init__(self, dim, segments=4):
        super().__init__()
        self.segments = segments
        self.mlp_c, self.mlp_h, self.mlp_w = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.reweight = nn.Sequential(nn.Linear(dim, dim // 4), nn.GELU(), nn.Linear(dim // 4, 3 * dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, h, w, c = x.shape
        s = c // self.segments
        up = x.reshape(b, h, w, self.segments, s).permute(0, 3, 2, 1, 4).reshape(b, self.segments, w, h * s)
        up = self.mlp_h(up).reshape(b, self.segments, w, h, s).permute(0, 3, 2, 1, 4).reshape(b, h, w, c)
        side = x.reshape(b, h, w, self.segments, s).permute(0, 1, 3, 2, 4).reshape(b, h, self.segments, w * s)
        side = self.mlp_w(side).reshape(b, h, self.segments, w, s).permute(0, 1, 3, 2, 4).reshape(b, h, w, c)
        deep = self.mlp_c(x)
        a = (up + side + deep).permute(0, 3, 1, 2).flatten(2).mean(2)
        a = self.reweight(a).reshape(b, c, 3).permute(2, 0, 1).softmax(dim=0).unsqueeze(2).unsqueeze(2)
        return self.proj(up * a[0] + side * a[1] + deep * a[2])


class Permutator(nn.Module):
    """Hou et al. (2021), Vision Permutator: maps along height, width and depth, weighed by a softmax."""

    def __init__(self, dim=32, depth=3):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, 4)
        norm = lambda: nn.LayerNorm(dim)
        self.mix = nn.ModuleList([nn.Sequential(norm(), PermuteMLP(dim)) for _ in range(depth)])
        mlp = lambda: nn.Sequential(norm(), nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim))
        self.mlp = nn.ModuleList([mlp() for _ in range(depth)])
        self.norm, self.head = norm(), nn.Linear(dim, CLASSES)

    def forward(self, x):
        x = self.patch(x).permute(0, 2, 3, 1)
        for mix, mlp in zip(self.mix, self.mlp, strict=True):
            x = x + mix(x)
            x = x + mlp(x)
        return self.head(self.norm(x.flatten(1, 2).mean(1)))


class AFNO(nn.Module):
    """Guibas et al. (2022): complex perceptrons in blocks of channels at every frequency, soft-shrunk."""

    def __init__(self, dim, blocks=4):
        super().__init__()
        self.blocks, self.size = blocks, dim // blocks
        self.w1 = nn.Parameter(0.02 * torch.randn(2, blocks, self.size, self.size))
        self.b1 = nn.Parameter(0.02 * torch.randn(2, blocks, self.size))
        self.w2 = nn.Parameter(0.02 * torch.randn(2, blocks, self.size, self.size))
        self.b2 = nn.Parameter(0.02 * torch.randn(2, blocks, self.size))

    def forward(self, x):
        b, h, w, c = x.shape
        z = torch.fft.rfft2(x, dim=(1, 2), norm="ortho").reshape(b, h, w // 2 + 1, self.blocks, self.size)

        def mul(a, weight):
            return torch.einsum("...bi,bio->...bo", a, weight)

        re = F.relu(mul(z.real, self.w1[0]) - mul(z.imag, self.w1[1]) + self.b1[0])
        im = F.relu(mul(z.imag, self.w1[0]) + mul(z.real, self.w1[1]) + self.b1[1])
        re2 = mul(re, self.w2[0]) - mul(im, self.w2[1]) + self.b2[0]
        im2 = mul(im, self.w2[0]) + mul(re, self.w2[1]) + self.b2[1]
        z = torch.view_as_complex(F.softshrink(torch.stack([re2, im2], dim=-1), 0.01))
        return torch.fft.irfft2(z.reshape(b, h, w // 2 + 1, c), s=(h, w), dim=(1, 2), norm="ortho") + x


class GlobalFilter(nn.Module):
    """Rao et al. (2021), GFNet: one complex factor for every channel and frequency."""

    def __init__(self, dim, h=4, w=3):
        super().__init__()
        self.complex_weight = nn.Parameter(torch.randn(h, w, dim, 2) * 0.02)

    def forward(self, x):
        h, w = x.shape[1:3]
        x = torch.fft.rfft2(x, dim=(1, 2), norm="ortho")
        x = x * torch.view_as_complex(self.complex_weight)
        return torch.fft.irfft2(x, s=(h, w), dim=(1, 2), norm="ortho")


class Spectral(nn.Module):
    """Blocks of a spectral mixer and a perceptron."""

    def __init__(self, mixer, dim=32, depth=3):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.pos = nn.Parameter(torch.zeros(1, 4, 4, dim))
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2 * depth + 1)])
        self.mixers = nn.ModuleList([mixer(dim) for _ in range(depth)])
        self.up = nn.ModuleList([nn.Linear(dim, 2 * dim) for _ in range(depth)])
        self.down = nn.ModuleList([nn.Linear(2 * dim, dim) for _ in range(depth)])
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, x):
        x = self.embed(x).movedim(1, -1) + self.pos
        for i, mixer in enumerate(self.mixers):
            x = x + self.down[i](F.gelu(self.up[i](self.norms[2 * i + 1](mixer(self.norms[2 * i](x))))))
        return self.head(self.norms[-1](x).mean(dim=(1, 2)))


class PATM(nn.Module):
    """Tang et al. (2022), Wave-MLP: tokens as waves, an amplitude and a phase from the data."""

    def __init__(self, dim):
        super().__init__()
        self.fc_h, self.fc_w = (nn.Conv2d(dim, dim, 1, bias=False) for _ in range(2))
        self.fc_c, self.proj = nn.Conv2d(dim, dim, 1, bias=False), nn.Conv2d(dim, dim, 1)
        self.tfc_h = nn.Conv2d(2 * dim, dim, (1, 7), padding=(0, 3), groups=dim, bias=False)
        self.tfc_w = nn.Conv2d(2 * dim, dim, (7, 1), padding=(3, 0), groups=dim, bias=False)
        self.theta_h, self.theta_w = (
            nn.Sequential(nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim), nn.ReLU()) for _ in range(2)
        )

    def forward(self, x):
        theta_h, theta_w = self.theta_h(x), self.theta_w(x)
        x_h, x_w = self.fc_h(x), self.fc_w(x)
        h = self.tfc_h(torch.cat([x_h * torch.cos(theta_h), x_h * torch.sin(theta_h)], dim=1))
        w = self.tfc_w(torch.cat([x_w * torch.cos(theta_w), x_w * torch.sin(theta_w)], dim=1))
        return self.proj(h + w + self.fc_c(x))


class WaveMLP(nn.Module):
    """Two stages, batch norms before the branches."""

    def __init__(self, widths=(16, 32), depths=(2, 2)):
        super().__init__()
        layers, last = [], 3
        for width, depth in zip(widths, depths, strict=True):
            layers.append(nn.Conv2d(last, width, 2, 2))
            layers.extend(self.block(width) for _ in range(depth))
            last = width
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(last, CLASSES)

    @staticmethod
    def block(width):
        mlp = nn.Sequential(nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1))
        return nn.ModuleDict({"n1": nn.BatchNorm2d(width), "mix": PATM(width), "n2": nn.BatchNorm2d(width), "mlp": mlp})

    def forward(self, x):
        for layer in self.layers:
            if isinstance(layer, nn.ModuleDict):
                x = x + layer["mix"](layer["n1"](x))
                x = x + layer["mlp"](layer["n2"](x))
            else:
                x = layer(x)
        return self.head(x.mean([2, 3]))


class AxialShift(nn.Module):
    """Lian et al. (2022), AS-MLP: groups of channels rolled along one axis at a time."""

    def __init__(self, dim, shift=3):
        super().__init__()
        self.shift = shift
        self.conv1, self.conv2_1, self.conv2_2, self.conv3 = (nn.Conv2d(dim, dim, 1) for _ in range(4))
        self.norm1, self.norm2 = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)

    def rolled(self, x, axis):
        groups = torch.chunk(x, self.shift, 1)
        steps = range(-(self.shift // 2), self.shift // 2 + 1)
        return torch.cat([torch.roll(g, s, axis) for g, s in zip(groups, steps, strict=True)], 1)

    def forward(self, x):
        x = F.gelu(self.norm1(self.conv1(x)))
        x = F.gelu(self.conv2_1(self.rolled(x, 3))) + F.gelu(self.conv2_2(self.rolled(x, 2)))
        return self.conv3(self.norm2(x))


class ASMLP(nn.Module):
    def __init__(self, dim=24, depth=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dim, 2, 2), nn.GroupNorm(1, dim))
        self.norms = nn.ModuleList(nn.GroupNorm(1, dim) for _ in range(2 * depth))
        self.shifts = nn.ModuleList(AxialShift(dim) for _ in range(depth))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, 96, 1), nn.GELU(), nn.Conv2d(96, dim, 1)) for _ in range(depth)
        )
        self.last = nn.Sequential(nn.GroupNorm(1, dim), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, CLASSES))

    def forward(self, x):
        x = self.stem(x)
        for i, (shift, mlp) in enumerate(zip(self.shifts, self.mlps, strict=True)):
            x = x + shift(self.norms[2 * i](x))
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.last(x)


MODELS = (
    classifier("res_mlp", "transformer", ResMLP, pixels, blocks=r"blocks\.\d+"),
    classifier("s2_mlp", "transformer", S2MLP, pixels, blocks=r"stages\.\d+"),
    classifier("vision_permutator", "transformer", Permutator, pixels),
    classifier("afno", "transformer", lambda: Spectral(AFNO), pixels),
    classifier("gf_net", "transformer", lambda: Spectral(GlobalFilter), pixels),
    classifier("wave_mlp", "transformer", WaveMLP, pixels),
    classifier("as_mlp", "transformer", ASMLP, pixels),
)
