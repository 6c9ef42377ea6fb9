"""Networks of graphs and points: edges as index lists, scatters, spectral polynomials, generated weights."""

import torch

from zoo.torch.batches import ids, normal, uniform
from zoo.torch.families.rows import CLASSES, classifier, given, points

nn, F = torch.nn, torch.nn.functional
NODES, FEATURES = 24, 16


def edges():
    """Both directions of a ring with chords."""
    at = torch.arange(NODES)
    pairs = [torch.stack([at, (at + step) % NODES]) for step in (1, 3)]
    one = torch.cat(pairs, 1)
    return torch.cat([one, one.flip(0)], 1)


NODE_BATCH = given(normal(NODES, FEATURES), edges())


def softmax_over(value, index, count):
    value = (value - value.max()).exp()
    total = torch.zeros(count, *value.shape[1:]).index_add(0, index, value)
    return value / (total[index] + 1e-16)


class GATv2(nn.Module):
    """Brody et al. (2022): the vector of attention after the nonlinearity; edges as a list."""

    def __init__(self, i, o, heads=4):
        super().__init__()
        self.heads = heads
        self.lin_l, self.lin_r = nn.Linear(i, heads * o), nn.Linear(i, heads * o)
        self.att, self.bias = nn.Parameter(torch.empty(1, heads, o)), nn.Parameter(torch.zeros(heads * o))
        nn.init.xavier_uniform_(self.att)

    def forward(self, x, edge):
        src, dst = edge
        left, right = self.lin_l(x).view(len(x), self.heads, -1), self.lin_r(x).view(len(x), self.heads, -1)
        alpha = (F.leaky_relu(left[src] + right[dst], 0.2) * self.att).sum(dim=-1)
        alpha = softmax_over(alpha, dst, len(x)).unsqueeze(-1)
        out = torch.zeros_like(left).index_add_(0, dst, left[src] * alpha)
        return out.flatten(1) + self.bias


class PNA(nn.Module):
    """Corso et al. (2020): mean, largest, least and spread of messages, scaled by the degree's logarithm."""

    def __init__(self, i, o):
        super().__init__()
        self.pre, self.post, self.lin = nn.Linear(2 * i, i), nn.Linear(i + 12 * i, o), nn.Linear(o, o)

    def forward(self, x, edge):
        src, dst = edge
        m = self.pre(torch.cat([x[dst], x[src]], -1))
        at = dst[:, None].expand_as(m)
        base = torch.zeros_like(x)
        reduce = lambda how, v: base.scatter_reduce(0, at, v, how, include_self=False)
        mean = reduce("mean", m)
        std = torch.sqrt(F.relu(reduce("mean", m * m) - mean * mean) + 1e-5)
        out = torch.cat([mean, reduce("amax", m), reduce("amin", m), std], -1)
        degree = torch.log(torch.zeros(len(x)).index_add(0, dst, torch.ones(len(dst))) + 1).unsqueeze(-1)
        average = degree.mean()
        out = torch.cat([out, out * degree / average, out * average / degree], -1)
        return self.lin(self.post(torch.cat([x, out], -1)))


class Chebyshev(nn.Module):
    """Defferrard et al. (2016): polynomials of the Laplacian, one matrix an order, summed."""

    def __init__(self, i, o, k=4):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(k, i, o))
        nn.init.xavier_normal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(o))

    def forward(self, x, edge):
        a = torch.zeros(len(x), len(x)).index_put((edge[1], edge[0]), torch.tensor(1.0), accumulate=True)
        d = a.sum(1).rsqrt()
        lap = -d[:, None] * a * d
        terms = [x, lap @ x]
        while len(terms) < len(self.weight):
            terms.append(2 * lap @ terms[-1] - terms[-2])
        return torch.matmul(torch.stack(terms), self.weight).sum(0) + self.bias


class Relational(nn.Module):
    """Schlichtkrull et al. (2018), R-GCN: a matrix for each relation as a mix of shared bases."""

    def __init__(self, i, o, relations=3, bases=2):
        super().__init__()
        self.basis, self.comp = nn.Parameter(torch.empty(bases, i, o)), nn.Parameter(torch.empty(relations, bases))
        self.root, self.bias = nn.Parameter(torch.empty(i, o)), nn.Parameter(torch.zeros(o))
        for w in (self.basis, self.comp, self.root):
            nn.init.xavier_uniform_(w)

    def forward(self, x, edge):
        src, dst = edge
        kind = (src + dst) % len(self.comp)
        weight = torch.einsum("rb,bio->rio", self.comp, self.basis)
        m = torch.bmm(x[src].unsqueeze(1), weight[kind]).squeeze(1)
        out = torch.zeros(len(x), m.size(1)).index_add(0, dst, m / 4)
        return out + x @ self.root + self.bias


