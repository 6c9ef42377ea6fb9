"""Configurations of transformers made small by rules over the names and values of their fields.

A rule looks at a name and a value and never at what stands around them, so that two numbers that had to be equal still
are: a width of 4096 becomes 64 in the text part and in the projector that feeds it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import Any

WIDTH, INNER, HEADS, HEAD, RANK = 64, 128, 4, 16, 16
VOCABULARY, POSITIONS, FRAMES, LAYERS, EXPERTS = 512, 128, 64, 2, 4
LEVELS = 3
"""How far a configuration is made small: 0 everything, 1 depth and tables alone, 2 nothing."""

OVERRIDES: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
"""Fields of single architectures that no rule gets right, by model type."""


@dataclass(frozen=True)
class Rule:
    """What becomes of the numbers of a field.

    Args:
        names: a pattern of the whole name.
        small: the new number.
        shallow: whether it is applied where widths are kept, too.
    """

    names: str
    small: Callable[[int], int]
    shallow: bool = False


def _at_most(limit: int) -> Callable[[int], int]:
    return lambda value: min(value, limit)


RULES = (
    Rule(
        r".*(feat_extract|feature_level|upsampl|downsampl|stage|codebook|quantizer|mel|conv_kernel|conv_stride).*", int
    ),
    Rule(r".*vocab_size.*|.*vocabulary_size", _at_most(VOCABULARY), shallow=True),
    Rule(r"(max_source_positions|max_frame.*)", _at_most(FRAMES), shallow=True),
    Rule(
        r".*(max_position|max_target_pos|n_positions|n_ctx|max_seq|max_len|max_2d|seq_length).*",
        _at_most(POSITIONS),
        True,
    ),
    Rule(r".*(experts_per_tok|top_k|num_selected|topk_method|moe_topk|topk)$", _at_most(2), shallow=True),
    Rule(r"topk_group", _at_most(1), shallow=True),
    Rule(r"n_group", _at_most(2), shallow=True),
    Rule(r".*experts(_num)?$", _at_most(EXPERTS), shallow=True),
    Rule(
        r"(.*_)?(n_layers?|num_layers|hidden_layers|layers|depth|num_blocks|n_blocks)|num_.*_layers",
        _at_most(LAYERS),
        True,
    ),
    Rule(r".*num_queries", _at_most(16), shallow=True),
    Rule(
        r".*(key_value_heads|kv_heads|n_kv.*|head_kv)", lambda value: value if value <= 1 else 2 if value < 8 else HEADS
    ),
    Rule(r".*(attention_heads|n_heads?|num_heads|heads)", _at_most(HEADS)),
    Rule(r".*rank", _at_most(RANK)),
    Rule(r".*(head_dim|head_size|d_kv|rotary_dim|head_channels|kv_channels|v_dim)", _at_most(HEAD)),
    Rule(r".*(ffn|intermediate|inner|mlp_dim|d_ff|feed_?forward|ff_dim).*", _at_most(INNER)),
    Rule(
        r".*(kernel|window|patch|image|crop|tile|chunk|num_channels|in_channels|block_size|stride|action|state_dim).*",
        int,
    ),
    Rule(r".*(sampling|batch|pool|queue|memory|bucket|group|stack|cache|context|max_|min_).*", int),
    Rule(
        r".*(size|dim|dims|width|channels|d_model|n_embd|embed|d_inner|projection|hidden)(_.*)?",
        lambda value: min(value, WIDTH),
    ),
)
"""The first rule whose pattern matches a name is applied to its numbers."""

PER_STAGE = re.compile(r".*(hidden_sizes|dims?|channels|sizes|widths?|filters)|conv_dim")
TOKEN = re.compile(r".*_(token|tokens)_(id|ids|index)|.*_token")


def shrunk(config: Any, level: int = 0) -> dict[str, Any]:
    """The arguments that make a configuration of the same class, smaller.

    Args:
        config: with the library's default values.
        level: of `LEVELS`.
    """
    if level >= LEVELS - 1:
        return {}
    return _Shrinker(level).fields(config.to_dict()) | dict(OVERRIDES.get(config.model_type, {}))


class _Shrinker:
    """Rules applied to one configuration and its parts; special tokens get numbers of their own."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._tokens = 4

    def fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that become another value."""
        kinds = _layer_kinds(values)
        changed = {name: self._field(name, value, values, kinds) for name, value in values.items()}
        kept = {name: value for name, value in changed.items() if value != values[name]}
        if kept and isinstance(values.get("model_type"), str):
            kept.setdefault("model_type", values["model_type"])
        return kept

    def _field(self, name: str, value: Any, values: Mapping[str, Any], kinds: int) -> Any:
        if isinstance(value, Mapping) and not _is_image(name):
            return (self.fields(value) or value) if name.endswith("config") else value
        if TOKEN.fullmatch(name):
            return self._token(value)
        if _is_image(name):
            return _image(value, values)
        if isinstance(value, (list, tuple)):
            return self._sequence(name, value, kinds)
        return self._number(name, value, kinds) if type(value) is int and value > 0 else value

    def _number(self, name: str, value: int, kinds: int) -> int:
        rule = next((rule for rule in RULES if re.fullmatch(rule.names, name)), None)
        if rule is None or (self._level and not rule.shallow):
            return value
        small = rule.small(value)
        return min(value, max(small, kinds)) if small == LAYERS and "layer" in name else small

    def _token(self, value: Any) -> Any:
        if type(value) is not int or value < VOCABULARY:
            return value
        self._tokens += 1
        return self._tokens

    def _sequence(self, name: str, value: Sequence[Any], kinds: int) -> Any:
        if value and all(isinstance(item, str) for item in value) and name.endswith(("types", "pattern")):
            return _covering(value, min(len(value), max(LAYERS, kinds)))
        if not value or not all(type(item) is int for item in value):
            return value
        if name in ("depths", "depth"):
            return type(value)(min(item, LAYERS if number == 2 else 1) for number, item in enumerate(value))
        return value if self._level else self._widths(name, value)

    def _widths(self, name: str, value: Sequence[int]) -> Sequence[int]:
        """A list of heads or widths, one for each stage."""
        if "heads" in name:
            return type(value)(2 ** min(number, 3) for number in range(len(value)))
        if PER_STAGE.fullmatch(name) and min(value) >= 32:
            return type(value)(_stage(item, value) for item in value)
        return value


def _is_image(name: str) -> bool:
    return "image_size" in name or name == "input_size"


def _stage(item: int, value: Sequence[int]) -> int:
    """A width of a stage, in the proportion that it had, a multiple of 8."""
    return max(8, 8 * ceil(item / (value[0] / 16) / 8))


def _layer_kinds(values: Mapping[str, Any]) -> int:
    """How many kinds of layers a configuration lists."""
    lists = [value for name, value in values.items() if name.endswith("types") and isinstance(value, (list, tuple))]
    return max((len(set(map(str, value))) for value in lists), default=0)


def _covering(kinds: Sequence[str], count: int) -> list[str]:
    """So many layers, the first of each kind among them, in their order."""
    first = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
    rest = [number for number in range(len(kinds)) if number not in first]
    return [kinds[number] for number in sorted([*first, *rest][:count])]


def _image(value: Any, values: Mapping[str, Any]) -> Any:
    patch = values.get("patch_size")
    patch = patch[0] if isinstance(patch, (list, tuple)) and patch else patch
    side = 4 * patch if type(patch) is int and patch >= 14 else 64
    if isinstance(value, (list, tuple)):
        return type(value)(side if type(item) is int and item > side else item for item in value)
    if isinstance(value, dict):
        return {name: side if type(item) is int and item > side else item for name, item in value.items()}
    return side if type(value) is int and value > side else value
