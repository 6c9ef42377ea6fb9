"""Deep stacks in each framework, checked at several depths: seconds a layer, which grow with nothing but noise.

Run in processes of their own by `python -m bench check_overhead --depth FRAMEWORK`.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

WIDTH, HEADS, TOKENS = 32, 2, 8
DEPTHS = (100, 400, 800, 2000)
KINDS = ("plain", "transformer")

Pair = tuple[Callable[[], object], Callable[[], object]]
"""A plain step (forward and backward) and a check."""


def torch_pair(kind: str, depth: int) -> Pair:
    """Linear maps and ReLUs by He, or pre-norm blocks."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    from fanwise.torch import check  # noqa: PLC0415

    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = [layer for _ in range(depth) for layer in ([_torch_block()] if kind == "transformer" else _torch_layer())]
    model, shape = (
        nn.Sequential(*made, nn.Linear(WIDTH, 4)),
        (4, TOKENS, WIDTH) if kind == "transformer" else (16, WIDTH),
    )
    x = torch.randn(*shape)

    def step() -> None:
        model.zero_grad()
        model(x).square().mean().backward()

    return step, lambda: check(model, x)


def _torch_layer() -> list[Any]:
    from torch import nn  # noqa: PLC0415

    layer = nn.Linear(WIDTH, WIDTH)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return [layer, nn.ReLU()]


def _torch_block() -> Any:
    from torch import nn  # noqa: PLC0415

    return nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)


def jax_pair(kind: str, depth: int) -> Pair:
    """The same as a function of a dictionary."""
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415

    from fanwise.jax import check  # noqa: PLC0415

    numbers = np.random.default_rng(0)

    def drawn(*shape: int, gain: float = 1.0) -> Any:
        return jnp.asarray(numbers.normal(size=shape) * gain * shape[0] ** -0.5, jnp.float32)

    def plain() -> dict[str, Any]:
        return {"w": drawn(WIDTH, WIDTH, gain=2**0.5), "b": jnp.zeros(WIDTH)}

    def block() -> dict[str, Any]:
        maps = {name: drawn(WIDTH, WIDTH) for name in ("q", "k", "v", "o")}
        return maps | {"up": drawn(WIDTH, 2 * WIDTH), "down": drawn(2 * WIDTH, WIDTH)}

    def norm(x: Any) -> Any:
        return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)

    def blocked(p: Any, x: Any) -> Any:
        q, k, v = ((norm(x) @ p[name]).reshape(*x.shape[:2], HEADS, -1) for name in ("q", "k", "v"))
        x = x + jax.nn.dot_product_attention(q, k, v).reshape(x.shape) @ p["o"]
        return x + jax.nn.gelu(norm(x) @ p["up"]) @ p["down"]

    def model(p: Any, x: Any) -> Any:
        for number in range(depth):
            layer = p[f"layer{number}"]
            x = blocked(layer, x) if kind == "transformer" else jax.nn.relu(x @ layer["w"] + layer["b"])
        return x @ p["head"]

    params = {f"layer{number}": block() if kind == "transformer" else plain() for number in range(depth)}
    params["head"] = drawn(WIDTH, 4)
    x = jnp.asarray(numbers.normal(size=(4, TOKENS, WIDTH) if kind == "transformer" else (16, WIDTH)), jnp.float32)
    gradient = jax.grad(lambda p: jnp.square(model(p, x)).mean())
    return lambda: jax.block_until_ready(gradient(params)), lambda: check((model, params), x)


def keras_pair(kind: str, depth: int) -> Pair:
    """The same of Keras' layers, on the backend that `KERAS_BACKEND` names."""
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    from fanwise.keras import check  # noqa: PLC0415

    sys.setrecursionlimit(100_000)
    shape = (TOKENS, WIDTH) if kind == "transformer" else (WIDTH,)
    x = given = keras.Input(shape)
    for _ in range(depth):
        if kind == "plain":
            x = layers.Dense(WIDTH, activation="relu", kernel_initializer="he_normal")(x)
            continue
        normed = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(normed, normed)
        normed = layers.LayerNormalization()(x)
        x = x + layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, activation="gelu")(normed))
    model = keras.Model(given, layers.Dense(4)(x))
    batch = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    return lambda: model(batch), lambda: check(model, batch)


PAIRS: dict[str, Callable[[str, int], Pair]] = {"torch": torch_pair, "jax": jax_pair, "keras": keras_pair}


def seconds(call: Callable[[], object]) -> float:
    """Seconds of the processor that a call takes."""
    start = time.process_time()
    call()
    return time.process_time() - start


def series(framework: str, kind: str, depths: tuple[int, ...]) -> None:
    """Prints a line for each depth: a step, a check, and what the check takes a layer beside the shallowest."""
    first = 0.0
    for depth in depths:
        step, check = PAIRS[framework](kind, depth)
        step()
        plain, whole = seconds(step), seconds(check)
        first = first or whole / depth
        name = f"{framework} {kind} {depth}"
        print(
            f"{name:24s} step {plain:7.2f} s  check {whole:7.2f} s  a layer {whole / depth / first:5.2f}x", flush=True
        )
