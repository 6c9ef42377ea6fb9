"""Densities and pictures: flows, hierarchies of latents, denoisers, generators."""

import math

import torch
from torch.nn.utils import parametrizations

from zoo.torch.batches import ids, normal, uniform
from zoo.torch.families.rows import CLASSES, WORDS, classifier, given, language, other, pixels, vectors

nn, F = torch.nn, torch.nn.functional


class Masked(nn.Linear):
    """A linear map times a fixed mask."""

    def __init__(self, mask):
        super().__init__(mask.size(1), mask.size(0))
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


class MAF(nn.Module):
    """Papamakarios et al. (2017): masked autoregressive layers, orders reversed between them; returns log densities."""

    def __init__(self, n=32, hidden=64, depth=4):
        super().__init__()
        order, h = torch.arange(n), torch.arange(hidden) % (n - 1)
        self.first = nn.ModuleList(Masked((h[:, None] >= order).float()) for _ in range(depth))
        self.second = nn.ModuleList(Masked((h[:, None] >= h).float()) for _ in range(depth))
        self.last = nn.ModuleList(Masked((order.repeat(2)[:, None] > h).float()) for _ in range(depth))

    def forward(self, x):
        log_det = torch.zeros(len(x))
        for first, second, last in zip(self.first, self.second, self.last, strict=True):
            mu, alpha = last(torch.relu(second(torch.relu(first(x))))).chunk(2, -1)
            x = (x - mu) * torch.exp(-alpha)
            log_det = log_det - alpha.sum(-1)
            x = x.flip(-1)
        return -0.5 * (x**2 + math.log(2 * math.pi)).sum(-1) + log_det


class SplineCoupling(nn.Module):
    """Durkan et al. (2019), neural spline flow: rational-quadratic pieces written by a residual network."""

    def __init__(self, n=32, bins=4, hidden=32, bound=3.0):
        super().__init__()
        self.half, self.bins, self.bound = n // 2, bins, bound
        self.enter, self.out = nn.Linear(self.half, hidden), nn.Linear(hidden, self.half * (3 * bins - 1))
        self.block = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden))

    def knots(self, raw):
        size = 1e-3 + (1 - 1e-3 * self.bins) * raw.softmax(-1)
        ends = F.pad(size.cumsum(-1), (1, 0)) * 2 * self.bound - self.bound
        return ends, ends[..., 1:] - ends[..., :-1]

    def spline(self, x, raw):
        w, h, d = raw.split([self.bins, self.bins, self.bins - 1], -1)
        (xs, w), (ys, h) = self.knots(w), self.knots(h)
        d = F.pad(1e-3 + F.softplus(d), (1, 1), value=1.0)
        inside = (x > -self.bound) & (x < self.bound)
        z = x.clamp(-self.bound + 1e-4, self.bound - 1e-4)
        at = (z[..., None] >= xs[..., 1:]).sum(-1, keepdim=True).clamp(max=self.bins - 1)
        pick = lambda t: t.gather(-1, at)[..., 0]
        x0, y0, wk, hk, d0, d1 = pick(xs), pick(ys), pick(w), pick(h), pick(d), pick(d[..., 1:])
        s, t = hk / wk, (z - x0) / wk
        bottom = s + (d1 + d0 - 2 * s) * t * (1 - t)
        y = y0 + hk * (s * t**2 + d0 * t * (1 - t)) / bottom
        slope = s**2 * (d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2) / bottom**2
        return torch.where(inside, y, x), torch.where(inside, slope.log(), torch.zeros_like(x))

    def forward(self, x):
        a, b = x[:, : self.half], x[:, self.half :]
        h = self.enter(a)
        h = h + self.block(h)
        b, log_slope = self.spline(b, self.out(h).view(len(x), self.half, -1))
        return torch.cat([b, a], -1), log_slope.sum(-1)


