"""Any law of fanwise as an initializer of Keras."""

from collections.abc import Mapping
from typing import Any

from fanwise.keras.init.base import Drawn, DrawTarget
from fanwise.laws.base import Initializer
from fanwise.laws.initializers import from_config, initializer, to_config
from fanwise.laws.layout import Layout
from fanwise.plan.render.toml import layout_config, layout_of, plain
from fanwise.stream.box import Box
from fanwise.stream.formats import Array


class Law(Drawn):
    """Any law of fanwise, with its own meaning: "normal" is not truncated, and a layout decides the fans.

    Args:
        law: an initializer of fanwise, its name, or its configuration.
        layout: roles of the variable's axes; None for (in, out), or (*kernel, in, out) from three axes on.
        seed: as for `Drawn`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an unknown name, or a number out of range.

    Example:
        A transposed convolution of stride 2, whose kernel Keras stores as (*kernel, out, in) and would read the wrong
        way round:

        >>> import keras, numpy as np
        >>> layout = Layout.conv_transpose("kernel kernel out in", stride=2)
        >>> layer = keras.layers.Conv2DTranspose(16, 4, 2, kernel_initializer=Law("he_normal", layout, seed=0))
        >>> layer.build((None, 8, 8, 256))
        >>> round(float(np.std(layer.get_weights()[0])), 3), round((2 / 1024) ** 0.5, 3)
        (0.044, 0.044)
    """

    def __init__(self, law: Any, layout: Any = None, seed: Any = None) -> None:
        super().__init__(seed)
        self.law = _as_law(law)
        self.layout = _as_layout(layout)

    def _draw(self, target: DrawTarget, box: Box) -> Array:
        return self.law(target.shape, key=target.key, layout=self.layout, dtype=target.dtype, box=box)

    def _parameters(self) -> dict[str, Any]:
        return {"law": plain(to_config(self.law)), "layout": plain(layout_config(self.layout))}


def _as_law(law: Any) -> Initializer:
    if isinstance(law, Initializer):
        return law
    if isinstance(law, Mapping):
        return from_config(law)
    if isinstance(law, str):
        return initializer(law)
    raise TypeError(f"law = {law!r}: expected an initializer of fanwise, its name, or its configuration")


def _as_layout(layout: Any) -> Layout | None:
    if layout is None or isinstance(layout, Layout):
        return layout
    if isinstance(layout, (str, Mapping)):
        return layout_of(layout)
    raise TypeError(f"layout = {layout!r}: expected a fanwise.Layout, such as Layout.dense('in out')")
