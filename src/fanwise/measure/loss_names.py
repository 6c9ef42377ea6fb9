"""Names of losses: what they go by elsewhere, and what a name that is none may have meant."""

import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from fanwise.stream.arguments import in_words, near_names

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "ce": "cross_entropy",
        "xent": "cross_entropy",
        "crossentropy": "cross_entropy",
        "cross_entropy": "cross_entropy",
        "softmax_cross_entropy": "cross_entropy",
        "softmax_cross_entropy_with_logits": "cross_entropy",
        "categorical_crossentropy": "cross_entropy",
        "sparse_categorical_crossentropy": "cross_entropy",
        "softmax_cross_entropy_with_integer_labels": "cross_entropy",
        "nll": "nll_loss",
        "negative_log_likelihood": "nll_loss",
        "bce_with_logits": "binary_cross_entropy_with_logits",
        "bcewithlogits": "binary_cross_entropy_with_logits",
        "bcewith_logits": "binary_cross_entropy_with_logits",
        "sigmoid_cross_entropy": "binary_cross_entropy_with_logits",
        "sigmoid_binary_cross_entropy": "binary_cross_entropy_with_logits",
        "mse": "mse_loss",
        "l2": "mse_loss",
        "mean_squared_error": "mse_loss",
        "squared_error": "mse_loss",
        "mae": "l1_loss",
        "l1": "l1_loss",
        "mean_absolute_error": "l1_loss",
        "huber": "huber_loss",
        "smooth_l1": "smooth_l1_loss",
        "kl": "kl_div",
        "kl_divergence": "kl_div",
        "poisson_nll": "poisson_nll_loss",
    }
)
"""Other names of losses, in small letters and without "_loss" at their end."""
AMBIGUOUS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(
        ("bce", "binary_cross_entropy", "binary_crossentropy", "log"),
        ("binary_cross_entropy_with_logits", "binary_cross_entropy"),
    )
)
"""Names that mean a loss of logits to some and of probabilities to others: asked back, for the wrong one may run."""
_SAYS = {
    "binary_cross_entropy_with_logits": " (of logits)",
    "binary_cross_entropy": " (of probabilities)",
    "cross_entropy": " (of logits)",
}


def known_name(loss: str, choices: Collection[str], more: str = "") -> str:
    """The loss that a name means: one of the choices, or what one of `ALIASES` stands for.

    Args:
        loss: as the user gave it.
        choices: the names that there are.
        more: what else may be given, for the message.

    Raises:
        ValueError: it means none; the message says what may have been meant.

    Example:
        >>> known_name("MSE", ("mse_loss", "cross_entropy"))
        'mse_loss'
    """
    if loss in choices:
        return loss
    meant = ALIASES.get(_plain(loss), "")
    if meant in choices:
        return meant
    near = [name for name in AMBIGUOUS.get(_plain(loss), (meant,)) if name in choices]
    near = near or near_names(_plain(loss), choices)
    near = near or [ALIASES[name] for name in near_names(_plain(loss), ALIASES, 1)]
    near = [name for name in near if name in choices]
    hint = f": did you mean {_either(near)}?" if near else ""
    raise ValueError(
        f"loss = {in_words(loss)}{hint or ':'} expected {more}one of {', '.join(choices)}, or a function of output and "
        "target"
    )


def _plain(name: str) -> str:
    """A name in small letters, without what only says that it is a loss."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("-", "_").replace(" ", "_")
    return plain.removesuffix("_loss").removesuffix("loss")


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"{name!r}{_SAYS.get(name, '')}" for name in names)