class SplineFlow(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        self.couplings = nn.ModuleList([SplineCoupling() for _ in range(depth)])

    def forward(self, x):
        total = 0
        for coupling in self.couplings:
            x, log_det = coupling(x)
            total = total + log_det
        return total - 0.5 * x.square().sum(-1)


class Planar(nn.Module):
    """Rezende and Mohamed (2015): z + u tanh(w z + b), u made invertible."""

    def __init__(self, n=32, depth=6):
        super().__init__()
        self.w, self.u, self.b = (nn.Parameter(torch.randn(depth, *s) * 0.1) for s in ((n,), (n,), ()))

    def forward(self, z):
        total = torch.zeros(len(z))
        for w, u, b in zip(self.w, self.u, self.b, strict=True):
            wu = w @ u
            u_hat = u + (F.softplus(wu) - 1 - wu) * w / (w @ w)
            t = torch.tanh(z @ w + b)
            z = z + t[:, None] * u_hat
            total = total + torch.log((1 + (1 - t**2) * (w @ u_hat)).abs() + 1e-8)
        return z, total


class ContractiveFlow(nn.Module):
    """Chen et al. (2019), residual flow: x + g(x), g with spectral norms, LipSwish."""

    def __init__(self, n=32, depth=4):
        super().__init__()
        sn = parametrizations.spectral_norm
        self.g = nn.ModuleList()
        for _ in range(depth):
            self.g.append(nn.ModuleList([sn(nn.Linear(n, 64)), sn(nn.Linear(64, 64)), sn(nn.Linear(64, n))]))
        self.beta = nn.Parameter(torch.full((depth, 2), 0.5))

    def forward(self, x):
        for layers, beta in zip(self.g, self.beta, strict=True):
            h = layers[0](x)
            h = layers[1](h * torch.sigmoid(h * F.softplus(beta[0])) / 1.1)
            x = x + 0.9 * layers[2](h * torch.sigmoid(h * F.softplus(beta[1])) / 1.1)
        return x


class LadderVAE(nn.Module):
    """Vahdat and Kautz (2020), NVAE's way: residual cells with swish and squeeze, latents that refine the prior."""

    def __init__(self, c=16, z=4, groups=3):
        super().__init__()
        self.stem, self.h = nn.Conv2d(3, c, 3, 2, 1), nn.Parameter(torch.randn(c, 8, 8) * 0.1)
        self.enc, self.dec = (nn.ModuleList([self.cell(c) for _ in range(groups)]) for _ in range(2))
        self.post = nn.ModuleList([nn.Conv2d(2 * c, 2 * z, 1) for _ in range(groups)])
        self.prior = nn.ModuleList([nn.Conv2d(c, 2 * z, 1) for _ in range(groups)])
        self.join = nn.ModuleList([nn.Conv2d(c + z, c, 1) for _ in range(groups)])
        self.out = nn.ConvTranspose2d(c, 3, 4, 2, 1)

    @staticmethod
    def cell(c):
        return nn.Sequential(
            nn.BatchNorm2d(c),
            nn.SiLU(),
            nn.Conv2d(c, c, 3, 1, 1),
            nn.BatchNorm2d(c),
            nn.SiLU(),
            nn.Conv2d(c, c, 3, 1, 1),
        )

    def forward(self, x):
        ups, y = [], self.stem(x)
        for cell in self.enc:
            y = y + 0.1 * cell(y)
            ups.append(y)
        s, kl = self.h.unsqueeze(0).expand(len(x), -1, -1, -1), 0
        for cell, post, prior, join in zip(self.dec, self.post, self.prior, self.join, strict=True):
            mu_p, log_p = prior(s).chunk(2, 1)
            dmu, dlog = post(torch.cat([s, ups.pop()], 1)).chunk(2, 1)
            mu, log = mu_p + dmu, log_p + dlog
            kl = kl + 0.5 * (dmu**2 / log_p.exp() + dlog.exp() - dlog - 1).sum((1, 2, 3))
            s = join(torch.cat([s, mu + torch.exp(0.5 * log) * torch.randn_like(mu)], 1))
            s = s + 0.1 * cell(s)
        return self.out(s), kl


class ConditionalNorm(nn.Module):
    """Brock et al. (2019), BigGAN: batch norms scaled and shifted by maps of class and code."""

    def __init__(self, c=16, z=8):
        super().__init__()
        self.shared, self.linear = nn.Embedding(CLASSES, z), nn.Linear(z, 16 * c)
        sn = parametrizations.spectral_norm
        self.conv = nn.ModuleList([sn(nn.Conv2d(c, c, 3, padding=1)) for _ in range(4)])
        self.bn = nn.ModuleList([nn.BatchNorm2d(c, affine=False) for _ in range(4)])
        self.gain, self.bias = (
            nn.ModuleList([sn(nn.Linear(2 * z, c, bias=False)) for _ in range(4)]) for _ in range(2)
        )
        self.last, self.rgb = nn.BatchNorm2d(c), nn.Conv2d(c, 3, 3, padding=1)

    def forward(self, z, label):
        y = torch.cat([self.shared(label), z], 1)
        x = self.linear(z).view(len(z), -1, 4, 4)
        for i in (0, 2):
            h = x
            for j in (i, i + 1):
                h = (1 + self.gain[j](y))[:, :, None, None] * self.bn[j](h) + self.bias[j](y)[:, :, None, None]
                h = F.relu(h)
                h = self.conv[j](F.interpolate(h, scale_factor=2) if j == i else h)
            x = h + F.interpolate(x, scale_factor=2)
        return torch.tanh(self.rgb(F.relu(self.last(x))))


class Modulated(nn.Module):
    """Karras et al. (2020), StyleGAN2: kernels scaled by a style and demodulated, equalised rates."""

    def __init__(self, c=16, z=16, depth=3):
        super().__init__()
        self.mapping = nn.ParameterList([nn.Parameter(torch.randn(z, z)) for _ in range(3)])
        self.const = nn.Parameter(torch.randn(1, c, 4, 4))
        self.style_w = nn.ParameterList([nn.Parameter(torch.randn(c, z)) for _ in range(depth + 1)])
        self.style_b = nn.ParameterList([nn.Parameter(torch.ones(c)) for _ in range(depth + 1)])
        self.weight = nn.ParameterList([nn.Parameter(torch.randn(c, c, 3, 3)) for _ in range(depth)])
        self.noise, self.bias = nn.Parameter(torch.zeros(depth)), nn.Parameter(torch.zeros(depth, c))
        self.rgb = nn.Parameter(torch.randn(3, c, 1, 1))

    def conv(self, x, weight, style, demod):
        b, c, h, w = x.shape
        weight = weight[None] * (1 / weight[0].numel() ** 0.5) * style[:, None, :, None, None]
        if demod:
            weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        y = F.conv2d(x.reshape(1, b * c, h, w), weight.flatten(0, 1), padding=weight.size(-1) // 2, groups=b)
        return y.view(b, -1, h, w)

    def forward(self, z):
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for m in self.mapping:
            w = F.leaky_relu(F.linear(w, m / m.size(1) ** 0.5), 0.2) * 2**0.5
        x = self.const.repeat(len(z), 1, 1, 1)
        styles = [F.linear(w, s / s.size(1) ** 0.5, b) for s, b in zip(self.style_w, self.style_b, strict=True)]
        for i, weight in enumerate(self.weight):
            x = F.interpolate(x, scale_factor=2, mode="bilinear") if i else x
            x = self.conv(x, weight, styles[i], True) + self.noise[i] * torch.randn(len(z), 1, *x.shape[2:])
            x = F.leaky_relu(x + self.bias[i][:, None, None], 0.2) * 2**0.5
        return self.conv(x, self.rgb, styles[-1], False)


class GatedPixelCNN(nn.Module):
    """van den Oord et al. (2016): a vertical and a horizontal stack, tanh times sigmoid, conditioned on a class."""

    def __init__(self, c=16, depth=3, levels=8):
        super().__init__()
        self.embed, self.label = (
            nn.Embedding(levels, c),
            nn.ModuleList([nn.Embedding(CLASSES, 2 * c) for _ in range(depth)]),
        )
        self.vert = nn.ModuleList([nn.Conv2d(c, 2 * c, (2, 3), padding=(1, 1)) for _ in range(depth)])
        self.horiz = nn.ModuleList([nn.Conv2d(c, 2 * c, (1, 2), padding=(0, 1)) for _ in range(depth)])
        self.across, self.resid = (
            nn.ModuleList([nn.Conv2d(2 * c, 2 * c, 1) for _ in range(depth)]),
            nn.ModuleList([nn.Conv2d(c, c, 1) for _ in range(depth)]),
        )
        self.out = nn.Sequential(nn.Conv2d(c, 64, 1), nn.ReLU(True), nn.Conv2d(64, levels, 1))

    def gate(self, x):
        a, b = x.chunk(2, 1)
        return torch.tanh(a) * torch.sigmoid(b)

    def forward(self, x, label):
        v = h = self.embed(x).permute(0, 3, 1, 2)
        for i in range(len(self.vert)):
            c = self.label[i](label)[:, :, None, None]
            up = self.vert[i](v)[:, :, : v.size(2)]
            v = self.gate(up + c)
            side = self.horiz[i](h)[..., : h.size(3)]
            out = self.resid[i](self.gate(self.across[i](up) + side + c))
            h = out + h if i else out
        return self.out(h).movedim(1, -1)


class Denoiser(nn.Module):
    """Ho et al. (2020) as it is copied around: group norms, time added inside, attention at the bottom."""

    def __init__(self, c=16):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(c, 4 * c), nn.SiLU(), nn.Linear(4 * c, 4 * c))
        self.inp, self.c = nn.Conv2d(3, c, 3, padding=1), c
        sizes = ((c, c), (c, 2 * c), (2 * c, 2 * c), (4 * c, c), (2 * c, c))
        self.n1 = nn.ModuleList([nn.GroupNorm(4, i) for i, _ in sizes])
        self.c1 = nn.ModuleList([nn.Conv2d(i, o, 3, padding=1) for i, o in sizes])
        self.te = nn.ModuleList([nn.Linear(4 * c, o) for _, o in sizes])
        self.n2 = nn.ModuleList([nn.GroupNorm(4, o) for _, o in sizes])
        self.c2 = nn.ModuleList([nn.Conv2d(o, o, 3, padding=1) for _, o in sizes])
        self.sk = nn.ModuleList([nn.Conv2d(i, o, 1) if i != o else nn.Identity() for i, o in sizes])
        self.norm, self.qkv, self.proj = nn.GroupNorm(4, 2 * c), nn.Conv2d(2 * c, 6 * c, 1), nn.Conv2d(2 * c, 2 * c, 1)
        self.end = nn.Sequential(nn.GroupNorm(4, c), nn.SiLU(), nn.Conv2d(c, 3, 3, padding=1))

    def block(self, i, x, t):
        h = self.c1[i](F.silu(self.n1[i](x))) + self.te[i](F.silu(t))[:, :, None, None]
        return self.sk[i](x) + self.c2[i](F.silu(self.n2[i](h)))

    def forward(self, x, t):
        half = torch.exp(-math.log(1e4) * torch.arange(self.c // 2) / (self.c // 2))
        t = t[:, None] * half
        t = self.time(torch.cat([t.sin(), t.cos()], -1))
        a = self.block(0, self.inp(x), t)
        b = self.block(1, F.avg_pool2d(a, 2), t)
        n, c, h, w = b.shape
        q, k, v = self.qkv(self.norm(b)).reshape(n, 3, c, h * w).unbind(1)
        weight = torch.einsum("bci,bcj->bij", q, k).mul(c**-0.5).softmax(-1)
        m = b + self.proj(torch.einsum("bij,bcj->bci", weight, v).reshape(n, c, h, w))
        m = self.block(2, m, t)
        u = F.interpolate(self.block(3, torch.cat([m, b], 1), t), scale_factor=2)
        return self.end(self.block(4, torch.cat([u, a], 1), t))


class Preconditioned(nn.Module):
    """Karras et al. (2022), EDM: skips and scales by the noise level around an adaptive-norm perceptron."""

    def __init__(self, n=32, d=64, depth=3, sigma_data=0.5):
        super().__init__()
        self.sigma_data = sigma_data
        self.register_buffer("freqs", torch.randn(8) * 2 * math.pi)
        self.enter, self.emb, self.exit = nn.Linear(n, d), nn.Linear(16, d), nn.Linear(d, n)
        self.ada = nn.ModuleList([nn.Linear(d, 2 * d) for _ in range(depth)])
        self.fc1, self.fc2 = (
            nn.ModuleList([nn.Linear(d, d) for _ in range(depth)]),
            nn.ModuleList([nn.Linear(d, d) for _ in range(depth)]),
        )

    def forward(self, x, sigma):
        s2 = self.sigma_data**2
        c_skip, c_out, c_in = (
            s2 / (sigma**2 + s2),
            sigma * self.sigma_data / (sigma**2 + s2).sqrt(),
            1 / (sigma**2 + s2).sqrt(),
        )
        angle = (sigma.log() / 4) * self.freqs
        emb = F.silu(self.emb(torch.cat([angle.cos(), angle.sin()], -1)))
        h = self.enter(c_in * x)
        for ada, fc1, fc2 in zip(self.ada, self.fc1, self.fc2, strict=True):
            scale, shift = ada(emb).chunk(2, -1)
            y = torch.addcmul(shift, F.layer_norm(fc1(F.silu(h)), (h.size(-1),)), scale + 1)
            h = (h + fc2(F.silu(y))) / 2**0.5
        return c_skip * x + c_out * self.exit(h)


class UViT(nn.Module):
    """Bao et al. (2023): everything is a token, long skips are joined by concatenation and a map."""

    def __init__(self, d=32, depth=2):
        super().__init__()
        layer = lambda: nn.TransformerEncoderLayer(d, 4, 4 * d, 0.0, F.gelu, batch_first=True, norm_first=True)
        self.patch, self.time, self.label = nn.Linear(48, d), nn.Linear(d, d), nn.Embedding(CLASSES, d)
        self.pos = nn.Parameter(torch.zeros(1, 18, d).normal_(0, 0.02))
        self.down, self.up = nn.ModuleList(layer() for _ in range(depth)), nn.ModuleList(layer() for _ in range(depth))
        self.mid, self.skip = layer(), nn.ModuleList(nn.Linear(2 * d, d) for _ in range(depth))
        self.norm, self.out, self.d = nn.LayerNorm(d), nn.Linear(d, 48), d

    def forward(self, x, t, label):
        x = x.unflatten(2, (4, 4)).unflatten(4, (4, 4)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        angle = t[:, None] * torch.exp(-torch.arange(self.d // 2) / self.d * 8)
        time = self.time(torch.cat([angle.sin(), angle.cos()], -1))
        x = torch.cat([time[:, None], self.label(label)[:, None], self.patch(x)], 1) + self.pos
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = self.mid(x)
        for layer, skip in zip(self.up, self.skip, strict=True):
            x = layer(skip(torch.cat([x, skips.pop()], -1)))
        return self.out(self.norm(x)[:, 2:])


class Finite(nn.Module):
    """Mentzer et al. (2024), finite scalar quantisation: rounded codes, straight through, in a residual autoencoder."""

    def __init__(self, c=32, levels=(8, 5, 5)):
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels).float())
        self.enc = nn.Sequential(nn.Conv2d(3, c, 4, 2, 1), nn.SiLU(), nn.Conv2d(c, c, 4, 2, 1), nn.SiLU())
        self.to_code, self.from_code = nn.Conv2d(c, 3, 1), nn.Conv2d(3, c, 1)
        self.dec = nn.Sequential(nn.ConvTranspose2d(c, c, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(c, 3, 4, 2, 1))

    def forward(self, x):
        half = ((self.levels - 1) * 0.999 / 2)[:, None, None]
        z = torch.tanh(self.to_code(self.enc(x))) * half
        z = (z + (z.round() - z).detach()) / half
        return self.dec(F.silu(self.from_code(z)))


class Prior(nn.Module):
    """Chang et al. (2022), MaskGIT: post-norm, codes both ways, a map before the tied table."""

    def __init__(self, d=32, depth=3):
        super().__init__()
        self.tok, self.pos = nn.Embedding(WORDS, d), nn.Embedding(16, d)
        self.ln = nn.LayerNorm(d, eps=1e-12)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(d, 4, 128, 0.0, "gelu", batch_first=True) for _ in range(depth)
        )
        self.mlm = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d, eps=1e-12))
        self.bias = nn.Parameter(torch.zeros(WORDS))

    def forward(self, idx):
        x = self.ln(self.tok(idx) + self.pos.weight)
        for layer in self.layers:
            x = layer(x)
        return torch.einsum("bnd,vd->bnv", self.mlm(x), self.tok.weight) + self.bias


MODELS = (
    other("masked_autoregressive_flow", "generative", MAF, vectors),
    other("neural_spline_flow", "generative", SplineFlow, vectors),
    other("planar_flow", "generative", Planar, vectors),
    other("residual_flow", "generative", ContractiveFlow, vectors),
    other("n_vae", "generative", LadderVAE, pixels),
    other("big_gan", "generative", ConditionalNorm, given(normal(8, 8), ids(8, high=CLASSES))),
    other("style_gan_2", "generative", Modulated, given(normal(8, 16))),
    classifier(
        "gated_pixel_cnn", "generative", GatedPixelCNN, given(ids(8, 8, 8, high=8), ids(8, high=CLASSES)), classes=8
    ),
    other("ddpm_u_net", "generative", Denoiser, given(normal(4, 3, 16, 16), 100 * uniform(4))),
    other("edm_preconditioned", "generative", Preconditioned, given(normal(32, 32), 0.1 + uniform(32, 1))),
    other("u_vit", "generative", UViT, given(normal(4, 3, 16, 16), 100 * uniform(4), ids(4, high=CLASSES))),
    other("finite_scalar_quantisation", "generative", Finite, pixels),
    language("mask_git", Prior, "generative"),
)
