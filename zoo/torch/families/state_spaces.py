"""Linear recurrences with gates: state spaces, linear attentions with decay and with the delta rule, xLSTM."""

import math

import torch

from zoo.torch.families.attention import LM, mask
from zoo.torch.families.rows import WORDS, language

nn, F = torch.nn, torch.nn.functional


class S5(nn.Module):
    """Smith et al. (2023): one complex diagonal system for all channels, HiPPO eigenvalues, zero-order hold."""

    def __init__(self, dim, state=16):
        super().__init__()
        self.lambda_re = nn.Parameter(-0.5 * torch.ones(state))
        self.lambda_im = nn.Parameter(math.pi * torch.arange(state).float())
        self.b = nn.Parameter(torch.randn(state, dim, 2) / (2 * dim) ** 0.5)
        self.c = nn.Parameter(torch.randn(dim, state, 2) / (2 * state) ** 0.5)
        self.d = nn.Parameter(torch.randn(dim))
        self.log_step = nn.Parameter(torch.rand(state) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        self.gate = nn.Linear(dim, dim)

    def forward(self, u):
        lam = torch.complex(self.lambda_re, self.lambda_im)
        step = torch.exp(self.log_step)
        a = torch.exp(lam * step)
        b = ((a - 1) / lam)[:, None] * torch.view_as_complex(self.b)
        c = torch.view_as_complex(self.c)
        bu = u.to(torch.complex64) @ b.T
        x, ys = torch.zeros_like(bu[:, 0]), []
        for t in range(u.shape[1]):
            x = a * x + bu[:, t]
            ys.append(x)
        y = 2 * (torch.stack(ys, 1) @ c.T).real + self.d * u
        y = F.gelu(y)
        return y * torch.sigmoid(self.gate(y))


class H3(nn.Module):
    """Fu et al. (2023): a shift and a diagonal state space between multiplications."""

    def __init__(self, dim, state=8):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.shift = nn.Parameter(torch.randn(dim, 4) * 0.5)
        self.log_a_real = nn.Parameter(torch.log(0.5 * torch.ones(dim, state)))
        self.a_imag = nn.Parameter(math.pi * torch.arange(state).float().repeat(dim, 1))
        self.c = nn.Parameter(torch.randn(dim, state, 2) * 0.5**0.5)
        self.log_dt = nn.Parameter(torch.linspace(math.log(1e-3), math.log(1e-1), dim))
        self.skip = nn.Parameter(torch.randn(dim))

    def kernel(self, n):
        a = -torch.exp(self.log_a_real) + 1j * self.a_imag
        dt_a = a * torch.exp(self.log_dt)[:, None]
        c = torch.view_as_complex(self.c) * (torch.exp(dt_a) - 1) / a
        return 2 * torch.einsum("hs,hsl->hl", c, torch.exp(dt_a[..., None] * torch.arange(n))).real

    def forward(self, x):
        n = x.shape[1]
        q, k, v = (f(x).transpose(1, 2) for f in (self.q, self.k, self.v))
        k = F.conv1d(F.pad(k, (3, 0)), self.shift.unsqueeze(1), groups=k.shape[1])
        kv = k * v
        spectrum = torch.fft.rfft(self.kernel(n), n=2 * n) * torch.fft.rfft(kv, n=2 * n)
        y = torch.fft.irfft(spectrum, n=2 * n)[..., :n] + self.skip[:, None] * kv
        return self.out((q * y).transpose(1, 2))


class Mamba(nn.Module):
    """Gu and Dao (2023), plainly: steps, inputs and outputs of the state read from the token."""

    def __init__(self, dim, state=8, rank=2):
        super().__init__()
        self.inner, self.state, self.rank = 2 * dim, state, rank
        self.in_proj = nn.Linear(dim, 2 * self.inner, bias=False)
        self.conv1d = nn.Conv1d(self.inner, self.inner, 4, groups=self.inner, padding=3)
        self.x_proj = nn.Linear(self.inner, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, self.inner)
        with torch.no_grad():
            dt = torch.exp(torch.rand(self.inner) * math.log(100) + math.log(0.001))
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1.0).repeat(self.inner, 1)))
        self.D = nn.Parameter(torch.ones(self.inner))
        self.out_proj = nn.Linear(self.inner, dim, bias=False)

    def forward(self, x):
        n = x.shape[1]
        x, z = self.in_proj(x).chunk(2, -1)
        x = F.silu(self.conv1d(x.transpose(1, 2))[..., :n].transpose(1, 2))
        dt, b, c = torch.split(self.x_proj(x), [self.rank, self.state, self.state], -1)
        dt = F.softplus(self.dt_proj(dt))
        da = torch.exp(torch.einsum("bld,dn->bldn", dt, -torch.exp(self.A_log)))
        dbx = torch.einsum("bld,bln,bld->bldn", dt, b, x)
        h, ys = torch.zeros_like(da[:, 0]), []
        for t in range(n):
            h = da[:, t] * h + dbx[:, t]
            ys.append(torch.einsum("bdn,bn->bd", h, c[:, t]))
        y = torch.stack(ys, dim=1) + x * self.D
        return self.out_proj(y * F.silu(z))


