"""Vision transformers and their mixtures with convolutions, as authors write them."""

import torch

from zoo.torch.families.rows import CLASSES, classifier, pixels

nn, F = torch.nn, torch.nn.functional


class BoTNet(nn.Module):
    """Srinivas et al. (2021): bottlenecks whose 3 x 3 convolution is attention with 2-d relative positions."""

    def __init__(self, c=32, heads=4, depth=3, side=8):
        super().__init__()
        self.heads, d = heads, c // heads
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU())
        self.down, self.qkv = (nn.ModuleList(nn.Conv2d(c, n, 1, bias=False) for _ in range(depth)) for n in (c, 3 * c))
        self.up, self.n1, self.n2, self.n3 = (
            nn.ModuleList(make() for _ in range(depth))
            for make in (lambda: nn.Conv2d(c, c, 1, bias=False), *[lambda: nn.BatchNorm2d(c)] * 3)
        )
        self.rel_h = nn.Parameter(torch.randn(depth, d, side, 1) * d**-0.5)
        self.rel_w = nn.Parameter(torch.randn(depth, d, 1, side) * d**-0.5)
        self.fc = nn.Linear(c, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        b, c, h, w = x.shape
        for i in range(len(self.down)):
            y = F.relu(self.n1[i](self.down[i](x)))
            q, k, v = self.qkv[i](y).reshape(b, 3, self.heads, c // self.heads, h * w).unbind(1)
            q = q * (c // self.heads) ** -0.5
            position = (self.rel_h[i] + self.rel_w[i]).flatten(1)
            logits = torch.einsum("bhdx,bhdy->bhxy", q, k) + torch.einsum("bhdx,dy->bhxy", q, position)
            y = torch.einsum("bhxy,bhdy->bhdx", logits.softmax(-1), v).reshape(b, c, h, w)
            y = self.n3[i](self.up[i](F.relu(self.n2[i](y))))
            x = F.relu(x + y)
        return self.fc(x.mean((2, 3)))


class WindowAttention(nn.Module):
    """Liu et al. (2022), Swin v2 by hand: cosine scores, a bounded temperature, positions from a perceptron."""

    def __init__(self, dim, heads, window=4, shift=0):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.logit_scale = nn.Parameter(torch.log(10 * torch.ones(heads, 1, 1)))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 32), nn.ReLU(inplace=True), nn.Linear(32, heads, bias=False))
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        step = torch.arange(1 - window, window).float()
        table = torch.stack(torch.meshgrid(step, step, indexing="ij"), -1) * 8 / (window - 1)
        self.register_buffer("table", torch.sign(table) * torch.log2(table.abs() + 1) / 3)
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        away = place[:, :, None] - place[:, None] + window - 1
        self.register_buffer("index", away[0] * (2 * window - 1) + away[1])

    def forward(self, x):
        b, h, w, c = x.shape
        n = self.window
        x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.view(b, h // n, n, w // n, n, c).transpose(2, 3).reshape(-1, n * n, c)
        qkv = F.linear(x, self.qkv.weight, torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias)))
        q, k, v = qkv.reshape(len(x), n * n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        a = a * torch.clamp(self.logit_scale, max=4.6052).exp()
        bias = self.cpb_mlp(self.table).view(-1, self.heads)[self.index.view(-1)].view(n * n, n * n, -1)
        a = (a + 16 * torch.sigmoid(bias.permute(2, 0, 1))).softmax(-1)
        x = self.proj((a @ v).transpose(1, 2).reshape(len(x), n * n, c))
        x = x.view(b, h // n, w // n, n, n, c).transpose(2, 3).reshape(b, h, w, c)
        return torch.roll(x, (self.shift, self.shift), (1, 2))


class SwinV2(nn.Module):
    """Norms after the branches, shifted windows."""

    def __init__(self, dim=32, depth=4):
        super().__init__()
        self.embed, self.norm0 = nn.Conv2d(3, dim, 2, 2), nn.LayerNorm(dim)
        self.attn = nn.ModuleList([WindowAttention(dim, 4, shift=2 * (i % 2)) for i in range(depth)])
        self.mlp = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 128), nn.GELU(), nn.Linear(128, dim)) for _ in range(depth)]
        )
        self.norm1, self.norm2 = (nn.ModuleList([nn.LayerNorm(dim) for _ in range(depth)]) for _ in range(2))
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, x):
        x = self.norm0(self.embed(x).permute(0, 2, 3, 1))
        for attn, mlp, n1, n2 in zip(self.attn, self.mlp, self.norm1, self.norm2, strict=True):
            x = x + n1(attn(x))
            x = x + n2(mlp(x))
        return self.head(x.mean(dim=(1, 2)))