class GatedGraph(nn.Module):
    """Li et al. (2016): messages into a GRU cell, the same five times."""

    def __init__(self, i, o, steps=5):
        super().__init__()
        self.inp, self.steps = nn.Linear(i, o), steps
        self.weight, self.rnn = nn.Parameter(torch.randn(steps, o, o) / o**0.5), nn.GRUCell(o, o)

    def forward(self, x, edge):
        x = self.inp(x)
        for step in range(self.steps):
            m = torch.matmul(x, self.weight[step])
            m = torch.zeros_like(x).index_add_(0, edge[1], m[edge[0]])
            x = self.rnn(m, x)
        return x


class EdgeNetwork(nn.Module):
    """Gilmer et al. (2017): a network writes each edge's matrix; GRU updates with one shared cell."""

    def __init__(self, i, o, steps=3):
        super().__init__()
        self.lin0, self.steps, self.o = nn.Linear(i, o), steps, o
        self.nn = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, o * o))
        self.root, self.gru = nn.Linear(o, o), nn.GRU(o, o)

    def forward(self, x, edge):
        src, dst = edge
        h = torch.relu(self.lin0(x))
        state, kind = h.unsqueeze(0), F.one_hot((src * dst) % 4, 4).float()
        weight = self.nn(kind).view(-1, self.o, self.o)
        for _ in range(self.steps):
            m = torch.bmm(h[src].unsqueeze(1), weight).squeeze(1)
            m = torch.relu(torch.zeros_like(h).index_add(0, dst, m) / 4 + self.root(h))
            h, state = self.gru(m.unsqueeze(0), state)
            h = h.squeeze(0)
        return h


class Layers(nn.Module):
    """Two layers with ELU between and a head."""

    def __init__(self, layer, width=32, heads=1):
        super().__init__()
        self.conv1, self.conv2 = layer(FEATURES, width), layer(width * heads, width)
        self.lin = nn.Linear(width * heads, CLASSES)

    def forward(self, x, edge):
        x = F.elu(self.conv1(x, edge))
        return self.lin(F.elu(self.conv2(x, edge)))


class APPNP(nn.Module):
    """Gasteiger et al. (2019): predict first, then walk with returns; no weights in the walk."""

    def __init__(self, alpha=0.1):
        super().__init__()
        self.lin1, self.lin2, self.alpha = nn.Linear(FEATURES, 64), nn.Linear(64, CLASSES), alpha

    def forward(self, x, edge):
        h = z = self.lin2(F.dropout(self.lin1(F.dropout(x, 0.1, self.training)).relu(), 0.1, self.training))
        for _ in range(10):
            near = torch.zeros_like(z).index_add(0, edge[1], z[edge[0]] / 5) + z / 5
            z = (1 - self.alpha) * near + self.alpha * h
        return z


class JumpingKnowledge(nn.Module):
    """Xu et al. (2018): the largest over layers, residual blocks with batch norms in between."""

    def __init__(self, width=32, depth=5):
        super().__init__()
        self.enter = nn.Linear(FEATURES, width)
        self.convs = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(depth))
        self.out = nn.Linear(width, CLASSES)

    def forward(self, x, edge):
        h, xs = self.enter(x), []
        for conv, bn in zip(self.convs, self.bns, strict=True):
            near = torch.zeros_like(h).index_add(0, edge[1], h[edge[0]]) / 4
            h = h + F.relu(bn(conv(near)))
            xs += [h]
        return self.out(torch.stack(xs, dim=-1).max(dim=-1)[0])


