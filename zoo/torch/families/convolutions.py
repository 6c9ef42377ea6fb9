"""Convolutional classifiers with parts of their own: chosen kernels, split attention, generated and grouped kernels."""

import torch

from zoo.torch.families.rows import CLASSES, classifier, pixels

nn, F = torch.nn, torch.nn.functional


def cbr(i, o, k=3, s=1, g=1, act=True):
    return nn.Sequential(
        nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True) if act else nn.Identity(),
    )


class Classifier(nn.Module):
    """A stem, residual or plain blocks, the mean over places and a head."""

    def __init__(self, block, width=32, depth=3, residual=False):
        super().__init__()
        self.residual = residual
        self.stem = cbr(3, width)
        self.layers = nn.ModuleList([block(width) for _ in range(depth)])
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = x + layer(x) if self.residual else layer(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class SelectiveKernel(nn.Module):
    """Li et al. (2019), SKNet: a softmax over branches of different dilation, for each channel."""

    def __init__(self, c, m=2, r=4):
        super().__init__()
        self.m = m
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c, c, 3, padding=1 + i, dilation=1 + i, groups=8, bias=False), nn.BatchNorm2d(c), nn.ReLU()
            )
            for i in range(m)
        )
        self.fc = nn.Sequential(nn.Conv2d(c, c // r, 1, bias=False), nn.BatchNorm2d(c // r), nn.ReLU())
        self.fcs = nn.ModuleList([nn.Conv2d(c // r, c, 1) for _ in range(m)])

    def forward(self, x):
        feats = torch.stack([conv(x) for conv in self.convs], 1)
        z = self.fc(feats.sum(1).mean((2, 3), keepdim=True))
        attention = torch.cat([fc(z) for fc in self.fcs], 1).view(-1, self.m, x.size(1), 1, 1).softmax(1)
        return (feats * attention).sum(1)


class SplitAttention(nn.Module):
    """Zhang et al. (2020), ResNeSt: groups split in radix parts, weighed against each other."""

    def __init__(self, c, radix=2, groups=2):
        super().__init__()
        self.radix, self.groups = radix, groups
        self.conv = nn.Conv2d(c, c * radix, 3, padding=1, groups=groups * radix, bias=False)
        self.bn0, self.fc1 = nn.BatchNorm2d(c * radix), nn.Conv2d(c, c // 2, 1, groups=groups)
        self.bn1, self.fc2 = nn.BatchNorm2d(c // 2), nn.Conv2d(c // 2, c * radix, 1, groups=groups)
        self.out = cbr(c, c, 1, act=False)

    def forward(self, x):
        y = F.relu(self.bn0(self.conv(x)))
        b, rc = y.shape[:2]
        parts = torch.split(y, rc // self.radix, 1)
        gap = F.adaptive_avg_pool2d(sum(parts), 1)
        a = self.fc2(F.relu(self.bn1(self.fc1(gap))))
        a = F.softmax(a.view(b, self.groups, self.radix, -1).transpose(1, 2), dim=1).reshape(b, -1, 1, 1)
        y = sum(w * p for w, p in zip(torch.split(a, rc // self.radix, 1), parts, strict=True))
        return F.relu(self.out(y) + x)


class CBAM(nn.Module):
    """Woo et al. (2018): attention of channels by a shared perceptron, then of places."""

    def __init__(self, c, r=4):
        super().__init__()
        self.conv1, self.conv2 = cbr(c, c), cbr(c, c, act=False)
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(c, c // r), nn.ReLU(), nn.Linear(c // r, c))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        y = self.conv2(self.conv1(x))
        channel = self.mlp(F.avg_pool2d(y, y.shape[2:])) + self.mlp(F.max_pool2d(y, y.shape[2:]))
        y = y * torch.sigmoid(channel)[:, :, None, None]
        pooled = torch.cat([y.max(1).values.unsqueeze(1), y.mean(1).unsqueeze(1)], dim=1)
        return F.relu(x + y * torch.sigmoid(self.spatial(pooled)))


class Coordinate(nn.Module):
    """Hou et al. (2021): gates of rows and of columns from one shared map; an inverted residual around it."""

    def __init__(self, c, t=2, r=8):
        super().__init__()
        h = c * t
        self.expand, self.dw = cbr(c, h, 1), cbr(h, h, g=h)
        self.conv1, self.bn1 = nn.Conv2d(h, r, 1), nn.BatchNorm2d(r)
        self.conv_h, self.conv_w = nn.Conv2d(r, h, 1), nn.Conv2d(r, h, 1)
        self.project = cbr(h, c, 1, act=False)

    def forward(self, x):
        y = self.dw(self.expand(x))
        n, w = y.shape[2:]
        z = torch.cat([y.mean(3, keepdim=True), y.mean(2, keepdim=True).permute(0, 1, 3, 2)], dim=2)
        z_h, z_w = torch.split(F.hardswish(self.bn1(self.conv1(z))), [n, w], dim=2)
        y = y * self.conv_w(z_w.permute(0, 1, 3, 2)).sigmoid() * self.conv_h(z_h).sigmoid()
        return self.project(y)


class CondConv(nn.Module):
    """Yang et al. (2019): a kernel for every example, a mix of experts, run as one grouped convolution."""

    def __init__(self, c, experts=3):
        super().__init__()
        self.routing = nn.Linear(c, experts)
        self.weight = nn.Parameter(torch.empty(experts, c, c, 3, 3))
        for w in self.weight:
            nn.init.kaiming_normal_(w)
        self.bn = nn.BatchNorm2d(c)

    def forward(self, x):
        b, c, h, w = x.shape
        route = torch.sigmoid(self.routing(x.mean((2, 3))))
        kernel = (route @ self.weight.view(len(self.weight), -1)).view(b * c, c, 3, 3)
        y = F.conv2d(x.reshape(1, b * c, h, w), kernel, padding=1, groups=b)
        return F.relu(self.bn(y.view(b, c, h, w)))


class Involution(nn.Module):
    """Li et al. (2021): a kernel for every place from its own features, shared over a group of channels; by unfold."""

    def __init__(self, c, k=3, groups=4):
        super().__init__()
        self.k, self.groups = k, groups
        self.reduce, self.span = cbr(c, c // 4, 1), nn.Conv2d(c // 4, k * k * groups, 1)
        self.norm = nn.BatchNorm2d(c)

    def forward(self, x):
        b, c, h, w = x.shape
        kernel = self.span(self.reduce(x)).view(b, self.groups, 1, self.k**2, h, w)
        patches = F.unfold(x, self.k, padding=self.k // 2).view(b, self.groups, c // self.groups, self.k**2, h, w)
        return F.relu(self.norm((kernel * patches).sum(3).view(b, c, h, w)))


class Octave(nn.Module):
    """Chen et al. (2019): a high and a low frequency half that exchange maps."""

    def __init__(self, width=32, depth=3):
        super().__init__()
        half = width // 2
        self.stem = cbr(3, width)
        self.pairs = nn.ModuleList()
        for _ in range(depth):
            maps = {name: nn.Conv2d(half, half, 3, padding=1, bias=False) for name in ("hh", "hl", "lh", "ll")}
            self.pairs.append(nn.ModuleDict({**maps, "bn_h": nn.BatchNorm2d(half), "bn_l": nn.BatchNorm2d(half)}))
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        h, low = x.chunk(2, 1)
        low = F.avg_pool2d(low, 2)
        for p in self.pairs:
            up = F.interpolate(p["lh"](low), scale_factor=2, mode="nearest")
            h, low = p["hh"](h) + up, p["ll"](low) + p["hl"](F.avg_pool2d(h, 2))
            h, low = F.relu(p["bn_h"](h)), F.relu(p["bn_l"](low))
        return self.fc(torch.cat([h.mean((2, 3)), low.mean((2, 3))], 1))


class Rotations(nn.Module):
    """Cohen and Welling (2016), p4 group convolutions: a filter is turned four times before it is used."""

    def __init__(self, width=12, depth=3):
        super().__init__()
        self.lift = nn.Parameter(torch.empty(width, 3, 3, 3))
        self.group = nn.ParameterList([nn.Parameter(torch.empty(width, width, 4, 3, 3)) for _ in range(depth)])
        for w in [self.lift, *self.group]:
            nn.init.kaiming_uniform_(w, a=5**0.5)
        self.norms = nn.ModuleList([nn.BatchNorm3d(width) for _ in range(depth + 1)])
        self.out = nn.Linear(width, CLASSES)

    def forward(self, x):
        w = torch.stack([torch.rot90(self.lift, r, (2, 3)) for r in range(4)], 1).flatten(0, 1)
        x = F.conv2d(x, w, padding=1).unflatten(1, (-1, 4))
        x = F.relu(self.norms[0](x))
        for weight, norm in zip(self.group, self.norms[1:], strict=True):
            turned = [torch.rot90(torch.roll(weight, r, 2), r, (3, 4)) for r in range(4)]
            w = torch.stack(turned, 1).flatten(0, 1).flatten(1, 2)
            x = F.relu(norm(F.conv2d(x.flatten(1, 2), w, padding=1).unflatten(1, (-1, 4))))
        return self.out(x.amax(2).mean((2, 3)))


class DualPath(nn.Module):
    """Chen et al. (2017), DPN: one part of the output is added, the other is appended."""

    def __init__(self, width=32, grow=8, depth=4):
        super().__init__()
        self.width = width
        self.stem = nn.Conv2d(3, width + grow, 3, padding=1)
        blocks = []
        for i in range(depth):
            i_width = width + grow * (i + 1)
            blocks.append(
                nn.Sequential(
                    nn.BatchNorm2d(i_width),
                    nn.ReLU(),
                    nn.Conv2d(i_width, 32, 1, bias=False),
                    nn.BatchNorm2d(32),
                    nn.ReLU(),
                    nn.Conv2d(32, width + grow, 3, padding=1, groups=8, bias=False),
                )
            )
        self.blocks = nn.ModuleList(blocks)
        self.tail = nn.Sequential(nn.BatchNorm2d(width + grow * (depth + 1)), nn.ReLU())
        self.classifier = nn.Conv2d(width + grow * (depth + 1), CLASSES, 1)

    def forward(self, x):
        x = self.stem(x)
        resid, dense = x[:, : self.width], x[:, self.width :]
        for block in self.blocks:
            y = block(torch.cat([resid, dense], dim=1))
            resid = resid + y[:, : self.width]
            dense = torch.cat([dense, y[:, self.width :]], dim=1)
        x = self.tail(torch.cat([resid, dense], dim=1))
        return self.classifier(x.mean((2, 3), keepdim=True)).flatten(1)


class Fractal(nn.Module):
    """Larsson et al. (2017): a column is joined with two of its halves by their mean."""

    def __init__(self, c, columns=3):
        super().__init__()
        self.conv = cbr(c, c)
        self.deeper = nn.ModuleList([Fractal(c, columns - 1), Fractal(c, columns - 1)]) if columns > 1 else None

    def forward(self, x):
        y = self.conv(x)
        if self.deeper is None:
            return y
        return torch.stack([y, self.deeper[1](self.deeper[0](x))]).mean(0)


class PartialConv(nn.Module):
    """Chen et al. (2023), FasterNet: a quarter of the channels convolved, written in place, then a perceptron."""

    def __init__(self, c):
        super().__init__()
        self.part = c // 4
        self.conv = nn.Conv2d(self.part, self.part, 3, padding=1, bias=False)
        self.mlp = nn.Sequential(
            nn.Conv2d(c, 2 * c, 1, bias=False), nn.BatchNorm2d(2 * c), nn.ReLU(), nn.Conv2d(2 * c, c, 1, bias=False)
        )

    def forward(self, x):
        y = x.clone()
        y[:, : self.part, :, :] = self.conv(x[:, : self.part, :, :])
        return self.mlp(y)


class Star(nn.Module):
    """Ma et al. (2024), StarNet: two maps multiplied, without another nonlinearity than ReLU6 on one of them."""

    def __init__(self, c):
        super().__init__()
        self.dw, self.dw2 = cbr(c, c, 7, g=c, act=False), nn.Conv2d(c, c, 7, padding=3, groups=c)
        self.f1, self.f2, self.g = nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, 3 * c, 1), cbr(3 * c, c, 1, act=False)

    def forward(self, x):
        y = self.dw(x)
        return self.dw2(self.g(F.relu6(self.f1(y)) * self.f2(y)))


class LargeKernel(nn.Module):
    """Guo et al. (2022), VAN: attention decomposed into depthwise, dilated and pointwise convolutions; layer scales."""

    def __init__(self, c):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)
        self.proj_1, self.proj_2 = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.conv0, self.conv1 = nn.Conv2d(c, c, 5, padding=2, groups=c), nn.Conv2d(c, c, 1)
        self.spatial = nn.Conv2d(c, c, 7, padding=9, groups=c, dilation=3)
        self.fc1, self.dw, self.fc2 = (
            nn.Conv2d(c, 2 * c, 1),
            nn.Conv2d(2 * c, 2 * c, 3, 1, 1, groups=2 * c),
            nn.Conv2d(2 * c, c, 1),
        )
        self.gamma1, self.gamma2 = nn.Parameter(1e-2 * torch.ones(c)), nn.Parameter(1e-2 * torch.ones(c))

    def forward(self, x):
        y = F.gelu(self.proj_1(self.norm1(x)))
        y = self.proj_2(y * self.conv1(self.spatial(self.conv0(y)))) + self.norm1(x)
        x = x + self.gamma1[:, None, None] * y
        return x + self.gamma2[:, None, None] * self.fc2(F.gelu(self.dw(self.fc1(self.norm2(x)))))


class GatedConv(nn.Module):
    """Rao et al. (2022), HorNet: products of rising order of depthwise features, recursively."""

    def __init__(self, c, order=3):
        super().__init__()
        self.dims = [c // 2**i for i in range(order)][::-1]
        self.norm, self.proj_in = nn.GroupNorm(1, c), nn.Conv2d(c, 2 * c, 1)
        self.dwconv = nn.Conv2d(sum(self.dims), sum(self.dims), 7, padding=3, groups=sum(self.dims))
        self.pws = nn.ModuleList([nn.Conv2d(self.dims[i], self.dims[i + 1], 1) for i in range(order - 1)])
        self.proj_out, self.scale = nn.Conv2d(c, c, 1), 1 / 3

    def forward(self, x):
        fused = self.proj_in(self.norm(x))
        pwa, abc = torch.split(fused, (self.dims[0], sum(self.dims)), dim=1)
        parts = torch.split(self.dwconv(abc) * self.scale, self.dims, dim=1)
        y = pwa * parts[0]
        for pw, part in zip(self.pws, parts[1:], strict=True):
            y = pw(y) * part
        return self.proj_out(y)


class Deformable(nn.Module):
    """Dai et al. (2017): offsets from a convolution that starts at zero, samples taken by bilinear interpolation."""

    def __init__(self, c, k=3):
        super().__init__()
        self.k, self.offset = k, nn.Conv2d(c, 2 * k * k, 3, padding=1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        self.weight, self.bn = nn.Parameter(torch.empty(c, c, k * k)), nn.BatchNorm2d(c)
        nn.init.kaiming_uniform_(self.weight)

    def forward(self, x):
        b, c, h, w = x.shape
        off = self.offset(x).view(b, self.k**2, 2, h, w).permute(0, 1, 3, 4, 2) * (2 / h)
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        step = torch.arange(self.k) - self.k // 2
        near = torch.stack(torch.meshgrid(step, step, indexing="xy"), -1).view(1, -1, 1, 1, 2) * 2 / h
        grid = torch.stack([xs, ys], -1) + near + off
        samples = F.grid_sample(x, grid.flatten(1, 2), align_corners=True).view(b, c, self.k**2, h, w)
        return F.relu(self.bn(torch.einsum("bckhw,ock->bohw", samples, self.weight)))


MODELS = (
    classifier("selective_kernels", "cnn", lambda: Classifier(SelectiveKernel), pixels),
    classifier("res_nest", "cnn", lambda: Classifier(SplitAttention), pixels, blocks=r"layers\.\d+"),
    classifier("cbam", "cnn", lambda: Classifier(CBAM), pixels, blocks=r"layers\.\d+"),
    classifier("coordinate_attention", "cnn", lambda: Classifier(Coordinate, 16, 3, True), pixels),
    classifier("cond_conv", "cnn", lambda: Classifier(CondConv, 16), pixels),
    classifier("involution", "cnn", lambda: Classifier(Involution), pixels),
    classifier("octave", "cnn", Octave, pixels),
    classifier("rotation_equivariant", "cnn", Rotations, pixels),
    classifier("dual_path", "cnn", DualPath, pixels),
    classifier("fractal", "cnn", lambda: Classifier(Fractal, 16, 2), pixels),
    classifier("faster_net", "cnn", lambda: Classifier(PartialConv, 32, 4, True), pixels),
    classifier("star_net", "cnn", lambda: Classifier(Star, 16, 4, True), pixels),
    classifier("visual_attention", "cnn", lambda: Classifier(LargeKernel, 24, 4), pixels, blocks=r"layers\.\d+"),
    classifier("hor_net", "cnn", lambda: Classifier(GatedConv, 32, 4, True), pixels),
    classifier("deformable", "cnn", lambda: Classifier(Deformable, 16), pixels),
)
