"""Models that are trained, and their data: small but real architectures, text and digits that every machine has.

Text is the source of Python's own standard library, character by character; images are the digits that come with
fanwise. Every model is built with its own initial weights, without dropout, about 64 to 96 wide.
"""

import sysconfig
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import attrgetter
from pathlib import Path

import torch
import transformers as tf
from torch import nn

from fanwise.lab.data import load_digits
from zoo.model import Model, Traits
from zoo.torch.tiny.batches import identity

PAD, START, END, MASK, OTHER = range(5)
"""Ids that are no character."""
VOCABULARY = OTHER + 1 + 96
LENGTH = 64
DEPTH = 4
MASKED = 0.15
IGNORED = -100
"""The target that torch's cross-entropy leaves out."""
GREYS = 4


@dataclass(frozen=True)
class Batch:
    """The arguments of forward, and the class asked for at every place."""

    args: tuple
    kwargs: dict
    targets: torch.Tensor


# Data


@lru_cache
def text():
    """Ids of the characters of the standard library: every tenth file is the test."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    parts = {"train": [], "test": []}
    for number, file in enumerate(files):
        parts["train" if number % 10 else "test"].append(file.read_bytes())
    return {part: encoded(b"\n".join(found)) for part, found in parts.items()}


def encoded(raw):
    """Printable ASCII and the line end have an id each; the rest has one together."""
    table = torch.full((256,), OTHER)
    table[32:127] = torch.arange(95) + OTHER + 1
    table[ord("\n")] = VOCABULARY - 1
    return table[torch.frombuffer(bytearray(raw), dtype=torch.uint8).long()]


def windows(part, count, generator):
    """Random stretches of LENGTH + 1 characters."""
    ids = text()[part]
    starts = torch.randint(len(ids) - LENGTH, (count, 1), generator=generator)
    return ids[starts + torch.arange(LENGTH + 1)]


def next_token(part, count, generator, **options):
    found = windows(part, count, generator)
    return Batch((found[:, :-1],), options, found[:, 1:])


def masked_tokens(ids, generator, share=MASKED):
    """The ids with some hidden, and where."""
    hidden = torch.rand(ids.shape, generator=generator) < share
    return ids.masked_fill(hidden, MASK), hidden


def masked(part, count, generator):
    found = windows(part, count, generator)[:, 1:]
    seen, hidden = masked_tokens(found, generator)
    return Batch((seen,), {}, found.masked_fill(~hidden, IGNORED))


def denoised(part, count, generator):
    """The encoder reads a text with holes, the decoder writes it in full."""
    found = windows(part, count, generator)
    found[:, 0] = START
    seen, _ = masked_tokens(found[:, 1:], generator)
    return Batch((), {"input_ids": seen, "decoder_input_ids": found[:, :-1], "use_cache": False}, found[:, 1:])


@lru_cache
def digits():
    data = load_digits()
    found = {"train": (data.train_x, data.train_y), "test": (data.test_x, data.test_y)}
    return {part: tuple(map(torch.from_numpy, arrays)) for part, arrays in found.items()}


def vectors(part, count, generator):
    x, y = digits()[part]
    chosen = torch.randint(len(x), (count,), generator=generator)
    return Batch((x[chosen],), {}, y[chosen])


def images(part, count, generator):
    found = vectors(part, count, generator)
    return Batch((found.args[0].view(-1, 1, 28, 28),), {}, found.targets)


def noisy(part, count, generator):
    """A digit under noise; asked for is the grey of every pixel, in steps."""
    (clean,) = images(part, count, generator).args
    greys = ((clean - clean.min()) / (clean.max() - clean.min()) * GREYS).long().clamp(max=GREYS - 1)
    return Batch((clean + torch.randn(clean.shape, generator=generator),), {}, greys.squeeze(1))


# Models made by hand


class Perceptron(nn.Sequential):
    """784 inputs, `depth` hidden layers with ReLU, 10 classes."""

    def __init__(self, depth=8, width=96):
        hidden = [part for _ in range(depth - 1) for part in (nn.Linear(width, width), nn.ReLU())]
        super().__init__(nn.Linear(784, width), nn.ReLU(), *hidden, nn.Linear(width, 10))


class Recurrent(nn.Module):
    """A language model on an LSTM of two layers."""

    def __init__(self, width=96):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.body = nn.LSTM(width, width, 2, batch_first=True)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, ids):
        """The logits at every character."""
        return self.head(self.body(self.embedding(ids))[0])


class PostNorm(nn.Module):
    """A causal language model of torch's own encoder layers, the norm after each sum, as in the first transformer."""

    def __init__(self, depth=6, width=64):
        super().__init__()
        options = {"dropout": 0.0, "batch_first": True, "norm_first": False}
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(width, 4, 4 * width, **options) for _ in range(depth))
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, ids):
        """The logits at every character."""
        x = self.embedding(ids) + self.positions(torch.arange(ids.shape[1]))
        hidden = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        for block in self.blocks:
            x = block(x, src_mask=hidden, is_causal=True)
        return self.head(x)


def conv(fan_in, fan_out, **options):
    return nn.Sequential(nn.Conv2d(fan_in, fan_out, 3, padding=1, **options), nn.BatchNorm2d(fan_out), nn.ReLU())