class SSD(nn.Module):
    """Dao and Gu (2024), Mamba-2: the same state space as masked attention, with a decay a head and a gated norm."""

    def __init__(self, dim, heads=4, state=8):
        super().__init__()
        self.heads, self.state, self.inner = heads, state, 2 * dim
        self.in_proj = nn.Linear(dim, 2 * self.inner + 2 * state + heads, bias=False)
        self.conv = nn.Conv1d(
            self.inner + 2 * state, self.inner + 2 * state, 4, groups=self.inner + 2 * state, padding=3
        )
        self.dt_bias = nn.Parameter(torch.log(torch.expm1(torch.linspace(0.001, 0.1, heads))))
        self.A_log = nn.Parameter(torch.log(torch.arange(1, heads + 1.0)))
        self.D = nn.Parameter(torch.ones(heads))
        self.norm, self.out_proj = nn.RMSNorm(self.inner), nn.Linear(self.inner, dim, bias=False)

    def forward(self, u):
        b, n, _ = u.shape
        z, xbc, dt = torch.split(self.in_proj(u), [self.inner, self.inner + 2 * self.state, self.heads], -1)
        xbc = F.silu(self.conv(xbc.mT)[..., :n].mT)
        x, bs, cs = xbc.split([self.inner, self.state, self.state], -1)
        x, dt = x.view(b, n, self.heads, -1), F.softplus(dt + self.dt_bias)
        a = (-torch.exp(self.A_log) * dt).cumsum(1)
        decay = torch.exp((a[:, :, None] - a[:, None]).masked_fill(~mask(n)[None, :, :, None], -torch.inf))
        scores = torch.einsum("btn,bsn->bts", cs, bs).unsqueeze(-1) * decay
        y = torch.einsum("btsh,bsh,bshp->bthp", scores, dt, x) + self.D[:, None] * x
        return self.out_proj(self.norm(y.flatten(2) * F.silu(z)))


