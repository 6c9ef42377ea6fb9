"""Recurrent networks of series, text and speech."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import ids, images, labels, normal, sentences, series, text, uniform
from zoo.torch.laws import bounded, drawn, frozen, laid, zeroed
from zoo.torch.layers import Net, conv, conv_norm, mlp, stacked
from zoo.torch.losses import next_token, own, tokenwise


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


def steps() -> tuple[Tensor, Tensor]:
    x = normal(32, 24, 32)
    return x, labels(x[:, -4:])


def tags() -> tuple[Tensor, Tensor]:
    x, _ = sentences(16, 24)
    return x, x % 16


def lone(body: nn.Module, head: nn.Module) -> nn.Module:
    """A recurrent body, and its last state's answer."""
    return Net(lambda net, x: net.head(net.body(x)[0][:, -1]), body=body, head=head)


def last_of(body: nn.Module, width: int, classes: int = 6) -> nn.Module:
    return lone(body, nn.Linear(width, classes))


def identity_recurrence() -> nn.Module:
    """IRNN: ReLU, the identity as recurrence, N(0, 0.001) elsewhere (Le 2015)."""
    model = last_of(nn.RNN(8, 100, nonlinearity="relu", batch_first=True), 100)
    for name, parameter in model.named_parameters():
        (init.zeros_ if "bias" in name else partial(init.normal_, std=1e-3))(parameter)
    init.eye_(model.body.weight_hh_l0)
    return model


def long_memory() -> nn.Module:
    """An LSTM whose forget biases are drawn for spans up to the length (Tallec 2018)."""
    model = last_of(nn.LSTM(8, 96, batch_first=True), 96)
    model.body.bias_hh_l0.data.zero_()
    span = torch.log(1 + torch.rand(96) * 30)
    for gate, value in enumerate((-span, span, 0 * span, 0 * span)):
        model.body.bias_ih_l0.data[96 * gate : 96 * (gate + 1)] = value
    return model


def reservoir() -> nn.Module:
    """An echo state network: a frozen sparse recurrence of spectral radius 0.9, and a zero head."""
    body = frozen(nn.RNN(8, 200, batch_first=True))
    weight = torch.randn(200, 200) * (torch.rand(200, 200) < 0.1)
    body.weight_hh_l0.data = 0.9 * weight / torch.linalg.eigvals(weight).abs().max()
    init.uniform_(body.weight_ih_l0, -0.5, 0.5)
    return Net(lambda net, x: net.head(net.body(x)[0][:, -1]), body=body, head=zeroed(nn.Linear(200, 6)))


def quasi() -> nn.Module:
    """QRNN: convolutions over two steps give candidate, forget and output gates; the rest is a scan."""

    def layer(fan_in: int) -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            seen = net.maps(functional.pad(x.transpose(1, 2), (1, 0))).transpose(1, 2)
            z, f, o = seen.chunk(3, -1)
            z, f, state, found = z.tanh(), f.sigmoid(), 0, []
            for step in range(x.shape[1]):
                state = f[:, step] * state + (1 - f[:, step]) * z[:, step]
                found.append(o[:, step].sigmoid() * state)
            return torch.stack(found, 1)

        return Net(run, maps=nn.Conv1d(fan_in, 288, 2))

    body = nn.Sequential(layer(64), layer(96), layer(96))
    return Net(lambda net, x: net.head(net.body(net.words(x))), words=nn.Embedding(200, 64), body=body, head=head(96))


def head(width: int) -> nn.Module:
    return nn.Linear(width, 200)


def averaged_sgd() -> nn.Module:
    """AWD-LSTM's model: tables uniform in 0.1, locked dropout, three LSTMs, the head shares the table."""

    def lock(x: Tensor, share: float) -> Tensor:
        return x * torch.empty_like(x[:, :1]).bernoulli_(1 - share) / (1 - share)

    def run(net: Any, x: Tensor) -> Tensor:
        x = lock(net.words(x), 0.3)
        for layer in net.layers:
            x = lock(layer(x)[0], 0.25)
        return net.head(x)

    layers = nn.ModuleList(nn.LSTM(a, b, batch_first=True) for a, b in ((64, 128), (128, 128), (128, 64)))
    model = Net(run, words=laid(nn.Embedding(200, 64), bounded(0.1)), layers=layers, head=zeroed(head(64)))
    model.head.weight = model.words.weight
    return model