class CrossCovariance(nn.Module):
    """El-Nouby et al. (2021), XCiT: attention between channels, normed along tokens, a temperature a head."""

    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv, self.proj = nn.Linear(dim, dim * 3, bias=False), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 4, 1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attn = (q @ k.transpose(-2, -1)) * self.temperature
        return self.proj((attn.softmax(-1) @ v).permute(0, 3, 1, 2).reshape(b, n, c))


class LocalPatches(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(dim, dim, 3, padding=1, groups=dim) for _ in range(2))
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x):
        b, n, c = x.shape
        y = x.permute(0, 2, 1).reshape(b, c, int(n**0.5), -1)
        return self.conv2(self.bn(F.gelu(self.conv1(y)))).reshape(b, c, n).permute(0, 2, 1)


class XCiT(nn.Module):
    def __init__(self, dim=32, depth=3, eta=1.0):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dim // 2, 3, 2, 1), nn.GELU(), nn.Conv2d(dim // 2, dim, 3, 2, 1))
        self.n = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3 * depth))
        self.b = nn.ModuleList()
        for _ in range(depth):
            self.b.extend([CrossCovariance(dim), LocalPatches(dim)])
            self.b.append(nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)))
        self.gamma = nn.ParameterList(nn.Parameter(eta * torch.ones(dim)) for _ in range(3 * depth))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, CLASSES)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        for norm, branch, gamma in zip(self.n, self.b, self.gamma, strict=True):
            x = x + gamma * branch(norm(x))
        return self.head(self.norm(x).mean(1))