class Graphormer(nn.Module):
    """Ying et al. (2021): degrees as tables, distances as biases of attention, a virtual node."""

    def __init__(self, d=32, heads=4, depth=3):
        super().__init__()
        self.node, self.degree = nn.Linear(FEATURES, d), nn.Embedding(16, d)
        self.spatial, self.token = nn.Embedding(12, heads), nn.Embedding(1, d)
        self.virtual = nn.Embedding(1, heads)
        self.heads = heads
        self.qkv, self.out = (nn.ModuleList(nn.Linear(d, n * d) for _ in range(depth)) for n in (3, 1))
        self.fc1, self.fc2 = (
            nn.ModuleList(nn.Linear(d, d) for _ in range(depth)),
            nn.ModuleList(nn.Linear(d, d) for _ in range(depth)),
        )
        self.ln1, self.ln2 = (nn.ModuleList(nn.LayerNorm(d) for _ in range(depth)) for _ in range(2))
        self.head = nn.Linear(d, CLASSES)

    def forward(self, x, degree, distance):
        b, n, _ = x.shape
        x = self.node(x) + self.degree(degree)
        x = torch.cat([self.token.weight.unsqueeze(0).repeat(b, 1, 1), x], dim=1)
        bias = x.new_zeros(b, self.heads, n + 1, n + 1)
        bias[:, :, 1:, 1:] = bias[:, :, 1:, 1:] + self.spatial(distance).permute(0, 3, 1, 2)
        t = self.virtual.weight.view(1, self.heads, 1)
        bias[:, :, 1:, 0] = bias[:, :, 1:, 0] + t
        bias[:, :, 0, :] = bias[:, :, 0, :] + t
        for i in range(len(self.qkv)):
            q, k, v = self.qkv[i](self.ln1[i](x)).view(b, n + 1, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            a = (q / q.size(-1) ** 0.5 @ k.transpose(-1, -2) + bias).softmax(-1)
            x = x + self.out[i]((a @ v).transpose(1, 2).flatten(2))
            x = x + self.fc2[i](F.gelu(self.fc1[i](self.ln2[i](x))))
        return self.head(x[:, 0])


class GPS(nn.Module):
    """Rampasek et al. (2022): message passing and global attention side by side, batch norms after the sums."""

    def __init__(self, d=32, depth=3):
        super().__init__()
        self.enter = nn.Linear(FEATURES, d)
        block = lambda: nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))
        self.local, self.mlp = (
            nn.ModuleList(block() for _ in range(depth)),
            nn.ModuleList(block() for _ in range(depth)),
        )
        self.attn = nn.ModuleList(nn.MultiheadAttention(d, 4, batch_first=True) for _ in range(depth))
        self.norms = nn.ModuleList(nn.ModuleList(nn.BatchNorm1d(d) for _ in range(3)) for _ in range(depth))
        self.eps, self.head = nn.Parameter(torch.zeros(depth)), nn.Linear(d, CLASSES)

    def forward(self, x, edge):
        h = self.enter(x)
        for i in range(len(self.attn)):
            near = torch.zeros_like(h).index_add(0, edge[1], F.relu(h[edge[0]]))
            one = self.norms[i][0](h + self.local[i]((1 + self.eps[i]) * h + near))
            two = self.norms[i][1](h + self.attn[i](h[None], h[None], h[None], need_weights=False)[0].squeeze(0))
            h = one + two
            h = self.norms[i][2](h + self.mlp[i](h))
        return self.head(h)


class PointTransformer(nn.Module):
    """Zhao et al. (2021): vector attention over neighbours, a subtraction in place of a product."""

    def __init__(self, d=32, near=8, depth=2):
        super().__init__()
        self.near, self.enter = near, nn.Linear(3, d)
        linear = lambda n: nn.ModuleList(nn.Linear(n, d) for _ in range(depth))
        self.fc1, self.fc2, self.q, self.k, self.v = (linear(d) for _ in range(5))
        self.delta1, self.delta2, self.gamma1, self.gamma2 = linear(3), linear(d), linear(d), linear(d)
        self.head = nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, CLASSES))

    def forward(self, xyz):
        b = len(xyz)
        idx = torch.cdist(xyz, xyz).argsort()[:, :, : self.near]
        take = lambda t: t[torch.arange(b)[:, None, None], idx]
        x = self.enter(xyz)
        for i in range(len(self.fc1)):
            y = self.fc1[i](x)
            q, k, v = self.q[i](y), take(self.k[i](y)), take(self.v[i](y))
            pos = self.delta2[i](F.relu(self.delta1[i](xyz[:, :, None] - take(xyz))))
            a = self.gamma2[i](F.relu(self.gamma1[i](q[:, :, None] - k + pos)))
            a = F.softmax(a / k.size(-1) ** 0.5, dim=-2)
            x = self.fc2[i](torch.einsum("bmnf,bmnf->bmf", a, v + pos)) + x
        return self.head(x.mean(1))