def character_aware() -> nn.Module:
    """Characters through convolutions and highways (bias -2) to an LSTM (Kim 2016), uniform in 0.05."""

    def run(net: Any, letters: Tensor) -> Tensor:
        x = net.letters(letters).flatten(0, 1).transpose(1, 2)
        x = torch.cat([layer(x).amax(2).tanh() for layer in net.layers], 1)
        share = net.gate(x).sigmoid()
        x = share * net.change(x).relu() + (1 - share) * x
        return net.head(net.body(x.unflatten(0, letters.shape[:2]))[0])

    layers = nn.ModuleList(nn.Conv1d(16, 24 * kernel, kernel) for kernel in (1, 2, 3))
    parts = {"letters": nn.Embedding(40, 16), "layers": layers, "change": nn.Linear(144, 144), "head": head(128)}
    model = Net(run, **parts, gate=nn.Linear(144, 144), body=nn.LSTM(144, 128, batch_first=True))
    for parameter in model.parameters():
        init.uniform_(parameter, -0.05, 0.05)
    init.constant_(model.gate.bias, -2.0)
    return model


def inferred() -> nn.Module:
    """InferSent: both sentences through one BiLSTM, maxima, u, v, |u - v| and u v to a classifier."""

    def run(net: Any, a: Tensor, b: Tensor) -> Tensor:
        u, v = (net.body(net.words(x))[0].amax(1) for x in (a, b))
        return net.head(torch.cat([u, v, (u - v).abs(), u * v], 1))

    body = nn.LSTM(48, 64, bidirectional=True, batch_first=True)
    return Net(run, words=nn.Embedding(200, 48), body=body, head=mlp(512, 128, 3, act=nn.Tanh))


def convolutional() -> nn.Module:
    """ConvLSTM over frames; answers the next one."""

    def run(net: Any, frames: Tensor) -> Tensor:
        state = cell = frames.new_zeros(len(frames), 24, 16, 16)
        for step in range(frames.shape[1]):
            gates = net.gates(torch.cat([frames[:, step], state], 1)).chunk(4, 1)
            keep, let, show = (gate.sigmoid() for gate in gates[:3])
            cell = keep * cell + let * gates[3].tanh()
            state = show * cell.tanh()
        return net.head(state)

    return Net(run, gates=conv(25, 96), head=conv(24, 1, 1))


def translator() -> nn.Module:
    """A bidirectional GRU, additive attention and a GRU that writes; N(0, 0.01) (Bahdanau 2015)."""

    def run(net: Any, source: Tensor, target: Tensor) -> Tensor:
        memory, state = net.reader(net.source(source))
        state, keys, found = net.start(state[1]).tanh(), net.key(memory), []
        for step in range(target.shape[1]):
            score = net.score((keys + net.query(state)[:, None]).tanh()).softmax(1)
            context = (score * memory).sum(1)
            state = net.writer(torch.cat([net.target(target[:, step]), context], 1), state)
            found.append(net.head(torch.cat([state, context], 1)))
        return torch.stack(found, 1)

    words = {"source": nn.Embedding(200, 48), "target": nn.Embedding(200, 48)}
    parts = {"reader": nn.GRU(48, 64, bidirectional=True, batch_first=True), "writer": nn.GRUCell(176, 64)}
    maps = {"start": nn.Linear(64, 64), "key": nn.Linear(128, 64), "query": nn.Linear(64, 64)}
    model = Net(run, **words, **parts, **maps, score=nn.Linear(64, 1, bias=False), head=head(192))
    for name, parameter in model.named_parameters():
        if "bias" in name:
            init.zeros_(parameter)
        else:
            (init.orthogonal_ if "_hh" in name else partial(init.normal_, std=0.01))(parameter)
    return model


def pointer() -> nn.Module:
    """A pointer network that sorts: LSTMs and additive pointing, uniform in 0.08 (Vinyals 2015)."""

    def run(net: Any, x: Tensor, order: Tensor) -> Tensor:
        memory, (state, cell) = net.reader(x[..., None])
        state, cell, keys = state[0], cell[0], net.key(memory)
        shown, found = torch.zeros_like(x[:, :1]), []
        for step in range(x.shape[1]):
            state, cell = net.writer(shown, (state, cell))
            found.append(net.score((keys + net.query(state)[:, None]).tanh())[..., 0])
            shown = x.gather(1, order[:, step : step + 1])
        return torch.stack(found, 1)

    parts = {"reader": nn.LSTM(1, 64, batch_first=True), "writer": nn.LSTMCell(1, 64), "score": nn.Linear(64, 1, False)}
    model = Net(run, **parts, key=nn.Linear(64, 64, bias=False), query=nn.Linear(64, 64, bias=False))
    for parameter in model.parameters():
        init.uniform_(parameter, -0.08, 0.08)
    return model


