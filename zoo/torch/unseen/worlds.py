"""Fields, agents and rows, at the initialisation that their authors state."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import classed, ids, normal, targets, uniform
from zoo.torch.losses import own


class NeuralSurface(nn.Module):
    """A signed distance (Atzmon 2020, Gropp 2020): geometric initialisation of a sphere, softplus of 100, one skip."""

    def __init__(self, width: int = 96, depth: int = 6) -> None:
        super().__init__()
        self.maps = nn.ModuleList()
        for i in range(depth):
            after = width - 3 if i == 2 else width
            layer = nn.Linear(3 if i == 0 else width, after)
            init.normal_(layer.weight, std=math.sqrt(2 / after))
            init.zeros_(layer.bias)
            self.maps.append(layer)
        self.last = nn.Linear(width, 1)
        init.normal_(self.last.weight, math.sqrt(math.pi / width), 1e-5)
        init.constant_(self.last.bias, -0.6)

    def distance(self, x: Tensor) -> Tensor:
        """The signed distance of each place."""
        start = x
        for i, layer in enumerate(self.maps):
            x = torch.cat([x, start], 1) / math.sqrt(2) if i == 3 else x
            x = functional.softplus(layer(x), 100)
        return self.last(x)

    def forward(self, on: Tensor, off: Tensor) -> Tensor:
        """Zero on the surface, slope 1 elsewhere."""
        off = off.clone().requires_grad_()
        slope = torch.autograd.grad(self.distance(off).sum(), off, create_graph=True)[0]
        return self.distance(on).abs().mean() + 0.1 * (slope.norm(dim=1) - 1).square().mean()


class Radiance(nn.Module):
    """NeRF whole (2020): eight maps with a skip, density and a direction's colour; torch's own weights."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        sizes = [39, *[width] * 4, width + 39, *[width] * 2]
        self.maps = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.density, self.feature = nn.Linear(width, 1), nn.Linear(width, width)
        self.view, self.colour = nn.Linear(width + 15, width // 2), nn.Linear(width // 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Colour and density of places seen from directions."""
        place, view = (self.waves(part, count) for part, count in zip(x.chunk(2, 1), (6, 2), strict=True))
        h = place
        for i, layer in enumerate(self.maps):
            h = layer(torch.cat([place, h], 1) if i == 5 else h).relu()
        seen = self.view(torch.cat([self.feature(h), view], 1)).relu()
        return torch.cat([self.colour(seen).sigmoid(), self.density(h)], 1)

    def waves(self, x: Tensor, count: int) -> Tensor:
        """The place, and sines and cosines of its octaves."""
        angle = (x[..., None] * 2.0 ** torch.arange(count)).flatten(1)
        return torch.cat([x, angle.sin(), angle.cos()], 1)


class Multiplied(nn.Module):
    """Multiplicative filters (Fathony 2021): sines times maps of products; U(sqrt(w / n)), U(-pi, pi) phases."""

    def __init__(self, width: int = 96, depth: int = 3, scale: float = 24.0) -> None:
        super().__init__()
        self.filters = nn.ModuleList(nn.Linear(2, width) for _ in range(depth + 1))
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, 3)
        for layer in self.filters:
            layer.weight.data *= scale / math.sqrt(depth + 1)
            init.uniform_(layer.bias, -math.pi, math.pi)
        bound = math.sqrt(1 / width)
        for layer in self.maps:
            init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """The colour of each place."""
        z = self.filters[0](x).sin()
        for filtered, layer in zip(self.filters[1:], self.maps, strict=True):
            z = filtered(x).sin() * layer(z)
        return self.last(z)