class PointNetPlus(nn.Module):
    """Qi et al. (2017), PointNet++: centres, balls around them, shared perceptrons with batch norms, maxima."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.ModuleList([nn.Conv2d(i, o, 1) for i, o in ((3, 32), (32, 32), (32, 64))])
        self.bn1 = nn.ModuleList([nn.BatchNorm2d(o) for o in (32, 32, 64)])
        self.conv2 = nn.ModuleList([nn.Conv1d(i, o, 1) for i, o in ((67, 64), (64, 128))])
        self.bn2 = nn.ModuleList([nn.BatchNorm1d(o) for o in (64, 128)])
        self.fc1, self.bn, self.fc2 = nn.Linear(128, 64), nn.BatchNorm1d(64), nn.Linear(64, CLASSES)

    def forward(self, xyz):
        centre = xyz[:, ::3]
        idx = torch.cdist(centre, xyz).topk(6, largest=False).indices
        near = torch.gather(
            xyz.unsqueeze(1).expand(-1, centre.size(1), -1, -1), 2, idx[..., None].expand(-1, -1, -1, 3)
        )
        y = (near - centre[:, :, None]).permute(0, 3, 2, 1)
        for conv, bn in zip(self.conv1, self.bn1, strict=True):
            y = F.relu(bn(conv(y)))
        y = torch.cat([centre.transpose(1, 2), torch.max(y, 2)[0]], 1)
        for conv, bn in zip(self.conv2, self.bn2, strict=True):
            y = F.relu(bn(conv(y)))
        return self.fc2(F.dropout(F.relu(self.bn(self.fc1(y.max(-1)[0]))), 0.4, self.training))


class Triangles(nn.Module):
    """Jumper et al. (2021), the pair stack of AlphaFold 2: triangle products and a transition, gates from norms."""

    def __init__(self, c=16, depth=2):
        super().__init__()
        self.left, self.right = nn.Linear(FEATURES, c), nn.Linear(FEATURES, c)
        linear = lambda i, o: nn.ModuleList(nn.Linear(i, o) for _ in range(2 * depth))
        self.norm_in, self.norm_out, self.norm_t = (
            nn.ModuleList(nn.LayerNorm(c) for _ in range(2 * depth)) for _ in range(3)
        )
        self.a, self.b, self.ga, self.gb, self.g, self.z = (linear(c, c) for _ in range(6))
        self.t1, self.t2 = linear(c, 4 * c), linear(4 * c, c)
        self.head = nn.Linear(c, CLASSES)

    def forward(self, x):
        p = self.left(x)[:, :, None] + self.right(x)[:, None]
        for i in range(len(self.a)):
            z = self.norm_in[i](p)
            a, b = torch.sigmoid(self.ga[i](z)) * self.a[i](z), torch.sigmoid(self.gb[i](z)) * self.b[i](z)
            how = "bikc,bjkc->bijc" if i % 2 == 0 else "bkic,bkjc->bijc"
            p = p + torch.sigmoid(self.g[i](z)) * self.z[i](self.norm_out[i](torch.einsum(how, a, b)))
            p = p + self.t2[i](F.relu(self.t1[i](self.norm_t[i](p))))
        return self.head(0.5 * (p + p.transpose(1, 2)))


MODELS = (
    classifier("gat_v2", "graph", lambda: Layers(GATv2, 8, 4), NODE_BATCH),
    classifier("principal_neighbourhoods", "graph", lambda: Layers(PNA), NODE_BATCH),
    classifier("cheb_net", "graph", lambda: Layers(Chebyshev), NODE_BATCH),
    classifier("relational_gcn", "graph", lambda: Layers(Relational), NODE_BATCH),
    classifier("gated_graph", "graph", lambda: Layers(GatedGraph), NODE_BATCH),
    classifier("edge_network", "graph", lambda: Layers(EdgeNetwork, 16), NODE_BATCH),
    classifier("appnp", "graph", APPNP, NODE_BATCH),
    classifier("jumping_knowledge", "graph", JumpingKnowledge, NODE_BATCH),
    classifier(
        "graphormer", "graph", Graphormer, given(normal(4, 12, FEATURES), ids(4, 12, high=16), ids(4, 12, 12, high=12))
    ),
    classifier("graph_gps", "graph", GPS, NODE_BATCH),
    classifier("point_transformer", "graph", PointTransformer, points),
    classifier("point_net_plus", "graph", PointNetPlus, points),
    classifier("triangle_updates", "graph", Triangles, given(uniform(2, 8, FEATURES) * 3.46 - 1.73)),
)
