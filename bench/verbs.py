"""What `plan`, `apply` and `calibrate` cost beside one forward pass of the model, in the same process.

    python -m bench verbs                     # all models; about a minute
    python -m bench verbs mlp gpt2 --rounds 9
    python -m bench verbs mlp --profile calibrate

Times are the best of `--rounds` calls, interleaved; the forward pass is in evaluation mode without gradients. "own" is
what a call takes beyond one forward pass. With `--cpu` the processor's time is counted, which a machine that does other
things too disturbs less; then one thread is used.
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import fanwise.torch as fwt

CLASSES = 10


@dataclass(frozen=True)
class Model:
    """A model to time.

    Args:
        title: what it is.
        build: makes it.
        batch: makes its input.
    """

    title: str
    build: Callable[[], nn.Module]
    batch: Callable[[], Any]


def mlp(layers: int, width: int = 256) -> nn.Module:
    """Linear layers with ReLU between."""
    pairs = [part for _ in range(layers - 1) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*pairs, nn.Linear(width, CLASSES))


def gpt2() -> nn.Module:
    """The network of transformers' default configuration, GPT-2 small."""
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415  (seconds, for one model alone)

    return GPT2LMHeadModel(GPT2Config(use_cache=False))


class Bottleneck(nn.Module):
    """Three convolutions with batch norms beside an identity or a projection."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normed(given, width, 1),
            nn.ReLU(),
            *_normed(width, width, 3, stride),
            nn.ReLU(),
            *_normed(width, 4 * width, 1),
        )
        same = given == 4 * width and stride == 1
        self.side = nn.Identity() if same else nn.Sequential(*_normed(given, 4 * width, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """The rectified sum of both paths."""
        return torch.relu(self.body(x) + self.side(x))


def _normed(given: int, out: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(given, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)


def resnet50() -> nn.Module:
    """ResNet-50: stages of 3, 4, 6 and 3 bottlenecks."""
    blocks: list[nn.Module] = []
    given = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            width = 64 << stage
            blocks.append(Bottleneck(given, width, 2 if stage and not block else 1))
            given = 4 * width
    stem = (*_normed(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, 1000))


MODELS = {
    "mlp": Model("MLP, 20 layers of 256, batch 64", lambda: mlp(20), lambda: torch.randn(64, 256)),
    "small": Model("MLP, 8 layers of 256, batch 64", lambda: mlp(8), lambda: torch.randn(64, 256)),
    "gpt2": Model("GPT-2, 8 x 512 tokens", gpt2, lambda: {"input_ids": torch.randint(0, 50257, (8, 512))}),
    "resnet50": Model("ResNet-50, 8 x 3 x 224 x 224", resnet50, lambda: torch.randn(8, 3, 224, 224)),
}


def calls(model: nn.Module, batch: Any) -> dict[str, Callable[[], Any]]:
    """The calls to time, the forward pass first."""
    plan = fwt.plan(model, batch)
    return {
        "forward": lambda: _forward(model, batch),
        "plan": lambda: fwt.plan(model, batch),
        "apply": lambda: fwt.apply(model, plan, 0),
        "calibrate": lambda: fwt.calibrate(model, batch),
    }


def _forward(model: nn.Module, batch: Any) -> Any:
    with torch.no_grad():
        return model(**batch) if isinstance(batch, dict) else model(batch)


Clock = Callable[[], float]


def seconds(call: Callable[[], Any], clock: Clock) -> float:
    """The time of one call."""
    start = clock()
    call()
    return clock() - start


def measured(model: Model, rounds: int, clock: Clock) -> dict[str, float]:
    """The best time of each call."""
    torch.manual_seed(0)
    network, batch = model.build().eval(), model.batch()
    several = calls(network, batch)
    times = [{name: seconds(call, clock) for name, call in several.items()} for _ in range(rounds + 1)]
    return {name: min(one[name] for one in times[1:]) for name in several}


def line(model: Model, rounds: int, clock: Clock) -> str:
    """A row of the table."""
    times = measured(model, rounds, clock)
    base = times.pop("forward")
    cells = [f"{time / base:.2f}x ({1e3 * (time - base):+.0f} ms own)" for time in times.values()]
    return " | ".join([f"| {model.title}", f"{1e3 * base:.1f} ms", *cells]) + " |"


def profile(model: Model, name: str) -> None:
    """Prints where one call spends its time."""
    call = calls(model.build().eval(), model.batch())[name]
    call()
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(call)
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(60)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[[], *MODELS], help="all where none is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="count the processor's time, on one thread")
    parser.add_argument("--profile", metavar="CALL", choices=["plan", "apply", "calibrate"])
    options = parser.parse_args()
    chosen = [MODELS[name] for name in options.models or MODELS]
    if options.profile:
        for model in chosen:
            profile(model, options.profile)
        return
    if options.cpu:
        torch.set_num_threads(1)
    clock = time.process_time if options.cpu else time.perf_counter
    print("| model | forward | plan | apply | calibrate |\n| --- | --- | --- | --- | --- |")
    for model in chosen:
        print(line(model, options.rounds, clock), flush=True)