class GatedPhysics(nn.Module):
    """Wang's modified perceptron (2021) for -u'' = f: two encoders gate each layer, Glorot normal, tanh."""

    def __init__(self, width: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, width), nn.Linear(2, width)
        self.maps = nn.ModuleList(nn.Linear(2 if i == 0 else width, width) for i in range(depth))
        self.last = nn.Linear(width, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init.xavier_normal_(module.weight)
                init.zeros_(module.bias)

    def value(self, x: Tensor) -> Tensor:
        """The solution at each place."""
        u, v, h = self.one(x).tanh(), self.two(x).tanh(), x
        for layer in self.maps:
            z = layer(h).tanh()
            h = (1 - z) * u + z * v
        return self.last(h)

    def forward(self, inner: Tensor, border: Tensor) -> Tensor:
        """The squares of the equation's rest and of the border's values."""
        inner = inner.clone().requires_grad_()
        slope = torch.autograd.grad(self.value(inner).sum(), inner, create_graph=True)[0]
        rest = sum(
            torch.autograd.grad(slope[:, i].sum(), inner, create_graph=True)[0][:, i] for i in range(inner.shape[1])
        )
        wanted = (math.pi * inner).sin().prod(1)
        return (rest + wanted).square().mean() + 10 * self.value(border).square().mean()


class Dreamer(nn.Module):
    """DreamerV3's world model (2023): categorical states with 1 % of evenness, a zero head of the reward."""

    def __init__(self, width: int = 64, groups: int = 6, classes: int = 6) -> None:
        super().__init__()
        self.groups, self.classes, state = groups, classes, groups * classes

        def dense(before: int, after: int) -> nn.Module:
            layer = nn.Linear(before, after, bias=False)
            std = math.sqrt(2 / (before + after)) / 0.87962566103423978
            init.trunc_normal_(layer.weight, 0.0, std, -2 * std, 2 * std)
            return nn.Sequential(layer, nn.LayerNorm(after, eps=1e-3), nn.SiLU())

        self.encode = nn.Sequential(dense(20, width), dense(width, width))
        self.enter, self.gates = dense(state + 4, width), nn.Linear(2 * width, 3 * width, bias=False)
        self.norm = nn.LayerNorm(3 * width, eps=1e-3)
        init.xavier_normal_(self.gates.weight)
        self.prior = nn.Sequential(dense(width, width), nn.Linear(width, state))
        self.posterior = nn.Sequential(dense(2 * width, width), nn.Linear(width, state))
        self.decode = nn.Sequential(dense(width + state, width), nn.Linear(width, 20))
        self.reward = nn.Sequential(dense(width + state, width), nn.Linear(width, 31))
        for head in (self.prior, self.posterior, self.decode):
            init.xavier_uniform_(head[-1].weight)
            init.zeros_(head[-1].bias)
        init.zeros_(self.reward[-1].weight)
        init.zeros_(self.reward[-1].bias)

    def chances(self, logits: Tensor) -> Tensor:
        """The chances of each group's classes."""
        return 0.99 * logits.unflatten(-1, (self.groups, self.classes)).softmax(-1) + 0.01 / self.classes

    def forward(self, seen: Tensor, action: Tensor, reward: Tensor) -> Tensor:
        """Errors of what is seen and earned, and the distance of posterior and prior."""
        seen = seen.sign() * seen.abs().log1p()
        h, z = seen.new_zeros(len(seen), 64), seen.new_zeros(len(seen), self.groups * self.classes)
        loss = torch.zeros(())
        for step in range(seen.shape[1]):
            x = self.enter(torch.cat([z, action[:, step]], 1))
            reset, candidate, update = self.norm(self.gates(torch.cat([x, h], 1))).chunk(3, 1)
            update = (update - 1).sigmoid()
            h = update * (reset.sigmoid() * candidate).tanh() + (1 - update) * h
            prior = self.chances(self.prior(h))
            posterior = self.chances(self.posterior(torch.cat([h, self.encode(seen[:, step])], 1)))
            drawn = functional.one_hot(posterior.argmax(-1), self.classes) + posterior - posterior.detach()
            z = drawn.flatten(1)
            kl = (posterior * (posterior.log() - prior.log())).sum((1, 2))
            told = self.decode(torch.cat([h, z], 1))
            earned = functional.cross_entropy(self.reward(torch.cat([h, z], 1)), reward[:, step])
            loss = loss + 0.5 * (told - seen[:, step]).square().sum(1).mean() + earned + 0.6 * kl.clamp(min=1).mean()
        return loss / seen.shape[1]


class Categorical(nn.Module):
    """C51 (Bellemare 2017) with a duelling head: fifty-one chances of each action's worth; torch's own weights."""

    def __init__(self, actions: int = 4, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.gain, self.value = nn.Linear(width, actions * 51), nn.Linear(width, 51)

    def forward(self, x: Tensor, action: Tensor, chances: Tensor) -> Tensor:
        """The cross-entropy to the chances that were projected."""
        x = self.body(x)
        gain = self.gain(x).unflatten(1, (-1, 51))
        logits = self.value(x)[:, None] + gain - gain.mean(1, keepdim=True)
        return functional.cross_entropy(logits[torch.arange(len(x)), action], chances)


class Simba(nn.Module):
    """SimBa (2024): normed inputs, residual perceptrons of He weights behind layer norms, orthogonal ends."""

    def __init__(self, width: int = 96, depth: int = 2) -> None:
        super().__init__()
        self.enter = nn.Linear(17 + 6, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth + 1))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(depth))
        self.head = nn.Linear(width, 1)
        for layer in (self.enter, self.head):
            init.orthogonal_(layer.weight)
        for layer in (*self.up, *self.down):
            init.kaiming_normal_(layer.weight)
        for layer in (self.enter, self.head, *self.up, *self.down):
            init.zeros_(layer.bias)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """The worth of each action."""
        x = self.enter(torch.cat([state, action], 1))
        for norm, up, down in zip(self.norms, self.up, self.down, strict=False):
            x = x + down(up(norm(x)).relu())
        return self.head(self.norms[-1](x))