class GatedLinear(nn.Module):
    """Yang et al. (2024), gated linear attention: a decay of each key channel from a low-rank map."""

    def __init__(self, dim, heads=2):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(dim, dim // 2, bias=False), nn.Linear(dim, dim // 2, bias=False)
        self.v_proj, self.g_proj = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.gk_proj = nn.Sequential(nn.Linear(dim, 8, bias=False), nn.Linear(8, dim // 2))
        self.norm, self.o_proj = nn.RMSNorm(dim // heads), nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        q, k, v, gk = (
            f(x).unflatten(-1, (self.heads, -1)) for f in (self.q_proj, self.k_proj, self.v_proj, self.gk_proj)
        )
        gk = F.logsigmoid(gk) / 16
        s, outs = torch.zeros(x.shape[0], self.heads, k.shape[-1], v.shape[-1]), []
        for t in range(x.shape[1]):
            s = s * gk[:, t].exp().unsqueeze(-1) + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
            outs.append(torch.einsum("bhk,bhkv->bhv", q[:, t] * q.shape[-1] ** -0.5, s))
        o = self.norm(torch.stack(outs, 1)).flatten(2)
        return self.o_proj(o * F.silu(self.g_proj(x)))


class Delta(nn.Module):
    """Schlag et al. (2021), Yang et al. (2024), DeltaNet: what the memory already answers is subtracted first."""

    def __init__(self, dim, heads=2, gated=False):
        super().__init__()
        self.heads, self.gated = heads, gated
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.b_proj, self.o_norm = nn.Linear(dim, heads, bias=False), nn.RMSNorm(dim // heads)
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, 4, padding=3, groups=dim, bias=False) for _ in range(3))
        if gated:
            self.a_proj = nn.Linear(dim, heads, bias=False)
            self.A_log = nn.Parameter(torch.log(torch.empty(heads).uniform_(1, 16)))
            self.dt_bias = nn.Parameter(torch.full((heads,), -3.0))
            self.g_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        n = x.shape[1]
        maps = zip(self.convs, (self.q_proj, self.k_proj, self.v_proj), strict=True)
        q, k, v = (
            F.silu(c(f(x).transpose(1, 2))[..., :n]).transpose(1, 2).unflatten(-1, (self.heads, -1)) for c, f in maps
        )
        q, k, beta = F.normalize(q, dim=-1), F.normalize(k, dim=-1), self.b_proj(x).sigmoid()
        s, outs = x.new_zeros(x.shape[0], self.heads, k.shape[-1], v.shape[-1]), []
        for t in range(n):
            if self.gated:
                decay = torch.exp(-self.A_log.exp() * F.softplus(self.a_proj(x[:, t]) + self.dt_bias))
                s = s * decay[..., None, None]
            old = (s * k[:, t, :, :, None]).sum(-2)
            s = s + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * (v[:, t] - old))
            outs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], s))
        o = self.o_norm(torch.stack(outs, 1)).flatten(2)
        return self.o_proj(o * F.silu(self.g_proj(x)) if self.gated else o)