def speaker() -> nn.Module:
    """Tacotron 2 in small: convolutions and a BiLSTM read, a prenet and an LSTM write; Xavier with gains."""

    def run(net: Any, letters: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        memory, _ = net.reader(net.convs(net.letters(letters).transpose(1, 2)).transpose(1, 2))
        shown = net.prenet(functional.pad(frames, (0, 0, 1, 0))[:, :-1])
        state = (memory.new_zeros(len(frames), 96), memory.new_zeros(len(frames), 96))
        keys, found = net.key(memory), []
        for step in range(frames.shape[1]):
            score = net.score((keys + net.query(state[0])[:, None]).tanh()).softmax(1)
            context = (score * memory).sum(1)
            state = net.writer(torch.cat([shown[:, step], context], 1), state)
            found.append(net.frame(torch.cat([state[0], context], 1)))
        first = torch.stack(found, 1)
        return first, first + net.postnet(first.transpose(1, 2)).transpose(1, 2)

    def layer(fan_in: int, fan_out: int, act: str) -> list[nn.Module]:
        one = nn.Conv1d(fan_in, fan_out, 5, padding=2, bias=False)
        init.xavier_uniform_(one.weight, gain=init.calculate_gain(act))
        return [one, nn.BatchNorm1d(fan_out), {"relu": nn.ReLU(), "tanh": nn.Tanh(), "linear": nn.Identity()}[act]]

    drop = nn.Dropout(0.5)
    prenet = stacked(nn.Linear(16, 48), nn.ReLU(), drop, nn.Linear(48, 48), nn.ReLU(), drop)
    parts = {"letters": laid(nn.Embedding(40, 64), bounded(math.sqrt(3) * math.sqrt(2 / 104))), "prenet": prenet}
    parts |= {"convs": stacked(layer(64, 64, "relu"), layer(64, 64, "relu")), "writer": nn.LSTMCell(112, 96)}
    parts |= {"reader": nn.LSTM(64, 32, bidirectional=True, batch_first=True), "score": nn.Linear(48, 1, bias=False)}
    parts |= {"key": nn.Linear(64, 48, bias=False), "query": nn.Linear(96, 48, bias=False), "frame": nn.Linear(160, 16)}
    for name in ("prenet", "frame"):
        drawn(parts[name], init.xavier_uniform_)
    for name in ("key", "query"):
        init.xavier_uniform_(parts[name].weight, gain=5 / 3)
    return Net(run, **parts, postnet=stacked(layer(16, 48, "tanh"), layer(48, 16, "linear")))


def listener() -> nn.Module:
    """Deep Speech 2: strided convolutions with batch norms and two BiGRUs, CTC; torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.convs(x[:, None]).flatten(1, 2).transpose(1, 2)
        return net.head(net.body(x)[0]).log_softmax(-1).transpose(0, 1)

    act = nn.Hardtanh(0, 20)
    convs = stacked(nn.Conv2d(1, 16, (11, 5), (2, 1), (5, 2)), nn.BatchNorm2d(16), act)
    convs = stacked(convs, nn.Conv2d(16, 16, (11, 5), (2, 2), (5, 2)), nn.BatchNorm2d(16), act)
    body = nn.GRU(128, 64, 2, bidirectional=True, batch_first=True)
    return Net(run, convs=convs, body=body, head=nn.Linear(128, 12))


def probable() -> nn.Module:
    """DeepAR: an LSTM gives mean and spread of the next value; its own likelihood."""

    def run(net: Any, x: Tensor, following: Tensor) -> Tensor:
        mean, spread = net.head(net.body(x[..., None])[0]).unbind(-1)
        sigma = functional.softplus(spread) + 1e-3
        return (sigma.log() + 0.5 * ((following - mean) / sigma) ** 2).mean()

    return Net(run, body=nn.LSTM(1, 48, 2, batch_first=True, dropout=0.1), head=nn.Linear(48, 2))


def following() -> tuple[Tensor, Tensor, Tensor]:
    x = series()
    return x[:, :-1], x[:, 1:], torch.zeros(32)


def gestures() -> tuple[Tensor, Tensor]:
    kind = ids(36, high=6, seed=63)
    wave = torch.sin(torch.arange(30)[None, :, None] * (0.2 + 0.15 * kind)[:, None, None] + torch.arange(8))
    return wave * math.sqrt(2) + 0.3 * normal(36, 30, 8, seed=64), kind


def spelt() -> tuple[Tensor, Tensor]:
    x, y = text(12, 14)
    return torch.stack([x % 40, x // 40, (x + y) % 40, (3 * x) % 40], -1), y


def entailed() -> tuple[Tensor, Tensor, Tensor]:
    a, kind = ids(32, 12, high=200, seed=65), ids(32, high=3, seed=66)
    other = ids(32, 12, high=200, seed=67)
    return a, torch.where(kind[:, None] == 0, a, torch.where(kind[:, None] == 1, a.flip(1) // 2, other)), kind


def pairs() -> tuple[Tensor, Tensor, Tensor]:
    source, target = text(12, 12)
    return source, target, (target + 5) % 200


def moving() -> tuple[Tensor, Tensor]:
    x = (images(12, 16)[0][:, :1] > 0.5).float()
    return torch.stack([x.roll(step, 3) for step in range(6)], 1), x.roll(6, 3)


def sorted_numbers() -> tuple[Tensor, Tensor, Tensor]:
    x = uniform(48, 8, seed=68)
    return x, x.argsort(1), x.argsort(1)


def spoken() -> tuple[Tensor, Tensor, Tensor]:
    letters = ids(12, 10, high=40, seed=69)
    frames = torch.sin(letters.repeat_interleave(2, 1)[..., None] * torch.arange(1, 17) / 16)
    return letters, frames, frames


def both_frames(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return functional.mse_loss(output[0], target) + functional.mse_loss(output[1], target)


def heard() -> tuple[Tensor, Tensor]:
    words = 1 + ids(12, 6, high=11, seed=70)
    tone = torch.exp(-0.1 * (torch.arange(32)[:, None] - 2.5 * words.repeat_interleave(10, 1)[:, None]) ** 2)
    return 2 * tone + 0.3 * normal(12, 32, 60, seed=71), words


def alignments(output: Tensor, target: Tensor) -> Tensor:
    steps, count, _ = output.shape
    return functional.ctc_loss(output, target, torch.full((count,), steps), torch.full((count,), target.shape[1]))


def crnn() -> nn.Module:
    """Convolutions over a line of writing, two LSTMs that look both ways, and CTC."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.head(net.read(net.see(x).mean(2).transpose(1, 2))[0]).log_softmax(-1)

    see = stacked(conv_norm(1, 32), nn.MaxPool2d(2), conv_norm(32, 64), nn.MaxPool2d(2), conv_norm(64, 64))
    return Net(run, see=see, read=nn.LSTM(64, 96, 2, batch_first=True, bidirectional=True), head=nn.Linear(192, 11))


def ctc(output: Tensor, target: Tensor) -> Tensor:
    long = [torch.full((len(x),), x.shape[1]) for x in (output, target)]
    return functional.ctc_loss(output.transpose(0, 1), target, *long)


def lines() -> tuple[Tensor, Tensor]:
    x = functional.interpolate(normal(8, 1, 4, 16, seed=323), size=(16, 64), mode="bilinear")
    return x, ids(8, 6, high=10, seed=324) + 1


def cut_waves() -> tuple[Tensor, Tensor]:
    return series(32, 49)[:, :40, None], series(32, 49)[:, 48:]


tuned, held_out = maker("torch", "recurrent", "tuned"), maker("torch", "recurrent", "held_out")
MODELS = (
    tuned("lstm_forget", lambda: recurrent(nn.LSTM, 1.0), steps),
    tuned("gru", lambda: recurrent(nn.GRU), steps),
    tuned("rnn_tanh", lambda: recurrent(nn.RNN), steps),
    tuned("lstm_tagger", tagger, tags, next_token),
    tuned("gru_characters", characters, sentences, next_token),
    tuned("fresh_irnn", identity_recurrence, gestures),
    tuned("fresh_chrono_lstm", long_memory, gestures),
    tuned("fresh_echo_state", reservoir, gestures),
    tuned("fresh_qrnn", quasi, text, tokenwise),
    tuned("fresh_awd_lstm", averaged_sgd, text, tokenwise),
    tuned("fresh_character_aware", character_aware, spelt, tokenwise),
    tuned("fresh_infersent", inferred, entailed),
    tuned("fresh_conv_lstm", convolutional, moving, "binary_cross_entropy_with_logits"),
    tuned("fresh_gru_attention", translator, pairs, tokenwise),
    tuned("fresh_pointer", pointer, sorted_numbers, tokenwise),
    tuned("fresh_tacotron", speaker, spoken, both_frames),
    tuned("fresh_deep_speech", listener, heard, alignments),
    tuned("fresh_deep_ar", probable, following, own),
    held_out(
        "last_lstm_forecast", lambda: lone(nn.LSTM(1, 64, 2, batch_first=True), nn.Linear(64, 1)), cut_waves, "mse_loss"
    ),
    held_out(
        "last_gru_3", lambda: lone(nn.GRU(1, 48, 3, batch_first=True), nn.Linear(48, 1)), cut_waves, "smooth_l1_loss"
    ),
    held_out("last_crnn", crnn, lines, ctc),
)
