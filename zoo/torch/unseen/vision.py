"""Detectors and classifiers of pictures, at the initialisation that their authors state."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import images, photos, uniform
from zoo.torch.layers import conv_norm
from zoo.torch.losses import own


class Fcos(nn.Module):
    """FCOS (2019): towers with group norms N(0, 0.01), a prior of 0.01, a learned scale of each level's distances."""

    def __init__(self, width: int = 32, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(3, 16, stride=2), conv_norm(16, width, stride=2))
        self.deeper = conv_norm(width, width, stride=2)
        self.lateral = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2))

        def tower() -> list[nn.Module]:
            return [
                part
                for _ in range(4)
                for part in (nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU())
            ]

        self.classes_tower, self.box_tower = nn.Sequential(*tower()), nn.Sequential(*tower())
        self.classes = nn.Conv2d(width, classes, 3, padding=1)
        self.box, self.centre = nn.Conv2d(width, 4, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(2))
        for part in (self.classes_tower, self.box_tower, self.classes, self.box, self.centre):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    init.normal_(module.weight, std=0.01)
                    init.zeros_(module.bias)
        init.constant_(self.classes.bias, -math.log(99))
        for layer in self.lateral:
            init.kaiming_uniform_(layer.weight, a=1)
            init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classes, distances to the four sides and centredness at every place."""
        near = self.body(x)
        far = self.deeper(near)
        low = self.lateral[1](far)
        levels = (self.lateral[0](near) + functional.interpolate(low, scale_factor=2), low)
        out = []
        for scale, level in zip(self.scales, levels, strict=True):
            box = self.box_tower(level)
            parts = (self.classes(self.classes_tower(level)), (scale * self.box(box)).exp(), self.centre(box))
            out.append([part.flatten(2) for part in parts])
        classes, sides, centre = (torch.cat(parts, 2) for parts in zip(*out, strict=True))
        return classes, sides, centre


def fcos_loss(output: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
    """Focal loss, intersection over union of the sides and centredness, at the places of objects."""
    logits, sides, centre = output
    there = target[:, 0] > 0
    truth = functional.one_hot(target[:, 0].long(), logits.shape[1] + 1)[..., 1:].transpose(1, 2).float()
    chance = logits.sigmoid()
    right = torch.where(truth > 0, chance, 1 - chance)
    focal = -(torch.where(truth > 0, 0.25, 0.75) * (1 - right) ** 2 * right.clamp(min=1e-6).log()).sum()
    wanted = target[:, 1:5]
    area = lambda box: (box[:, 0] + box[:, 2]) * (box[:, 1] + box[:, 3])  # noqa: E731
    common = area(torch.minimum(sides, wanted))
    iou = (common + 1) / (area(sides) + area(wanted) - common + 1)
    middle = functional.binary_cross_entropy_with_logits(centre[:, 0], target[:, 5], reduction="none")
    return (focal - (iou.log() * there).sum() + (middle * there).sum()) / there.sum()


class Detr(nn.Module):
    """DETR (2020): learned queries that are added to zeros in every layer, Xavier uniform, boxes through a sigmoid."""

    def __init__(self, width: int = 48, queries: int = 6, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(3, 16, stride=2), conv_norm(16, 32, stride=2), conv_norm(32, 64, stride=2))
        self.project = nn.Conv2d(64, width, 1)
        self.transformer = nn.Transformer(width, 4, 2, 2, 2 * width, 0.0, batch_first=True)
        self.rows, self.columns = (nn.Parameter(torch.rand(8, width // 2)) for _ in range(2))
        self.queries = nn.Embedding(queries, width)
        self.classes, self.box = (
            nn.Linear(width, classes + 1),
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and boxes of each query."""
        x = self.project(self.body(x))
        high, wide = x.shape[2:]
        places = torch.cat(
            [
                self.columns[:wide].unsqueeze(0).repeat(high, 1, 1),
                self.rows[:high].unsqueeze(1).repeat(1, wide, 1),
            ],
            -1,
        ).flatten(0, 1)
        queries = self.queries.weight.unsqueeze(0).expand(len(x), -1, -1)
        states = self.transformer(places + 0.1 * x.flatten(2).transpose(1, 2), queries)
        return self.classes(states), self.box(states).sigmoid()


