"""Initializers that several models share."""

from typing import Any

from flax import linen

he, lecun = linen.initializers.he_normal(), linen.initializers.lecun_normal()


glorot, orthogonal = linen.initializers.glorot_normal(), linen.initializers.orthogonal()


gpt_small = linen.initializers.normal(0.02)


default = linen.linear.default_kernel_init


def scaled(init: Any, factor: float) -> Any:
    """An initializer times a factor."""
    return lambda *args: factor * init(*args)
