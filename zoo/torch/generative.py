"""Recurrent networks, tables, graphs, generative models and networks of several parts, for false_alarms.py."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.layers import (
    Function,
    Net,
    Subject,
    conv,
    conv_norm,
    digit_images,
    digits,
    drawn,
    frozen,
    he,
    headed,
    ids,
    images,
    labels,
    mlp,
    next_token,
    normal,
    sentences,
    trained,
    zeroed,
)

# Recurrent


def recurrent(kind: type[nn.Module], forget: float | None = None, **options: Any) -> nn.Module:
    """Answers from the last step; Xavier, orthogonal recurrence, and a bias for the forget gate."""
    body = kind(32, 128, batch_first=True, **options)
    for name, parameter in body.named_parameters():
        (init.zeros_ if "bias" in name else init.orthogonal_ if "hh" in name else init.xavier_uniform_)(parameter)
        if forget is not None and "bias_ih" in name:
            parameter.data[128:256] = forget
    return Net(lambda net, x: net.head(net.body(x)[0][:, -1]), body=body, head=nn.Linear(128, 10))


def tagger() -> nn.Module:
    """A bidirectional LSTM of two layers over words; torch's own weights."""
    body = nn.LSTM(64, 64, 2, batch_first=True, bidirectional=True)
    parts = {"words": nn.Embedding(256, 64), "body": body, "head": nn.Linear(128, 16)}
    return Net(lambda net, x: net.head(net.body(net.words(x))[0]), **parts)


def characters() -> nn.Module:
    """A language model on a GRU of two layers; torch's own weights."""
    parts = {"letters": nn.Embedding(256, 128), "body": nn.GRU(128, 128, 2, batch_first=True)}
    return Net(lambda net, x: net.head(net.body(net.letters(x))[0]), **parts, head=nn.Linear(128, 256))


# Tables, graphs, sets


def recommender() -> nn.Module:
    """DLRM: features and four tables, their products, and a perceptron; N(0, 2 / (fan_in + fan_out))."""

    def run(net: Any, numbers: Tensor, chosen: Tensor) -> Tensor:
        bottom = net.bottom(numbers)
        rows = torch.stack([bottom, *(table(chosen[:, i]) for i, table in enumerate(net.tables))], 1)
        products = (rows @ rows.transpose(1, 2))[:, *torch.tril_indices(5, 5, -1)]
        return net.top(torch.cat([bottom, products], 1))

    bottom = nn.Sequential(mlp(13, 128, 32), nn.ReLU())
    model = Net(
        run, bottom=bottom, tables=nn.ModuleList(nn.Embedding(200, 32) for _ in range(4)), top=mlp(42, 128, 64, 1)
    )
    for table in model.tables:
        init.uniform_(table.weight, -math.sqrt(1 / 200), math.sqrt(1 / 200))
    return drawn(model, init.xavier_normal_)


def factors() -> nn.Module:
    """Matrix factorisation: small tables, biases zero."""
    tables = {"users": nn.Embedding(200, 64), "items": nn.Embedding(300, 64)}
    biases = {"user_bias": zeroed(nn.Embedding(200, 1)), "item_bias": zeroed(nn.Embedding(300, 1))}
    for table in tables.values():
        init.normal_(table.weight, std=0.1)

    def run(net: Any, user: Tensor, item: Tensor) -> Tensor:
        return (net.users(user) * net.items(item)).sum(1) + (net.user_bias(user) + net.item_bias(item))[:, 0]

    return Net(run, **tables, **biases)


def graph() -> nn.Module:
    """Graph convolutions on a fixed ring with chords, Xavier uniform (Kipf 2017)."""
    places = torch.arange(64)
    edges = torch.eye(64)
    for step in (1, 5):
        edges[places, (places + step) % 64] = edges[(places + step) % 64, places] = 1
    edges = edges / edges.sum(1).sqrt()[:, None] / edges.sum(0).sqrt()

    def run(net: Any, x: Tensor) -> Tensor:
        x = (net.edges @ net.first(x)).relu()
        return net.edges @ net.last((net.edges @ net.second(x)).relu())

    parts = {"first": nn.Linear(64, 128), "second": nn.Linear(128, 128), "last": nn.Linear(128, 7)}
    return drawn(Net(run, edges=edges, **parts), init.xavier_uniform_)


