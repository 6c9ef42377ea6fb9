"""Models that are little more than one of torch.nn's own modules."""

import warnings
from typing import Any

import torch

from zoo.model import Arguments, Model
from zoo.torch.tiny.batches import (
    BATCH,
    CLASSES,
    LENGTH,
    VOCABULARY,
    Build,
    features,
    identity,
    ids,
    normal,
    tokens,
)
from zoo.torch.tiny.rows import tiny

nn, Tensor = torch.nn, torch.Tensor

WIDTH = 32
ATTENTION = {"nhead": 2, "dim_feedforward": 64, "batch_first": True}


class Tagger(nn.Module):
    """An embedding, an encoder and a head at every token."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.body = body
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.body(self.embedding(tokens)))


class Translator(nn.Module):
    """nn.Transformer between an embedding and a head, with a causal mask."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.transformer = nn.Transformer(WIDTH, num_encoder_layers=depth, num_decoder_layers=depth, **ATTENTION)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        decoded = self.transformer(self.embedding(source), self.embedding(target), tgt_mask=mask, tgt_is_causal=True)
        return self.head(decoded)


class Recurrent(nn.Module):
    """A stack of recurrent layers with a head on its last state."""

    def __init__(self, body: nn.RNNBase, width: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, CLASSES)

    def forward(self, series: Tensor) -> Tensor:
        with warnings.catch_warnings():  # said once a process, of the default implementation that it falls back to
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            states, _ = self.body(series)
        return self.head(states[:, -1])


class CellLoop(nn.Module):
    """An LSTMCell, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(8, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, series: Tensor) -> Tensor:
        state = None
        for step in series.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0])


class CrossAttention(nn.Module):
    """A residual attention from one sequence to another of other widths, so with separate projections."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, kdim=24, vdim=16, batch_first=True)

    def forward(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return x + self.attention(self.norm(x), key, value, need_weights=False)[0]


class CrossAttentionStack(nn.Module):
    """Blocks of cross-attention, the mean over positions and a head."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CrossAttention() for _ in range(depth))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, key, value)
        return self.head(x.mean(1))


class SelfAttention(nn.Module):
    """A residual block around nn.MultiheadAttention with one fused projection, and its weights as a second output."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        update, _ = self.attention(normed, normed, normed)
        return x + update


def encoder(depth: int, *, norm_first: bool, activation: str = "relu") -> nn.Module:
    """A tagger on nn.TransformerEncoder."""
    layer = nn.TransformerEncoderLayer(WIDTH, norm_first=norm_first, activation=activation, **ATTENTION)
    return Tagger(nn.TransformerEncoder(layer, depth, enable_nested_tensor=False))


def source_and_target() -> Arguments:
    """Token ids for an encoder and for its decoder."""
    return Arguments((ids(BATCH, LENGTH), ids(BATCH, 12, seed=3)))


def three_widths() -> Arguments:
    """Queries, keys and values, each of its own width."""
    return Arguments((normal(BATCH, 8, WIDTH), normal(BATCH, LENGTH, 24, seed=2), normal(BATCH, LENGTH, 16, seed=3)))


def recurrent(name: str, build: Build) -> Model:
    """A classifier of series; its layers are one module, so it names no blocks."""
    return tiny(
        family="recurrent",
        name=name,
        build=build,
        batch=features(BATCH, 12, 8),
        classes=CLASSES,
        logits=identity,
    )


def tagger(name: str, build: Build, blocks: str = r"body\.layers\.\d+", **changes: Any) -> Model:
    """A token model with a head over the vocabulary."""
    usual = {"batch": tokens(), "deep": True, "classes": VOCABULARY, "logits": identity, "data": "text"}
    return tiny(name=name, build=build, family="transformer", blocks=blocks, **(usual | changes))


MODELS = (
    tagger("nn_transformer", Translator, r"transformer\.decoder\.layers\.\d+", batch=source_and_target),
    tagger("nn_encoder_post_norm", lambda depth: encoder(depth, norm_first=False)),
    tagger("nn_encoder_pre_norm", lambda depth: encoder(depth, norm_first=True, activation="gelu")),
    tagger(
        "nn_attention",
        lambda depth: Tagger(nn.Sequential(*(SelfAttention() for _ in range(depth)))),
        r"body\.\d+",
    ),
    tiny(
        family="transformer",
        name="nn_cross_attention",
        build=CrossAttentionStack,
        batch=three_widths,
        deep=True,
        classes=CLASSES,
        logits=identity,
        blocks=r"blocks\.\d+",
    ),
    recurrent("nn_rnn", lambda depth: Recurrent(nn.RNN(8, WIDTH, depth, batch_first=True), WIDTH)),
    recurrent(
        "nn_rnn_relu",
        lambda depth: Recurrent(nn.RNN(8, WIDTH, depth, nonlinearity="relu", batch_first=True), WIDTH),
    ),
    recurrent("nn_gru", lambda depth: Recurrent(nn.GRU(8, WIDTH, depth, batch_first=True), WIDTH)),
    recurrent("nn_lstm", lambda depth: Recurrent(nn.LSTM(8, WIDTH, depth, batch_first=True), WIDTH)),
    recurrent(  # at the last position the way back has taken one step: weight_hh_l*_reverse of the top layer gets zeros
        "nn_lstm_bidirectional",
        lambda depth: Recurrent(nn.LSTM(8, WIDTH, depth, batch_first=True, bidirectional=True), 2 * WIDTH),
    ),
    recurrent(
        "nn_lstm_projected",
        lambda depth: Recurrent(nn.LSTM(8, WIDTH, depth, batch_first=True, proj_size=16), 16),
    ),
    recurrent("nn_lstm_cell", lambda _: CellLoop()),
)
