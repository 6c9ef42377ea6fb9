"""What `fanwise.torch.check` takes, as a multiple of one plain training step (forward and backward) of the same model.

    python -m bench check_overhead [--threads 2] [--rounds 5]
    python -m bench check_overhead --depth torch [--depths 100 400 800 2000]   # or jax, keras: seconds a layer
    python -m bench check_overhead --flax [--batch 4 --size 128]               # time and memory of a ResNet-50

Both are timed in turn in one process, in seconds of the processor; the ratio is that of the medians. Models of 10 to
100 million parameters, built from configurations, at batches for which a step takes about a second.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn

from bench.observing import depths, flax_resnet
from fanwise.torch import check


@dataclass(frozen=True)
class Case:
    """A model and a batch."""

    name: str
    build: Callable[[], nn.Module]
    batch: Callable[[], dict[str, torch.Tensor]]


def tokens(vocabulary: int, *shape: int) -> dict[str, torch.Tensor]:
    """Ids that are their own labels."""
    ids = torch.randint(0, vocabulary, shape)
    return {"input_ids": ids, "labels": ids}


def images(count: int, size: int) -> dict[str, torch.Tensor]:
    """Normal pixels and labels of two classes."""
    return {"pixel_values": torch.randn(count, 3, size, size), "labels": torch.randint(0, 2, (count,))}


def gpt2() -> nn.Module:
    """GPT-2 at 8 layers of 512 (51 M parameters with its tied table)."""
    sizes = {"n_layer": 8, "n_embd": 512, "n_head": 8}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))


def llama() -> nn.Module:
    """Llama at 12 layers of 512 (70 M)."""
    sizes = {"hidden_size": 512, "num_hidden_layers": 12, "intermediate_size": 1408, "num_attention_heads": 8}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, vocab_size=32000))


CASES = (
    Case("GPT-2, 8 x 512", gpt2, lambda: tokens(50257, 4, 128)),
    Case("Llama, 12 x 512", llama, lambda: tokens(32000, 4, 128)),
    Case(
        "ViT-S/16",
        lambda: transformers.ViTForImageClassification(
            transformers.ViTConfig(hidden_size=384, intermediate_size=1536, num_attention_heads=6)
        ),
        lambda: images(8, 224),
    ),
    Case(
        "ResNet-50",
        lambda: transformers.ResNetForImageClassification(transformers.ResNetConfig()),
        lambda: images(8, 224),
    ),
    Case(
        "BERT-base",
        lambda: transformers.BertForSequenceClassification(transformers.BertConfig()),
        lambda: {"input_ids": torch.randint(0, 30000, (4, 128)), "labels": torch.randint(0, 2, (4,))},
    ),
)


def step(model: nn.Module, batch: dict[str, Any]) -> None:
    """One plain forward and backward pass."""
    model.zero_grad(set_to_none=True)
    model(**batch).loss.backward()


def timed(call: Callable[[], object]) -> float:
    """Seconds of the processor that a call takes: what else runs on the machine counts less than by the clock."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measured(case: Case, rounds: int) -> tuple[float, float, float]:
    """Millions of parameters, seconds of a step, seconds of a check."""
    torch.manual_seed(0)
    model, batch = case.build().train(), case.batch()
    pairs = [(timed(lambda: step(model, batch)), timed(lambda: check(model, batch))) for _ in range(rounds + 1)]
    steps, checks = zip(*pairs[1:], strict=True)
    size = sum(tensor.numel() for tensor in model.parameters()) / 1e6
    return size, statistics.median(steps), statistics.median(checks)


def main() -> None:
    """Prints the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--depth", choices=tuple(depths.PAIRS), help="a series of depths in this framework instead")
    parser.add_argument("--depths", type=int, nargs="+", default=depths.DEPTHS)
    parser.add_argument("--flax", action="store_true", help="a ResNet-50 of Flax instead")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=128)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.flax:
        flax_resnet.compared(asked.batch, asked.size)
    elif asked.depth:
        for kind in depths.KINDS:
            depths.series(asked.depth, kind, tuple(asked.depths))
    else:
        table(asked)


def table(asked: argparse.Namespace) -> None:
    """Prints one line a model."""
    torch.set_num_threads(asked.threads)
    print(f"{'model':16s} {'parameters':>10s} {'step':>8s} {'check':>8s} {'ratio':>6s}")
    for case in CASES:
        size, plain, whole = measured(case, asked.rounds)
        print(f"{case.name:16s} {size:8.1f} M {plain:6.2f} s {whole:6.2f} s {whole / plain:5.2f}x")