def points() -> nn.Module:
    """PointNet: the same perceptron at every point, the maximum over them; torch's own weights."""
    sizes = ((3, 64), (64, 64), (64, 128), (128, 256))
    each = [part for i, o in sizes for part in (nn.Conv1d(i, o, 1), nn.BatchNorm1d(o), nn.ReLU())]
    top = nn.Sequential(nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))
    return Net(lambda net, x: net.top(net.each(x).amax(2)), each=nn.Sequential(*each), top=top)


def bag_of_words() -> nn.Module:
    """Convolutions of three widths over words and their maxima (Kim 2014); torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.words(x).transpose(1, 2)
        return net.head(net.drop(torch.cat([layer(x).relu().amax(2) for layer in net.layers], 1)))

    layers = nn.ModuleList(nn.Conv1d(128, 100, kernel) for kernel in (3, 4, 5))
    return Net(run, words=nn.Embedding(256, 128), layers=layers, drop=nn.Dropout(0.5), head=nn.Linear(300, 10))


def skip_gram() -> nn.Module:
    """word2vec: inputs uniform in 1 / (2 width), outputs zero."""
    words, context = nn.Embedding(256, 100), zeroed(nn.Linear(100, 256, bias=False))
    init.uniform_(words.weight, -0.005, 0.005)
    return Net(lambda net, x: net.context(net.words(x)), words=words, context=context)


# Generative, and fields


def siren() -> nn.Module:
    """sin(30 W x), W uniform in sqrt(6 / fan_in) / 30, the first in 1 / fan_in (Sitzmann 2020)."""
    widths = (2, 256, 256, 256, 256)
    parts: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layer = nn.Linear(fan_in, fan_out)
        bound = 1 / fan_in if fan_in == 2 else math.sqrt(6 / fan_in) / 30
        init.uniform_(layer.weight, -bound, bound)
        parts += [layer, Function(lambda x: torch.sin(30 * x))]
    last = nn.Linear(256, 1)
    init.uniform_(last.weight, -math.sqrt(6 / 256) / 30, math.sqrt(6 / 256) / 30)
    return nn.Sequential(*parts, last)


def variational() -> nn.Module:
    def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = net.encoder(x).chunk(2, 1)
        return net.decoder(mean + (0.5 * logvar).exp() * torch.randn_like(mean)).sigmoid(), mean, logvar

    return Net(run, encoder=mlp(784, 256, 64), decoder=mlp(32, 256, 784))


def flow() -> nn.Module:
    """Coupling layers whose last maps are zero: the identity at first."""

    def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for step in net.steps:
            kept, changed = x.chunk(2, 1)
            logs, shift = step(kept).chunk(2, 1)
            x = torch.cat([changed * logs.tanh().exp() + shift, kept], 1)
            total = total + logs.tanh().sum(1)
        return x, total

    steps = [mlp(16, 128, 128, 32) for _ in range(6)]
    for step in steps:
        zeroed(step[-1])
    return Net(run, steps=nn.ModuleList(steps))


def diffusion(width: int = 64) -> nn.Module:
    """A small U-Net that knows the time; the last convolution of each branch and of all is zero."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor, time: Tensor) -> Tensor:
            hidden = net.first(x) + net.time(time)[..., None, None]
            return x + net.second(hidden)

        first = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), conv(width, width))
        second = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), zeroed(conv(width, width)))
        return Net(run, first=first, second=second, time=nn.Linear(width, width))

    def run(net: Any, x: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] * 1000 ** -torch.linspace(0, 1, width // 2)
        known = net.time(torch.cat([angles.sin(), angles.cos()], 1))
        top = net.down(net.enter(x), known)
        low = net.middle(net.shrink(top), known)
        return net.leave(net.up(top + functional.interpolate(low, scale_factor=2), known))

    parts = {"time": mlp(width, width, width, act=nn.SiLU), "enter": conv(3, width), "down": block(), "middle": block()}
    last = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), zeroed(conv(width, 3)))
    return Net(run, **parts, shrink=conv(width, width, stride=2), up=block(), leave=last)