class Ordered(nn.Module):
    """CORAL (2020), one score and the borders of each grade, and DeepSurv's partial likelihood, of one SELU tower."""

    def __init__(self, grades: int = 5) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for a, b in pairwise((20, 64, 64)):
            parts += [nn.Linear(a, b), nn.SELU(), nn.AlphaDropout(0.0)]
            init.normal_(parts[-3].weight, std=1 / math.sqrt(a))
            init.zeros_(parts[-3].bias)
        self.body = nn.Sequential(*parts)
        self.score, self.risk = nn.Linear(64, 1, bias=False), nn.Linear(64, 1, bias=False)
        self.borders = nn.Parameter(torch.arange(grades - 1, 0, -1).float() / (grades - 1))

    def forward(self, x: Tensor, grade: Tensor, time: Tensor) -> Tensor:
        """Both losses."""
        x = self.body(x)
        above = (grade[:, None] > torch.arange(len(self.borders))).float()
        ordinal = functional.binary_cross_entropy_with_logits(self.score(x) + self.borders, above)
        risk = self.risk(x)[:, 0][time.argsort(descending=True)]
        return ordinal + (risk.logcumsumexp(0) - risk).mean()


class Evidence(nn.Module):
    """Deep evidential regression (2020): the four numbers of a normal-inverse-gamma; torch's own weights."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers = (nn.Linear(12, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Minus the likelihood of the evidence, and its regulariser."""
        middle, v, alpha, beta = self.body(x).unbind(1)
        v, alpha, beta = functional.softplus(v), functional.softplus(alpha) + 1, functional.softplus(beta)
        omega = 2 * beta * (1 + v)
        error = y[:, 0] - middle
        nll = 0.5 * torch.log(math.pi / v) - alpha * omega.log() + (alpha + 0.5) * (error**2 * v + omega).log()
        nll = nll + alpha.lgamma() - (alpha + 0.5).lgamma()
        return (nll + 0.01 * error.abs() * (2 * v + alpha)).mean()


class Inner(nn.Module):
    """MAML (2017): two inner steps of a small net whose start is learnt; sines, truncated N(0, 0.01) as its authors."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        shapes = ((width, 1), (width, width), (1, width))
        self.weights = nn.ParameterList(
            nn.Parameter(init.trunc_normal_(torch.empty(s), 0.0, 0.01, -0.02, 0.02)) for s in shapes
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(shape[0])) for shape in shapes)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The error behind the inner steps, over tasks."""
        total = torch.zeros(())
        for place, value in zip(x, y, strict=True):
            weights, biases = list(self.weights), list(self.biases)
            for _ in range(2):
                error = functional.mse_loss(self.answer(weights, biases, place[:10]), value[:10])
                slopes = torch.autograd.grad(error, [*weights, *biases], create_graph=True)
                moved = [a - 0.01 * b for a, b in zip([*weights, *biases], slopes, strict=True)]
                weights, biases = moved[:3], moved[3:]
            total = total + functional.mse_loss(self.answer(weights, biases, place[10:]), value[10:])
        return total / len(x)

    def answer(self, weights: list[Tensor], biases: list[Tensor], x: Tensor) -> Tensor:
        """What the net of these weights says."""
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = functional.linear(x, weight, bias)
            x = x.relu() if i < 2 else x
        return x


