"""A ResNet-50 of Flax: what its check takes in time and memory beside its training step, in processes of their own.

Run by `python -m bench check_overhead --flax`.
"""

import resource
import subprocess
import sys
import time
from functools import partial
from typing import Any

STAGES = (3, 4, 6, 3)


def model_and_batch(count: int, size: int) -> tuple[Any, Any, Any, Any]:
    """He et al.'s network, its variables, normal pixels and labels."""
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415
    from flax import linen as nn  # noqa: PLC0415

    norm = partial(nn.BatchNorm, use_running_average=False)
    conv = partial(nn.Conv, use_bias=False)

    class Bottleneck(nn.Module):
        filters: int
        strides: int
        project: bool

        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = nn.relu(norm()(conv(self.filters, (1, 1))(x)))
            y = nn.relu(norm()(conv(self.filters, (3, 3), self.strides)(y)))
            y = norm()(conv(4 * self.filters, (1, 1))(y))
            if self.project:
                x = norm()(conv(4 * self.filters, (1, 1), self.strides)(x))
            return nn.relu(x + y)

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.relu(norm()(conv(64, (7, 7), 2)(x)))
            x = nn.max_pool(x, (3, 3), (2, 2), padding="SAME")
            for stage, blocks in enumerate(STAGES):
                for block in range(blocks):
                    x = Bottleneck(64 * 2**stage, 2 if stage and not block else 1, not block)(x)
            return nn.Dense(1000)(x.mean((1, 2)))

    model, x = ResNet(), jax.random.normal(jax.random.key(0), (count, size, size, 3))
    return model, jax.jit(model.init)(jax.random.key(1), x), x, jnp.arange(count)


def train(count: int, size: int) -> None:
    """Compiles and runs one step: loss and gradients."""
    import jax  # noqa: PLC0415
    import optax  # noqa: PLC0415

    model, variables, x, labels = model_and_batch(count, size)
    rest = {name: value for name, value in variables.items() if name != "params"}

    def loss(params: Any) -> Any:
        output, state = model.apply({"params": params, **rest}, x, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(output, labels).mean(), state

    _told(lambda: jax.block_until_ready(jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])))


def judge(count: int, size: int) -> None:
    """Checks it."""
    from fanwise.jax import check  # noqa: PLC0415

    model, variables, x, labels = model_and_batch(count, size)
    _told(lambda: check((model, variables), (x, labels), "cross_entropy"))


def _told(call: Any) -> None:
    """Prints seconds of the clock and of the processor, and the peak of the memory in GB."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    taken = time.perf_counter() - clock, time.process_time() - processor
    print(*taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def compared(count: int, size: int) -> None:
    """Prints both beside one another."""
    figures = []
    for task in ("train", "judge"):
        code = f"from bench.observing.flax_resnet import {task}; {task}({count}, {size})"
        said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        figures.append([float(number) for number in said.split()[-3:]])
    names = ("seconds of the clock", "seconds of the processor", "peak GB")
    print(f"Flax ResNet-50, {count} x {size} x {size}: jit-compiled step with its compilation, check, ratio")
    for name, step, check in zip(names, *figures, strict=True):
        print(f"{name:26s} {step:7.2f} {check:7.2f} {check / step:6.2f}x")