def radiance() -> nn.Module:
    """NeRF: angles of the place, a perceptron with a skip, colour and density; torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        scaled = (x[..., None] * 2.0 ** torch.arange(6) * math.pi).flatten(1)
        seen = torch.cat([x, scaled.sin(), scaled.cos()], 1)
        return net.last(torch.cat([net.first(seen), seen], 1))

    return Net(run, first=nn.Sequential(mlp(39, 256, 256, 256), nn.ReLU()), last=mlp(295, 256, 256, 4))


def tied_autoencoder() -> nn.Module:
    """The decoder is the encoder's transpose."""

    def run(net: Any, x: Tensor) -> Tensor:
        hidden = net.second(net.first(x).relu())
        back = functional.linear(hidden, net.second.weight.T, net.back).relu()
        return functional.linear(back, net.first.weight.T, net.out)

    biases = {"back": nn.Parameter(torch.zeros(256)), "out": nn.Parameter(torch.zeros(784))}
    return drawn(Net(run, first=nn.Linear(784, 256), second=nn.Linear(256, 64), **biases), init.xavier_uniform_)


# Several networks in one


def siamese() -> nn.Module:
    encoder = drawn(mlp(128, 256, 256, 64), he)
    return Net(lambda net, a, b: (net.encoder(a), net.encoder(b)), encoder=encoder)


def values() -> nn.Module:
    """Q-learning: the value of the best action after, from a frozen copy of the network."""

    def run(net: Any, before: Tensor, action: Tensor, after: Tensor) -> Tensor:
        with torch.no_grad():
            best = net.target(after).amax(1)
        return net.online(before).gather(1, action[:, None])[:, 0] - 0.99 * best

    online, target = mlp(16, 128, 128, 4), mlp(16, 128, 128, 4)
    target.load_state_dict(online.state_dict())
    return Net(run, online=online, target=frozen(target))


def momentum() -> nn.Module:
    """Contrast with keys from a frozen copy of the encoder."""

    def make() -> nn.Module:
        return nn.Sequential(conv_norm(3, 32, stride=2), conv_norm(32, 64, stride=2), nn.Flatten(), nn.Linear(4096, 64))

    def run(net: Any, a: Tensor, b: Tensor) -> Tensor:
        query = functional.normalize(net.query(a), dim=1)
        with torch.no_grad():
            key = functional.normalize(net.key(b), dim=1)
        return query @ key.T / 0.2

    query, key = make(), make()
    key.load_state_dict(query.state_dict())
    return Net(run, query=query, key=frozen(key))


def actor_critic() -> nn.Module:
    """Orthogonal, sqrt(2) within, 0.01 for the policy, 1 for the value (Andrychowicz 2021)."""

    def tower(outputs: int, gain: float) -> nn.Module:
        model = drawn(mlp(16, 64, 64, outputs, act=nn.Tanh), partial(init.orthogonal_, gain=math.sqrt(2)))
        return headed(model, partial(init.orthogonal_, gain=gain))

    return Net(lambda net, x: (net.actor(x), net.critic(x)), actor=tower(4, 0.01), critic=tower(1, 1.0))


def small_convnet() -> nn.Module:
    body = (conv_norm(1, 16), nn.MaxPool2d(2), conv_norm(16, 32), nn.MaxPool2d(2))
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(32 * 49, 10))


def fine_tuned() -> nn.Module:
    """A frozen trained trunk and a fresh head."""
    model = frozen(trained(small_convnet(), digit_images(), 60))
    model[-1] = nn.Linear(32 * 49, 10)
    return model


# Batches and losses


def couples() -> tuple[Tensor, Tensor, Tensor]:
    a = normal(64, 128)
    near = torch.arange(64) % 2 == 0
    return (
        a,
        torch.where(near[:, None], a + 0.3 * normal(64, 128, seed=5), normal(64, 128, seed=6)),
        near.float() * 2 - 1,
    )


