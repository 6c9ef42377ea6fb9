"""Shapes of inputs in the words that transformers' own docstrings use for them."""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

_SHAPE = r"[^\n]*?(?:\bof shape\b|features|mask|encoding|queries|outputs)[^\n(\[]*?`?[(\[]([^)\]\n]+)[)\]]"

WORDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("batch_size", "batch", "num_images", "num_audios", "bsz", "n_batch"), "batch"),
        **dict.fromkeys(
            ("sequence_length", "seq_len", "seq_length", "text_seq_len", "prompt_len", "num_tokens", "target_length"),
            "length",
        ),
        **dict.fromkeys(("hidden_size", "embed_dim", "d_model", "hidden_dim", "embedding_dim"), "width"),
        **dict.fromkeys(("height", "width"), "side"),
    }
)
"""What a word stands for; other words are fields of the configuration."""


def shape_in_words(name: str, text: str) -> tuple[str, ...]:
    """The axes of an argument, as a docstring has them; none where it has none.

    Example:
        >>> shape_in_words("codes", "codes (`torch.LongTensor` of shape `(batch_size * num_codebooks, length)`):")
        ('batch_size * num_codebooks', 'length')
    """
    match = re.search(rf"^\s*{re.escape(name)}\b{_SHAPE}", text, re.MULTILINE)
    return tuple(axis.strip() for axis in match[1].split(",") if axis.strip()) if match else ()


def sizes(axes: Sequence[str], size: Callable[[str], int]) -> tuple[int, ...]:
    """The sizes of axes in words: numbers, words, and products of them.

    Args:
        axes: as `shape_in_words` has them.
        size: of a word.
    """
    result = []
    for axis in axes:
        product = 1
        for factor in re.split(r"\s*(?:\*|\bx\b)\s*", axis.replace("config.", "")):
            product *= int(factor) if factor.isdigit() else size(factor)
        result.append(product)
    return tuple(result)