def set_loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    """Classes and boxes of queries that are matched in order; nothing weighs a tenth."""
    logits, boxes = output
    labels = target[..., 0].long()
    weights = torch.tensor([0.1, *[1.0] * (logits.shape[-1] - 1)])
    classes = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), weights)
    there = (labels > 0)[..., None]
    return classes + 5 * ((boxes - target[..., 1:]).abs() * there).sum() / there.sum()


class Yolo(nn.Module):
    """YOLOv5's blocks and head: cross-stage parts, SiLU, pools in a row, biases of a prior (Ultralytics 2020)."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()

        def conv(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Module:
            return conv_norm(before, after, kernel, nn.SiLU, stride=stride)

        self.enter = nn.Sequential(conv(3, 16, 6, 2), conv(16, 32, 3, 2))
        self.left, self.right = conv(32, 16, 1), conv(32, 16, 1)
        self.steps = nn.ModuleList(nn.Sequential(conv(16, 16, 1), conv(16, 16)) for _ in range(2))
        self.join = conv(32, 32, 1)
        self.pool, self.after = nn.MaxPool2d(5, 1, 2), conv(64, 32, 1)
        self.before = conv(32, 16, 1)
        self.out = nn.Conv2d(32, 3 * (5 + classes), 1)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = 1e-3, 0.03
        bias = self.out.bias.detach().view(3, -1)
        bias[:, 4] += math.log(8 / (640 / 8) ** 2)
        bias[:, 5:] += math.log(0.6 / (classes - 0.99999))

    def forward(self, x: Tensor) -> Tensor:
        """Boxes, objectness and classes of three anchors at every place."""
        x = self.enter(x)
        y = self.left(x)
        for step in self.steps:
            y = y + step(y)
        x = self.before(self.join(torch.cat([y, self.right(x)], 1)))
        pools = [x, self.pool(x)]
        pools.append(self.pool(pools[1]))
        pools.append(self.pool(pools[2]))
        return self.out(self.after(torch.cat(pools, 1))).unflatten(1, (3, -1)).movedim(2, -1)


def yolo_loss(output: Tensor, target: Tensor) -> Tensor:
    """Boxes and classes where there are objects, objectness everywhere."""
    there = target[..., 4] > 0
    cross = functional.binary_cross_entropy_with_logits
    box = functional.mse_loss(output[there][:, :4].sigmoid(), target[there][:, :4])
    objects, classes = cross(output[..., 4], target[..., 4]), cross(output[there][:, 5:], target[there][:, 5:])
    return 0.05 * box + objects + 0.5 * classes


class SegFormer(nn.Module):
    """SegFormer (2021): overlapping patches, keys of a smaller picture, depthwise maps between, all of it fused."""

    def __init__(self, widths: tuple[int, int] = (24, 48), classes: int = 4) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for before, width, reduction in zip((3, widths[0]), widths, (4, 2), strict=True):
            parts: dict[str, nn.Module] = {
                "embed": nn.Conv2d(before, width, 7 if before == 3 else 3, 2, 3 if before == 3 else 1),
                "first": nn.LayerNorm(width),
                "norm1": nn.LayerNorm(width),
                "reduce": nn.Conv2d(width, width, reduction, reduction),
                "norm": nn.LayerNorm(width),
                "attn": nn.MultiheadAttention(width, 2, batch_first=True),
                "norm2": nn.LayerNorm(width),
                "up": nn.Linear(width, 4 * width),
                "mix": nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width),
                "down": nn.Linear(4 * width, width),
                "last": nn.LayerNorm(width),
            }
            self.stages.append(nn.ModuleDict(parts))
        self.project = nn.ModuleList(nn.Linear(width, 32) for width in widths)
        self.fuse = conv_norm(64, 32, 1)
        self.out = nn.Conv2d(32, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init.trunc_normal_(module.weight, std=0.02)
                init.zeros_(module.bias)
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] ** 2 * module.out_channels // module.groups
                init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                if module.bias is not None:
                    init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each place."""
        seen = []
        for stage, project in zip(self.stages, self.project, strict=True):
            x = stage["embed"](x)
            size = x.shape[2:]
            x = stage["first"](x.flatten(2).transpose(1, 2))
            y = stage["norm1"](x)
            few = stage["reduce"](y.transpose(1, 2).unflatten(2, size)).flatten(2).transpose(1, 2)
            few = stage["norm"](few)
            x = x + stage["attn"](y, few, few, need_weights=False)[0]
            y = stage["up"](stage["norm2"](x)).transpose(1, 2).unflatten(2, size)
            x = x + stage["down"](functional.gelu(stage["mix"](y).flatten(2).transpose(1, 2)))
            x = stage["last"](x)
            seen.append(project(x).transpose(1, 2).unflatten(2, size))
            x = x.transpose(1, 2).unflatten(2, size)
        size = seen[0].shape[2:]
        return self.out(self.fuse(torch.cat([functional.interpolate(part, size) for part in seen], 1)))