def cosine(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return functional.cosine_embedding_loss(*output, target)


def rebuilt() -> tuple[Tensor, Tensor]:
    x, _ = digits()
    return x, x


def first_error(output: tuple[Tensor, ...], target: Tensor) -> Tensor:
    return functional.mse_loss(output[0], target)


def likelihood(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    z, logdet = output
    return (0.5 * (z - target).square().sum(1) - logdet).mean() / z.shape[1]


def policy(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    logits, value = output
    return functional.cross_entropy(logits, target) + 0.5 * functional.mse_loss(value[:, 0], (target - 1.5) / 1.2)


def coordinates(width: int, outputs: int) -> tuple[Tensor, Tensor]:
    x = normal(512, width).clamp(-2, 2) / 2
    return x, torch.sin(3 * x[:, :1] + torch.arange(outputs)) * torch.cos(2 * x[:, 1:2])


def clicks() -> tuple[Tensor, Tensor, Tensor]:
    numbers, chosen = normal(64, 13), ids(64, 4, high=200)
    return numbers, chosen, (numbers.sum(1) + chosen[:, 0] / 50 > 2).float()[:, None]


def ratings() -> tuple[Tensor, Tensor, Tensor]:
    user, item = ids(64, high=200), ids(64, high=300, seed=3)
    return user, item, ((user % 5) - (item % 7) + 1.0) / 2.5


def nodes() -> tuple[Tensor, Tensor]:
    x = normal(8, 64, 64)
    return x, labels(x.flatten(0, 1), 7).view(8, 64)


def clouds() -> tuple[Tensor, Tensor]:
    shape = normal(32, 3, 1)
    return normal(32, 3, 128, seed=5) * (1 + shape.abs()), labels(shape)


def steps() -> tuple[Tensor, Tensor]:
    x = normal(32, 24, 32)
    return x, labels(x[:, -4:])


def tags() -> tuple[Tensor, Tensor]:
    x, _ = sentences(16, 24)
    return x, x % 16


def topics() -> tuple[Tensor, Tensor]:
    x = ids(32, 24, high=256)
    return x, x[:, :3].sum(1) % 10


def neighbours() -> tuple[Tensor, Tensor]:
    x = ids(64, high=256)
    return x, (x + 1) % 256


def noise() -> tuple[Tensor, Tensor, Tensor]:
    x, _ = images(16)
    time, added = torch.rand(16, generator=torch.Generator().manual_seed(8)), normal(16, 3, 32, 32, seed=9)
    share = time[:, None, None, None]
    return (1 - share).sqrt() * x + share.sqrt() * added, 1000 * time, added


def moves() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    before, action = normal(64, 16), ids(64, high=4)
    return before, action, before + 0.1 * normal(64, 16, seed=5), before[:, 0].sign()


def states() -> tuple[Tensor, Tensor]:
    x = normal(64, 16)
    return x, labels(x, 4)


def views() -> tuple[Tensor, Tensor, Tensor]:
    x, _ = images(32)
    return x, x + 0.3 * normal(32, 3, 32, 32, seed=5), torch.arange(32)


def data() -> tuple[Tensor, Tensor]:
    x = normal(64, 32) @ (torch.eye(32) + 0.2 * normal(32, 32, seed=3))
    return x, torch.zeros(64, 32)


# The collection

BINARY = "binary_cross_entropy_with_logits"


def other(name: str, build: Callable[[], nn.Module], batch: Any, loss: Any = "cross_entropy") -> Subject:
    return Subject(name, build, batch, loss, "other")


def sequence(name: str, build: Callable[[], nn.Module], batch: Any, loss: Any = "cross_entropy") -> Subject:
    return Subject(name, build, batch, loss, "rnn")


def nodewise(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


RECURRENT = (
    sequence("lstm_forget", lambda: recurrent(nn.LSTM, 1.0), steps),
    sequence("gru", lambda: recurrent(nn.GRU), steps),
    sequence("rnn_tanh", lambda: recurrent(nn.RNN), steps),
    sequence("lstm_tagger", tagger, tags, next_token),
    sequence("gru_characters", characters, sentences, next_token),
)

OTHERS = (
    other("siren", siren, partial(coordinates, 2, 1), "mse_loss"),
    other("dlrm", recommender, clicks, BINARY),
    other("matrix_factors", factors, ratings, "mse_loss"),
    other("graph", graph, nodes, nodewise),
    other("pointnet", points, clouds),
    other("text_cnn", bag_of_words, topics),
    other("word2vec", skip_gram, neighbours),
    other("vae", variational, rebuilt, first_error),
    other("flow", flow, data, likelihood),
    other("diffusion", diffusion, noise, "mse_loss"),
    other("nerf", radiance, partial(coordinates, 3, 4), "mse_loss"),
    other("autoencoder_tied", tied_autoencoder, rebuilt, "mse_loss"),
    other("siamese", siamese, couples, cosine),
    other("q_learning", values, moves, "mse_loss"),
    other("momentum_encoder", momentum, views),
    other("actor_critic", actor_critic, states, policy),
    other("fine_tuned", fine_tuned, digit_images),
)
