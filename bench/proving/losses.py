"""Twins of the rules that look at the first loss and at the first update."""

from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional

from bench.proving.nets import PIXELS, WIDTH, gained, stack
from bench.proving.twins import Twins, from_pixels, of_zoo
from zoo.torch.laws import drawn, filled, he, lecun
from zoo.torch.layers import mlp

PLAIN = partial(stack, 2)


def headed(depth: int, gain: float) -> Any:
    return partial(stack, depth, head=gained(gain))


def ones(outputs: int) -> Any:
    """A perceptron of another number of outputs."""

    def build() -> Any:
        model = drawn(mlp(PIXELS, WIDTH, WIDTH, outputs), he)
        filled(model[-1], lecun)
        return model

    return build


def ink(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """How much ink is in the upper half, standardised, in a column."""
    value = x[:, :32].mean(1, keepdim=True)
    return x, (value - value.mean()) / value.std()


def flat(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, value = ink(x, y)
    return x, value[:, 0]


def loud(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, value = ink(x, y)
    return x, 100 * value


def pictures(high: float) -> Any:
    """The pictures as their own targets, of 0 to a number."""
    return from_pixels(lambda x, y: (x, high * (x - x.min()) / (x.max() - x.min())))


def squares(output: Tensor, target: Tensor) -> Tensor:
    """The squared error of each with its own, over the variance of the targets."""
    return functional.mse_loss(output.flatten(), target.flatten()) / target.var()


def shares(high: float) -> Any:
    """The squared error of shares, whatever the scale of the targets."""
    return lambda output, target: functional.mse_loss(output.sigmoid(), target / target.max() * 1.0)


BINARY = "binary_cross_entropy_with_logits"
CASES = (
    *(
        Twins("LOS001", f"a head of gain {gain:g}, {depth} hidden layers", headed(depth, gain), headed(depth, 0.1))
        for depth, gain in ((2, 8.0), (2, 20.0), (2, 60.0), (5, 8.0), (5, 20.0), (5, 60.0), (1, 20.0))
    ),
    of_zoo("LOS001", "report_detector-prior", steps=60),
    Twins(
        "LOS002", "a column and a row", ones(1), ones(1), from_pixels(flat), from_pixels(ink), "mse_loss", judge=squares
    ),
    Twins("LOS003", "targets of 100", ones(1), ones(1), from_pixels(loud), from_pixels(ink), "mse_loss", judge=squares),
    Twins(
        "LOS003",
        "truth of 0 to 255",
        ones(PIXELS),
        ones(PIXELS),
        pictures(255.0),
        pictures(1.0),
        BINARY,
        judge=shares(1.0),
    ),
    Twins(
        "UPD001",
        "Adam at 1",
        PLAIN,
        PLAIN,
        options=lambda: {"optimizer": "adam:1"},
        mended_options=lambda: {"optimizer": "adam:1e-3"},
        optimizers=(("adam", 1.0),),
        mended_optimizers=(("adam", 1e-3),),
    ),
    Twins(
        "UPD001",
        "Adam at 0.2",
        PLAIN,
        PLAIN,
        options=lambda: {"optimizer": "adam:0.2"},
        mended_options=lambda: {"optimizer": "adam:1e-3"},
        optimizers=(("adam", 0.2),),
        mended_optimizers=(("adam", 1e-3),),
    ),
    *(
        Twins(
            "UPD001",
            f"a head of gain {gain:g}, Adam at 1e-3",
            headed(2, gain),
            headed(2, 1.0),
            options=lambda: {"optimizer": "adam:1e-3"},
            optimizers=(("adam", 1e-3),),
            mended_optimizers=(("adam", 1e-3),),
        )
        for gain in (0.01, 0.001)
    ),
    Twins(
        "UPD002",
        "SGD at 1e-9",
        PLAIN,
        PLAIN,
        options=lambda: {"optimizer": "sgd:1e-9"},
        mended_options=lambda: {"optimizer": "sgd:1e-2"},
        optimizers=(("sgd", 1e-9),),
        mended_optimizers=(("sgd", 1e-2),),
    ),
)