def surface() -> tuple[Tensor, Tensor, Tensor]:
    x = functional.normalize(normal(128, 3), dim=1)
    return x * torch.tensor([0.8, 0.5, 0.5]), 2 * uniform(128, 3, seed=2) - 1, torch.zeros(())


def rays() -> tuple[Tensor, Tensor]:
    place, view = 2 * uniform(256, 3) - 1, functional.normalize(normal(256, 3), dim=1)
    colour = 0.5 + 0.5 * torch.sin(3 * place)
    return torch.cat([place, view], 1), torch.cat([colour, (place.norm(dim=1, keepdim=True) < 0.7).float()], 1)


def picture() -> tuple[Tensor, Tensor]:
    x = 2 * uniform(256, 2) - 1
    return x, torch.sin(4 * x[:, :1] + torch.arange(3)) * torch.cos(3 * x[:, 1:])


def square() -> tuple[Tensor, Tensor, Tensor]:
    border = 2 * uniform(64, 2, seed=3) - 1
    border = torch.where(torch.arange(2) == (torch.arange(64) % 2)[:, None], border.sign(), border)
    return 2 * uniform(128, 2) - 1, border, torch.zeros(())


def dreams() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    action = functional.one_hot(ids(16, 6, high=4), 4).float()
    seen = normal(16, 1, 20) + 0.3 * action.cumsum(1) @ normal(4, 20, seed=3)
    return seen, action, (10 + 5 * seen[..., 0].tanh()).long(), torch.zeros(())


def worths() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = normal(64, 16)
    middle = 25 + 10 * x[:, :1].tanh()
    chances = (-0.5 * (torch.arange(51) - middle).square() / 4).softmax(1)
    return x, ids(64, high=4), chances, torch.zeros(())


def earned() -> tuple[Tensor, Tensor, Tensor]:
    state, action = normal(64, 17), 2 * uniform(64, 6) - 1
    return state, action, targets(torch.cat([state, action], 1))


def graded() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, grade = classed(normal(64, 20, seed=13), 5)
    return x, grade, targets(x)[:, 0].exp(), torch.zeros(())


def measured() -> tuple[Tensor, Tensor, Tensor]:
    x = normal(64, 12, seed=14)
    return x, targets(x) + 0.2 * normal(64, 1, seed=15), torch.zeros(())


def tasks() -> tuple[Tensor, Tensor, Tensor]:
    x = 10 * uniform(6, 20, 1) - 5
    return x, (0.5 + 2 * uniform(6, 1, 1, seed=2)) * (x + 3 * uniform(6, 1, 1, seed=3)).sin(), torch.zeros(())


heard, rows = maker("torch", "cnn", "unseen", own), maker("torch", "tabular", "unseen", own)
told, linked = maker("torch", "transformer", "unseen"), maker("torch", "graph", "unseen", own)
placed, acted = maker("torch", "fields", "unseen", own), maker("torch", "agents", "unseen", own)
MODELS = (
    placed("neural_surface", NeuralSurface, surface),
    placed("nerf_whole", Radiance, rays, "mse_loss"),
    placed("multiplied_filters", Multiplied, picture, "mse_loss"),
    placed("gated_physics", GatedPhysics, square),
    acted("dreamer", Dreamer, dreams),
    acted("categorical_worth", Categorical, worths),
    acted("simba", Simba, earned, "mse_loss"),
    rows("ordinal_survival", Ordered, graded),
    rows("evidential", Evidence, measured),
    rows("maml", Inner, tasks),
)