class UNet(nn.Module):
    """Twice down, twice up, with a skip at each size."""

    def __init__(self, width=16):
        super().__init__()
        self.enter, self.down = conv(1, width), conv(width, 2 * width, stride=2)
        self.bottom = nn.Sequential(conv(2 * width, 4 * width, stride=2), conv(4 * width, 4 * width))
        self.up = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.merge = conv(4 * width, 2 * width)
        self.top = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.end = conv(2 * width, width)
        self.head = nn.Conv2d(width, GREYS, 1)

    def forward(self, x):
        """The logits of every pixel."""
        first = self.enter(x)
        second = self.down(first)
        x = self.merge(torch.cat([self.up(self.bottom(second)), second], 1))
        return self.head(self.end(torch.cat([self.top(x), first], 1)))


# Models of transformers

SPECIALS = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
WIDE = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": DEPTH}
READER = SPECIALS | WIDE | {"vocab_size": VOCABULARY, "max_position_embeddings": LENGTH, "intermediate_size": 256}
GATED = READER | {"intermediate_size": 160, "num_key_value_heads": 2}
PICTURE = {"num_channels": 1, "num_labels": 10}


def gpt2():
    sizes = {"n_embd": 64, "n_layer": 6, "n_head": 4, "n_positions": LENGTH, "vocab_size": VOCABULARY}
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return tf.GPT2LMHeadModel(tf.GPT2Config(**sizes, **still, **SPECIALS))


def llama():
    return tf.LlamaForCausalLM(tf.LlamaConfig(**(GATED | {"num_hidden_layers": 6})))


def gpt_neox():
    return tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**READER))


def mixtral():
    experts = {"intermediate_size": 96, "num_local_experts": 4, "num_experts_per_tok": 2}
    return tf.MixtralForCausalLM(tf.MixtralConfig(**(GATED | experts)))


def bert():
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return tf.BertForMaskedLM(tf.BertConfig(**READER, **still))


def t5():
    sizes = {"vocab_size": VOCABULARY, "d_model": 64, "d_kv": 16, "d_ff": 256, "num_layers": 3, "num_heads": 4}
    special = {"pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": START}
    return tf.T5ForConditionalGeneration(tf.T5Config(**sizes, **special, dropout_rate=0.0))


def bart():
    sides = {"layers": 3, "attention_heads": 4, "ffn_dim": 256}
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in sides.items()}
    sizes |= {"d_model": 64, "vocab_size": VOCABULARY, "max_position_embeddings": LENGTH, "dropout": 0.0}
    return tf.BartForConditionalGeneration(tf.BartConfig(**sizes, **SPECIALS, decoder_start_token_id=START))


def mamba():
    sizes = {"hidden_size": 64, "state_size": 8, "num_hidden_layers": 2, "time_step_rank": 4}
    return tf.MambaForCausalLM(tf.MambaConfig(vocab_size=VOCABULARY, **sizes, **SPECIALS))


def resnet():
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [2, 2, 2], "layer_type": "basic"}
    return tf.ResNetForImageClassification(tf.ResNetConfig(**sizes, **PICTURE))


def convnext():
    sizes = {"num_stages": 2, "hidden_sizes": [32, 64], "depths": [2, 4], "patch_size": 2}
    return tf.ConvNextForImageClassification(tf.ConvNextConfig(**sizes, **PICTURE))


def vit():
    sizes = WIDE | {"image_size": 28, "patch_size": 4, "intermediate_size": 256}
    return tf.ViTForImageClassification(tf.ViTConfig(**sizes, **PICTURE))


def swin():
    sizes = {"image_size": 28, "patch_size": 2, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4]}
    return tf.SwinForImageClassification(tf.SwinConfig(**sizes, window_size=7, drop_path_rate=0.0, **PICTURE))


def mobilenet():
    sizes = {"image_size": 28, "depth_multiplier": 0.25, "output_stride": 16}
    return tf.MobileNetV2ForImageClassification(tf.MobileNetV2Config(**sizes, **PICTURE))


def channels_last(output):
    return output.movedim(1, -1)


def row(name, build, batch, *, data, logits, family="hf"):
    """A model to train: `batch(part, count, generator)` draws from "train" or "test"."""
    return Model(name, build, batch, None, family, "torch", use="training", traits=Traits(data=data, logits=logits))


NAMED = attrgetter("logits")
CAUSAL = partial(next_token, use_cache=False)
MODELS = (
    row("GPT-2", gpt2, CAUSAL, data="text", logits=NAMED),
    row("Llama", llama, CAUSAL, data="text", logits=NAMED),
    row("GPT-NeoX", gpt_neox, CAUSAL, data="text", logits=NAMED),
    row("Mixtral", mixtral, CAUSAL, data="text", logits=NAMED),
    row("BERT", bert, masked, data="text", logits=NAMED),
    row("T5", t5, denoised, data="text", logits=NAMED),
    row("BART", bart, denoised, data="text", logits=NAMED),
    row("Mamba", mamba, CAUSAL, data="text", logits=NAMED),
    row("LSTM", Recurrent, next_token, data="text", logits=identity, family="recurrent"),
    row("post-norm", PostNorm, next_token, data="text", logits=identity, family="transformer"),
    row("MLP", Perceptron, vectors, data="image", logits=identity, family="mlp"),
    row("ResNet", resnet, images, data="image", logits=NAMED),
    row("ConvNeXt", convnext, images, data="image", logits=NAMED),
    row("ViT", vit, images, data="image", logits=NAMED),
    row("Swin", swin, images, data="image", logits=NAMED),
    row("MobileNetV2", mobilenet, images, data="image", logits=NAMED),
    row("U-Net", UNet, noisy, data="image", logits=channels_last, family="cnn"),
)