class RGLRU(nn.Module):
    """De et al. (2024), Griffin: a gated linear recurrent unit, block-diagonal gates, beside a GELU branch."""

    def __init__(self, dim, blocks=4):
        super().__init__()
        self.blocks = blocks
        self.linear_y, self.linear_x, self.linear_out = (nn.Linear(dim, dim) for _ in range(3))
        self.conv = nn.Conv1d(dim, dim, 4, groups=dim, padding=3)
        self.a_param = nn.Parameter(torch.empty(dim).uniform_(0.9**2, 0.999**2).log().mul(-0.5).expm1().log())
        self.input_w = nn.Parameter(torch.randn(blocks, dim // blocks, dim // blocks) * (blocks / dim) ** 0.5)
        self.input_b = nn.Parameter(torch.zeros(blocks, dim // blocks))
        self.a_w = nn.Parameter(torch.randn(blocks, dim // blocks, dim // blocks) * (blocks / dim) ** 0.5)
        self.a_b = nn.Parameter(torch.zeros(blocks, dim // blocks))

    def block(self, x, w, b):
        x = x.unflatten(-1, (self.blocks, -1))
        return torch.sigmoid(torch.einsum("...hi,hij->...hj", x, w) + b).flatten(-2)

    def forward(self, x):
        y = F.gelu(self.linear_y(x))
        x = self.conv(self.linear_x(x).transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        log_a = -8.0 * self.block(x, self.a_w, self.a_b) * F.softplus(self.a_param)
        gated = x * self.block(x, self.input_w, self.input_b) * torch.sqrt(1 - torch.exp(2 * log_a))
        a, h, hs = torch.exp(log_a), torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            h = a[:, t] * h + gated[:, t]
            hs.append(h)
        return self.linear_out(torch.stack(hs, 1) * y)


class TimeMix(nn.Module):
    """Peng et al. (2024), RWKV-6: token shift by data, a decay from the token, a bonus for the present one."""

    def __init__(self, dim, heads=2, rank=8):
        super().__init__()
        self.heads = heads
        self.maa_x = nn.Parameter(1 - torch.linspace(0, 1, dim))
        self.maa = nn.Parameter(torch.linspace(0, 1, dim).repeat(5, 1))
        self.maa_w1 = nn.Parameter(torch.empty(dim, 5 * rank).uniform_(-1e-4, 1e-4))
        self.maa_w2 = nn.Parameter(torch.empty(5, rank, dim).uniform_(-1e-4, 1e-4))
        self.decay = nn.Parameter(-6 + 5 * torch.linspace(0, 1, dim) ** 0.7)
        self.decay_w1 = nn.Parameter(torch.empty(dim, rank).uniform_(-1e-4, 1e-4))
        self.decay_w2 = nn.Parameter(torch.empty(rank, dim).uniform_(-1e-4, 1e-4))
        self.bonus = nn.Parameter(torch.linspace(0, 0.5, dim).view(heads, -1))
        self.receptance, self.key, self.value, self.gate, self.output = (
            nn.Linear(dim, dim, bias=False) for _ in range(5)
        )
        self.ln_x = nn.GroupNorm(heads, dim, eps=64e-5)

    def forward(self, x):
        b, n, c = x.shape
        xx = F.pad(x, (0, 0, 1, -1)) - x
        lora = torch.tanh((x + xx * self.maa_x) @ self.maa_w1).view(b * n, 5, -1).transpose(0, 1)
        moved = torch.bmm(lora, self.maa_w2).view(5, b, n, -1) + self.maa[:, None, None]
        xw, xk, xv, xr, xg = (x + xx * m for m in moved)
        r, k, v = (
            f(z).view(b, n, self.heads, -1) for f, z in ((self.receptance, xr), (self.key, xk), (self.value, xv))
        )
        w = self.decay + torch.tanh(xw @ self.decay_w1) @ self.decay_w2
        w = torch.exp(-torch.exp(w)).view(b, n, self.heads, -1)
        s, outs = torch.zeros(b, self.heads, r.size(-1), r.size(-1)), []
        for t in range(n):
            kv = k[:, t, :, :, None] @ v[:, t, :, None]
            outs.append((r[:, t, :, None] @ (self.bonus[..., None] * kv + s)).squeeze(2))
            s = kv + w[:, t, :, :, None] * s
        y = self.ln_x(torch.stack(outs, 1).view(b * n, c)).view(b, n, c)
        return self.output(y * F.silu(self.gate(xg)))


class MatrixLSTM(nn.Module):
    """Beck et al. (2024), xLSTM's mLSTM: exponential input gates, a matrix memory, stabilised, in parallel form."""

    def __init__(self, dim, heads=2):
        super().__init__()
        self.heads, inner = heads, 2 * dim
        self.proj_up, self.proj_down = nn.Linear(dim, 2 * inner, bias=False), nn.Linear(inner, dim, bias=False)
        self.conv = nn.Conv1d(inner, inner, 4, padding=3, groups=inner)
        self.q, self.k, self.v = (nn.Parameter(torch.randn(inner // 4, 4, 4) * 0.3) for _ in range(3))
        self.igate, self.fgate = nn.Linear(3 * inner, heads), nn.Linear(3 * inner, heads)
        nn.init.zeros_(self.fgate.weight)
        nn.init.zeros_(self.igate.weight)
        self.fgate.bias = nn.Parameter(torch.linspace(3, 6, heads))
        self.outnorm, self.skip = nn.GroupNorm(heads, inner), nn.Parameter(torch.ones(inner))

    def blocked(self, x, w):
        return torch.einsum("btni,noi->btno", x.unflatten(-1, (-1, 4)), w).flatten(-2)

    def forward(self, x):
        b, n, _ = x.shape
        x, z = self.proj_up(x).chunk(2, -1)
        act = F.silu(self.conv(x.transpose(1, 2))[..., :n].transpose(1, 2))
        q, k, v = self.blocked(act, self.q), self.blocked(act, self.k), self.blocked(x, self.v)
        qkv = torch.cat([q, k, v], -1)
        i, f = self.igate(qkv).transpose(1, 2), F.logsigmoid(self.fgate(qkv)).transpose(1, 2).cumsum(-1)
        q, k, v = (t.view(b, n, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        d = (f.unsqueeze(-1) - f.unsqueeze(-2) + i.unsqueeze(-2)).masked_fill(~mask(n), -torch.inf)
        m = d.max(-1, keepdim=True).values
        c = q @ k.mT / math.sqrt(q.shape[-1]) * torch.exp(d - m)
        h = c @ v / (torch.maximum(c.sum(-1, keepdim=True).abs(), torch.exp(-m)) + 1e-6)
        h = self.outnorm(h.transpose(1, 2).reshape(b * n, -1)).view(b, n, -1)
        return self.proj_down((h + self.skip * act) * F.silu(z))


class ScalarLSTM(nn.Module):
    """xLSTM's sLSTM: exponential gates, a normaliser state, block-diagonal recurrence by heads."""

    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads, self.d = heads, dim // heads
        self.w = nn.Linear(dim, 4 * dim)
        self.r = nn.Parameter(torch.randn(4, heads, self.d, self.d) * self.d**-0.5)
        self.norm, self.out = nn.GroupNorm(heads, dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, dim = x.shape
        wx = self.w(x).view(b, n, 4, self.heads, self.d)
        h = c = torch.zeros(b, self.heads, self.d)
        norm, m, hs = torch.zeros_like(h), torch.zeros_like(h), []
        for t in range(n):
            z, i, f, o = (wx[:, t] + torch.einsum("bhd,ghde->bghe", h, self.r)).unbind(1)
            f = F.logsigmoid(f)
            new = torch.maximum(f + m, i)
            i, f, m = torch.exp(i - new), torch.exp(f + m - new), new
            c, norm = f * c + i * torch.tanh(z), f * norm + i
            h = torch.sigmoid(o) * c / norm
            hs.append(h)
        y = torch.stack(hs, 1).reshape(b * n, dim)
        return self.out(self.norm(y).view(b, n, dim))


class Mega(nn.Module):
    """Ma et al. (2023): a damped moving average of several dimensions, then one gated head of Laplace attention."""

    def __init__(self, dim, z=16, ema=4):
        super().__init__()
        self.delta, self.alpha = nn.Parameter(torch.randn(dim, ema) * 0.2), nn.Parameter(torch.randn(dim, ema) * 0.2)
        self.beta, self.eta = nn.Parameter(torch.randn(dim, ema) * 0.02 + 1), nn.Parameter(torch.randn(dim, ema) * 0.5)
        self.omega = nn.Parameter(torch.randn(dim))
        self.v_proj, self.mx_proj = nn.Linear(dim, 2 * dim), nn.Linear(dim, z + 4 * dim)
        self.h_proj = nn.Linear(2 * dim, dim)
        self.gamma, self.qk_beta = nn.Parameter(torch.randn(2, z) * 0.02 + 1), nn.Parameter(torch.zeros(2, z))
        self.dim, self.z = dim, z

    def average(self, x):
        n = x.shape[1]
        p, q = torch.sigmoid(self.delta), 1 - torch.sigmoid(self.delta) * torch.sigmoid(self.alpha)
        powers = torch.exp(torch.log(q)[..., None] * torch.arange(n))
        k = torch.einsum("dn,dnl->dl", p * self.beta * self.eta * self.eta.shape[-1] ** -0.5, powers)
        y = torch.fft.irfft(torch.fft.rfft(x.mT, 2 * n) * torch.fft.rfft(k, 2 * n), 2 * n)[..., :n]
        return F.silu(y.mT + x * self.omega)

    def forward(self, x):
        v, mx = F.silu(self.v_proj(x)), self.average(x)
        u, z, r, hx = self.mx_proj(mx).split([self.dim, self.z, 2 * self.dim, self.dim], -1)
        q, k = (F.silu(z).unsqueeze(2) * self.gamma + self.qk_beta).unbind(2)
        qk = q @ k.transpose(1, 2) / x.shape[1]
        w = 0.5 * (1 + torch.erf((qk - math.sqrt(0.5)) / math.sqrt(0.25 / math.pi) / math.sqrt(2)))
        h = F.silu(hx + self.h_proj((w * mask(x.shape[1])) @ v * F.silu(r)))
        return torch.sigmoid(u) * (h - x)


class ChannelMix(nn.Module):
    """Peng et al. (2023), RWKV-4: the WKV average over time by exponents, and squared ReLU with a receptance."""

    def __init__(self, dim=32, depth=3):
        super().__init__()
        self.emb, self.ln0, self.ln_out = nn.Embedding(WORDS, dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        linear = lambda a, b: nn.ModuleList(nn.Linear(a, b, bias=False) for _ in range(depth))
        self.k, self.v, self.r, self.o = (linear(dim, dim) for _ in range(4))
        self.ck, self.cv, self.cr = linear(dim, 4 * dim), linear(4 * dim, dim), linear(dim, dim)
        self.ln1, self.ln2 = (nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth)) for _ in range(2))
        self.mix = nn.Parameter(torch.full((depth, 5, dim), 0.5))
        self.time_decay = nn.Parameter(torch.linspace(-5, 3, dim).repeat(depth, 1))
        self.time_first = nn.Parameter(torch.full((depth, dim), math.log(0.3)))
        self.head = nn.Linear(dim, WORDS, bias=False)

    def wkv(self, k, v, w, u):
        a = b = torch.zeros_like(k[:, 0])
        out = []
        for t in range(k.size(1)):
            e = torch.exp(u + k[:, t])
            out.append((a + e * v[:, t]) / (b + e))
            decay, now = torch.exp(-torch.exp(w)), torch.exp(k[:, t])
            a, b = decay * a + now * v[:, t], decay * b + now
        return torch.stack(out, 1)

    def forward(self, idx):
        x = self.ln0(self.emb(idx))
        shift = nn.ZeroPad2d((0, 0, 1, -1))
        for i in range(len(self.k)):
            y = self.ln1[i](x)
            last = shift(y)
            k, v, r = (
                f[i](y * self.mix[i, j] + last * (1 - self.mix[i, j])) for j, f in enumerate((self.k, self.v, self.r))
            )
            x = x + self.o[i](torch.sigmoid(r) * self.wkv(k, v, self.time_decay[i], self.time_first[i]))
            y = self.ln2[i](x)
            last = shift(y)
            k = torch.square(torch.relu(self.ck[i](torch.lerp(last, y, self.mix[i, 3]))))
            x = x + torch.sigmoid(self.cr[i](torch.lerp(last, y, self.mix[i, 4]))) * self.cv[i](k)
        return self.head(self.ln_out(x))


MIXERS = {
    "s5": S5,
    "h3": H3,
    "mamba_by_hand": Mamba,
    "mamba_2_by_hand": SSD,
    "gated_linear_attention": GatedLinear,
    "delta_net": Delta,
    "gated_delta_net": lambda dim: Delta(dim, gated=True),
    "griffin": RGLRU,
    "rwkv_6": TimeMix,
    "x_lstm_matrix": MatrixLSTM,
    "x_lstm_scalar": ScalarLSTM,
    "mega": Mega,
}
MODELS = (
    *(language(name, lambda mixer=mixer: LM(mixer), "recurrent", blocks=r"h\.\d+") for name, mixer in MIXERS.items()),
    language("rwkv_4", ChannelMix, "recurrent"),
)