class ConViT(nn.Module):
    """d'Ascoli et al. (2021): a gate between content attention and positions that start as a convolution."""

    def __init__(self, dim=36, depth=3, heads=4):
        super().__init__()
        self.heads, side = heads, 4
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.qk = nn.ModuleList([nn.Linear(dim, dim * 2, bias=False) for _ in range(depth)])
        self.v = nn.ModuleList([nn.Linear(dim, dim, bias=False) for _ in range(depth)])
        self.proj = nn.ModuleList([nn.Linear(dim, dim) for _ in range(depth)])
        self.pos = nn.ModuleList([nn.Linear(3, heads) for _ in range(depth)])
        self.gating = nn.ParameterList([nn.Parameter(torch.ones(heads)) for _ in range(depth)])
        self.ff = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 72), nn.GELU(), nn.Linear(72, dim)) for _ in range(depth)]
        )
        self.n1, self.n2 = (nn.ModuleList([nn.LayerNorm(dim) for _ in range(depth)]) for _ in range(2))
        ind = torch.arange(side).view(1, -1) - torch.arange(side).view(-1, 1)
        x, y = ind.repeat(side, side), ind.repeat_interleave(side, 0).repeat_interleave(side, 1)
        self.register_buffer("rel", torch.stack([x, y, x**2 + y**2], -1).float())
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, CLASSES)

    def forward(self, x):
        x = self.patch(x).flatten(2).mT
        for i in range(len(self.qk)):
            b, n, c = x.shape
            y = self.n1[i](x)
            q, k = self.qk[i](y).reshape(b, n, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
            content = (q @ k.mT * (c / self.heads) ** -0.5).softmax(-1)
            position = self.pos[i](self.rel).permute(2, 0, 1).softmax(-1)
            g = torch.sigmoid(self.gating[i]).view(1, -1, 1, 1)
            attn = (1 - g) * content + g * position
            attn = attn / attn.sum(-1, keepdim=True)
            v = self.v[i](y).reshape(b, n, self.heads, -1).transpose(1, 2)
            x = x + self.proj[i]((attn @ v).transpose(1, 2).reshape(b, n, c))
            x = x + self.ff[i](self.n2[i](x))
        cls = self.cls.expand(len(x), -1, -1) + x.mean(1, keepdim=True)
        return self.head(self.norm(cls)[:, 0])


class CrossViT(nn.Module):
    """Chen et al. (2021): two patch sizes, each class token attends to the other branch."""

    def __init__(self, dims=(16, 32), patches=(2, 4), depth=2):
        super().__init__()
        self.embed = nn.ModuleList(nn.Conv2d(3, d, p, p) for d, p in zip(dims, patches, strict=True))
        self.cls = nn.ParameterList(nn.Parameter(torch.randn(1, 1, d) * 0.02) for d in dims)
        self.pos = nn.ParameterList(
            nn.Parameter(torch.randn(1, 1 + (16 // p) ** 2, d) * 0.02) for d, p in zip(dims, patches, strict=True)
        )
        layer = lambda d: nn.TransformerEncoderLayer(d, 4, 2 * d, 0.0, F.gelu, batch_first=True, norm_first=True)
        self.own = nn.ModuleList(nn.ModuleList(layer(d) for d in dims) for _ in range(depth))
        self.project = nn.ModuleList(
            nn.ModuleList(nn.Linear(dims[i], dims[1 - i]) for i in (0, 1)) for _ in range(depth)
        )
        self.cross = nn.ModuleList(
            nn.ModuleList(nn.MultiheadAttention(dims[1 - i], 4, batch_first=True) for i in (0, 1)) for _ in range(depth)
        )
        self.back = nn.ModuleList(nn.ModuleList(nn.Linear(dims[1 - i], dims[i]) for i in (0, 1)) for _ in range(depth))
        self.heads = nn.ModuleList(nn.Sequential(nn.LayerNorm(d), nn.Linear(d, CLASSES)) for d in dims)

    def forward(self, x):
        xs = [
            torch.cat([c.expand(len(x), -1, -1), e(x).flatten(2).mT], 1) + p
            for e, c, p in zip(self.embed, self.cls, self.pos, strict=True)
        ]
        for own, project, cross, back in zip(self.own, self.project, self.cross, self.back, strict=True):
            xs = [f(t) for f, t in zip(own, xs, strict=True)]
            new = []
            for i in (0, 1):
                q = project[i](xs[i][:, :1])
                other = torch.cat([q, xs[1 - i][:, 1:]], 1)
                q = q + cross[i](q, other, other)[0]
                new.append(torch.cat([xs[i][:, :1] + back[i](q), xs[i][:, 1:]], 1))
            xs = new
        return sum(head(t[:, 0]) for head, t in zip(self.heads, xs, strict=True)) / 2


class MaxViT(nn.Module):
    """Tu et al. (2022): an inverted bottleneck with squeeze and excitation, then blocks, then grids of attention."""

    def __init__(self, c=32, window=4):
        super().__init__()
        self.window = window
        self.stem = nn.Conv2d(3, c, 3, 2, 1)
        self.bn = nn.BatchNorm2d(c)
        self.expand = nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.BatchNorm2d(2 * c), nn.GELU())
        self.dw = nn.Sequential(
            nn.Conv2d(2 * c, 2 * c, 3, 1, 1, groups=2 * c, bias=False), nn.BatchNorm2d(2 * c), nn.GELU()
        )
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * c, 8, 1), nn.SiLU(), nn.Conv2d(8, 2 * c, 1), nn.Sigmoid()
        )
        self.project = nn.Conv2d(2 * c, c, 1)
        self.block, self.grid = (
            nn.TransformerEncoderLayer(c, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(2)
        )
        self.head = nn.Sequential(nn.LayerNorm(c), nn.Linear(c, c), nn.Tanh(), nn.Linear(c, CLASSES, bias=False))

    def forward(self, x):
        x = self.stem(x)
        y = self.dw(self.expand(self.bn(x)))
        x = x + self.project(y * self.se(y))
        b, c, h, w = x.shape
        n = self.window
        t = x.view(b, c, h // n, n, w // n, n).permute(0, 2, 4, 3, 5, 1).reshape(-1, n * n, c)
        t = self.block(t).view(b, h // n, w // n, n, n, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)
        t = t.view(b, c, n, h // n, n, w // n).permute(0, 3, 5, 2, 4, 1).reshape(-1, n * n, c)
        t = self.grid(t).view(b, -1, c)
        return self.head(t.mean(1))


class Halo(nn.Module):
    """Vaswani et al. (2021): blocks of queries look at their block and a rim around it, by unfold."""

    def __init__(self, c=32, heads=2, block=4, halo=1, depth=2):
        super().__init__()
        self.heads, self.block, self.halo = heads, block, halo
        self.stem = nn.Conv2d(3, c, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for _ in range(depth))
        self.q, self.kv = (nn.ModuleList(nn.Conv2d(c, n, 1, bias=False) for _ in range(depth)) for n in (c, 2 * c))
        self.o = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in range(depth))
        self.fc = nn.Linear(c, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        b, c, h, w = x.shape
        n, rim, d = self.block, self.block + 2 * self.halo, c // self.heads
        for norm, q, kv, o in zip(self.norms, self.q, self.kv, self.o, strict=True):
            y = F.relu(norm(x))
            query = F.unfold(q(y), n, stride=n).view(b * self.heads, d, n * n, -1).permute(0, 3, 2, 1)
            both = F.unfold(kv(y), rim, stride=n, padding=self.halo).view(b * self.heads, 2 * d, rim * rim, -1)
            k, v = both.permute(0, 3, 2, 1).split([d, d], -1)
            y = ((query * d**-0.5) @ k.transpose(-1, -2)).softmax(-1) @ v
            y = F.fold(y.permute(0, 3, 2, 1).reshape(b, c * n * n, -1), (h, w), n, stride=n)
            x = x + o(y)
        return self.fc(x.mean((-1, -2)))


class Lambda(nn.Module):
    """Bello (2021): a linear function for each place from its context, contents and positions; no attention map."""

    def __init__(self, c=32, k=8, heads=4, side=8):
        super().__init__()
        self.heads, self.k = heads, k
        self.stem = nn.Conv2d(3, c, 3, stride=2, padding=1)
        self.to_q, self.to_k, self.to_v = (nn.Conv2d(c, n, 1, bias=False) for n in (k * heads, k, c // heads))
        self.norm_q, self.norm_v = nn.BatchNorm2d(k * heads), nn.BatchNorm2d(c // heads)
        self.pos_emb = nn.Parameter(torch.randn(side * side, side * side, k) * 0.02)
        self.bn, self.fc = nn.BatchNorm2d(c), nn.Linear(c, CLASSES)

    def forward(self, x):
        x = F.relu(self.stem(x))
        b, c, h, w = x.shape
        q = self.norm_q(self.to_q(x)).view(b, self.heads, self.k, h * w)
        k, v = self.to_k(x).flatten(2).softmax(-1), self.norm_v(self.to_v(x)).flatten(2)
        content = torch.einsum("bkm,bvm->bkv", k, v)
        y_c = torch.einsum("bhkn,bkv->bhvn", q, content)
        position = torch.einsum("nmk,bvm->bnkv", self.pos_emb, v)
        y_p = torch.einsum("bhkn,bnkv->bhvn", q, position)
        return self.fc(F.relu(self.bn((y_c + y_p).reshape(b, c, h, w))).mean((2, 3)))


class TNT(nn.Module):
    """Han et al. (2021), transformer in transformer: pixels inside patches feed the patches' tokens."""

    def __init__(self, dim=32, inner=8, depth=2):
        super().__init__()
        self.pixel = nn.Linear(3, inner)
        self.inner_pos, self.outer_pos = nn.Parameter(torch.zeros(1, 16, inner)), nn.Parameter(torch.zeros(1, 16, dim))
        self.norm_in, self.enter = nn.LayerNorm(16 * inner), nn.Linear(16 * inner, dim)
        layer = lambda d, h: nn.TransformerEncoderLayer(d, h, 2 * d, 0.0, "gelu", batch_first=True, norm_first=True)
        self.inner, self.outer = (nn.ModuleList(layer(*size) for _ in range(depth)) for size in ((inner, 2), (dim, 4)))
        self.norms = nn.ModuleList(nn.LayerNorm(16 * inner) for _ in range(depth))
        self.fold = nn.ModuleList(nn.Linear(16 * inner, dim) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, CLASSES)

    def forward(self, x):
        b = len(x)
        p = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).reshape(b * 16, 16, 3)
        p = self.pixel(p) + self.inner_pos
        t = self.enter(self.norm_in(p.view(b, 16, -1))) + self.outer_pos
        for inner, outer, norm, fold in zip(self.inner, self.outer, self.norms, self.fold, strict=True):
            p = inner(p)
            t = outer(t + fold(norm(p.view(b, 16, -1))))
        return self.head(self.norm(t).mean(1))


MODELS = (
    classifier("bot_net", "transformer", BoTNet, pixels),
    classifier("swin_v2_by_hand", "transformer", SwinV2, pixels),
    classifier("xcit", "transformer", XCiT, pixels),
    classifier("con_vit", "transformer", ConViT, pixels),
    classifier("cross_vit", "transformer", CrossViT, pixels),
    classifier("max_vit", "transformer", MaxViT, pixels),
    classifier("halo_net", "transformer", Halo, pixels),
    classifier("lambda_layer", "transformer", Lambda, pixels),
    classifier("transformer_in_transformer", "transformer", TNT, pixels),
)