class PoolFormer(nn.Module):
    """PoolFormer (2022): pools for attention, group norms, factors of each branch at 1e-5."""

    def __init__(self, width: int = 48, depth: int = 6, classes: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 7, 4, 2)
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(2 * depth + 1))
        self.up = nn.ModuleList(nn.Conv2d(width, 4 * width, 1) for _ in range(depth))
        self.down = nn.ModuleList(nn.Conv2d(4 * width, width, 1) for _ in range(depth))
        self.factors = nn.Parameter(torch.full((depth, 2, width, 1, 1), 1e-5))
        self.head = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                init.trunc_normal_(module.weight, std=0.02)
                init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.embed(x)
        for i, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            y = self.norms[2 * i](x)
            x = x + self.factors[i, 0] * (functional.avg_pool2d(y, 3, 1, 1, count_include_pad=False) - y)
            x = x + self.factors[i, 1] * down(functional.gelu(up(self.norms[2 * i + 1](x))))
        return self.head(self.norms[-1](x).mean((2, 3)))


class ConvNextV2(nn.Module):
    """ConvNeXt V2 (2023): a response norm whose factor and shift are zero, trunc N(0, 0.02)."""

    def __init__(self, width: int = 40, depth: int = 4, classes: int = 8) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, width, 4, 4), nn.GroupNorm(1, width)
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 7, padding=3, groups=width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(depth))
        self.gamma, self.beta = (nn.Parameter(torch.zeros(depth, 4 * width)) for _ in range(2))
        self.last, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                init.trunc_normal_(module.weight, std=0.02)
                init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.first(self.stem(x))
        for i, (mix, norm, up, down) in enumerate(zip(self.mix, self.norms, self.up, self.down, strict=True)):
            y = functional.gelu(up(norm(mix(x).movedim(1, -1))))
            size = y.norm(dim=(1, 2), keepdim=True)
            y = self.gamma[i] * (y * size / (size.mean(-1, keepdim=True) + 1e-6)) + self.beta[i] + y
            x = x + down(y).movedim(-1, 1)
        return self.head(self.last(x.mean((2, 3))))


class EfficientV2(nn.Module):
    """EfficientNetV2: fused and separable bottlenecks, squeeze-and-excitation, fan-out normals, last gammas zero."""

    def __init__(self, classes: int = 8) -> None:
        super().__init__()
        self.stem = conv_norm(3, 16, 3, nn.SiLU, stride=2)
        self.fused = nn.ModuleList(conv_norm(a, 4 * a, 3, nn.SiLU) for a in (16, 16))
        self.fused_end = nn.ModuleList(conv_norm(64, 16, 1, nn.Identity) for _ in range(2))
        self.widen = nn.ModuleList(conv_norm(16, 64, 1, nn.SiLU) for _ in range(3))
        self.deep = nn.ModuleList(conv_norm(64, 64, 3, nn.SiLU, groups=64) for _ in range(3))
        self.squeeze = nn.ModuleList(
            nn.Sequential(nn.Conv2d(64, 4, 1), nn.SiLU(), nn.Conv2d(4, 64, 1), nn.Sigmoid()) for _ in range(3)
        )
        self.end = nn.ModuleList(conv_norm(64, 16, 1, nn.Identity) for _ in range(3))
        self.top, self.head = conv_norm(16, 64, 1, nn.SiLU), nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] ** 2 * module.out_channels // module.groups
                init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                if module.bias is not None:
                    init.zeros_(module.bias)
        for part in (*self.fused_end, *self.end):
            init.zeros_(part[1].weight)
        init.uniform_(self.head.weight, -1 / math.sqrt(classes), 1 / math.sqrt(classes))
        init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.stem(x)
        for one, end in zip(self.fused, self.fused_end, strict=True):
            x = x + end(one(x))
        for widen, deep, squeeze, end in zip(self.widen, self.deep, self.squeeze, self.end, strict=True):
            y = deep(widen(x))
            x = x + end(y * squeeze(y.mean((2, 3), keepdim=True)))
        return self.head(self.top(x).mean((2, 3)))


class SkipInit(nn.Module):
    """A residual network without norms whose branches begin at a factor of zero (De and Smith, 2020)."""

    def __init__(self, width: int = 32, depth: int = 6, classes: int = 8) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, width, 3, 2, 1)
        self.one = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.two = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.alpha = nn.Parameter(torch.zeros(depth))
        self.head = nn.Linear(width, classes)
        for layer in (self.enter, *self.one, *self.two):
            init.kaiming_normal_(layer.weight)
            init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.enter(x)
        for alpha, one, two in zip(self.alpha, self.one, self.two, strict=True):
            x = x + alpha * two(one(x.relu()).relu())
        return self.head(x.relu().mean((2, 3)))


def scenes(places: int) -> tuple[Tensor, Tensor]:
    """Pictures, and at every place a class or 0, four sides and centredness."""
    x, label = images(8, 32)
    chance = uniform(8, places, seed=3)
    classes = torch.where(chance < 0.15, 1 + label[:, None] % 5, 0)
    return x, torch.cat([classes[:, None].float(), 1 + 2 * uniform(8, 4, places, seed=4), chance[:, None]], 1)


def objects() -> tuple[Tensor, Tensor]:
    x, label = images(8, 32)
    classes = torch.where(torch.arange(6) < 2, 1 + label[:, None] % 5, 0)
    return x, torch.cat([classes[..., None].float(), uniform(8, 6, 4, seed=4)], 2)


def anchored() -> tuple[Tensor, Tensor]:
    x, label = images(8, 32)
    side = 9
    there = (uniform(8, 3, side, side, seed=3) < 0.1).float()
    classes = functional.one_hot(label % 5, 5).float()[:, None, None, None].expand(-1, 3, side, side, -1)
    return x, torch.cat([uniform(8, 3, side, side, 4, seed=4), there[..., None], classes], -1)


def segments() -> tuple[Tensor, Tensor]:
    x, _ = images(8, 32)
    small = functional.avg_pool2d(x, 2)
    return x, 2 * (small[:, 0] > 0).long() + (small[:, 1] > 0).long()


unseen = maker("torch", "cnn", "unseen")
viewed = maker("torch", "cnn", "unseen", own)
MODELS = (
    unseen("fcos", Fcos, lambda: scenes(80), fcos_loss),
    unseen("detr", Detr, objects, set_loss),
    unseen("yolo_v5", Yolo, anchored, yolo_loss),
    unseen("segformer", SegFormer, segments),
    unseen("poolformer", PoolFormer, photos()),
    unseen("convnext_v2", ConvNextV2, photos()),
    unseen("efficientnet_v2", EfficientV2, photos()),
    unseen("skip_init", SkipInit, photos()),
)
