"""Configurations of transformers made small by rules over the names and values of their fields.

A rule looks at a name and a value and never at what stands around them, so that two numbers that had to be equal still
are: a width of 4096 becomes 64 in the text part and in the projector that feeds it.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import Any

WIDTH, INNER, HEADS, HEAD, RANK = 64, 128, 4, 16, 16
VOCABULARY, POSITIONS, FRAMES, LAYERS, EXPERTS = 512, 128, 64, 2, 4
LEVELS = 3
"""How far a configuration is made small: 0 everything, 1 depth and tables alone, 2 nothing."""

_NET = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
_FEW = {"keypoint_detector_config": {"max_keypoints": 32}}
OVERRIDES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "efficientnet": _NET,  # B0: its last width follows from its coefficients
        "align_vision_model": _NET,
        "align": {"vision_config": _NET},
        "granitemoehybrid": {"layer_types": ["mamba", "attention"]},  # its own cache needs an attention
        "lightglue": _FEW,  # a detector that learned nothing takes every pixel for a point
        "superglue": _FEW,
        "lfm2_moe": {"layer_types": ["conv", "full_attention"]},  # no default
    }
)
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
    Rule(r"num_filters", _at_most(8)),  # doubled at each stage
    Rule(r"upsample_groups|.*codec_groups", _at_most(WIDTH)),  # as many as a width has numbers
    Rule(r"upsample_initial_channel", _at_most(256), shallow=True),
    Rule(
        r".*(feat_extract|feature_level|upsampl|downsampl|stage|codebook|quantizer|mel|conv_kernel|conv_stride).*", int
    ),
    Rule(r".*vocab(_size.*)?|.*vocabulary_size", _at_most(VOCABULARY), shallow=True),
    Rule(r"(max_source_positions|max_frame.*)", _at_most(FRAMES), shallow=True),
    Rule(
        r".*(max_position|max_target_pos|n_positions|n_ctx|max_seq|max_len|max_2d|seq_length).*",
        _at_most(POSITIONS),
        True,
    ),
    Rule(r".*(experts_per_tok(en)?|moe_k|top_k|num_selected|topk_method|moe_topk|topk)$", _at_most(2), shallow=True),
    Rule(r"topk_group", _at_most(1), shallow=True),
    Rule(r"n_group|num_group|num_expert_groups?", _at_most(2), shallow=True),
    Rule(r"(.*_)?n_groups", _at_most(2)),
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
        r".*(spec_size|kernel|window|patch|image|crop|tile|chunk|num_channels|in_channels|block_size|stride|action|state_dim).*",
        int,
    ),
    Rule(r".*(sampling|batch|pool|queue|memory|bucket|group|stack|cache|context|max_|min_).*", int),
    Rule(
        r".*(size|dim|dims|width|channels|d_model|n_embd|embed|d_inner|d_latents|projection|hidden)(_.*)?",
        lambda value: min(value, WIDTH),
    ),
)
"""The first rule whose pattern matches a name is applied to its numbers."""

UNKNOWN = 10**9
"""What a field without a value stands for when a rule makes it small."""

FILLS: Mapping[str, Any] = MappingProxyType(
    {
        "prediction_length": 16,
        "sliding_window": 16,
        "temporal_patch_size": 2,
        "video_temporal_patch_size": 2,
        "layer_types": ["full_attention"] * LAYERS,
        "mlp_layer_types": ["dense", "sparse"],
    }
)
"""Values of fields that some configurations leave to the user, where no rule has a number."""

PER_STAGE = re.compile(r".*(hidden_sizes|dims?|channels|sizes|widths?|filters)|conv_dim")
TOKEN = re.compile(r".*_(token|tokens)_(id|ids|index)|.*_token")


def shrunk(
    config: Any, level: int = 0, *, keep: Collection[str] = (), fill: Collection[str] = (), whole: bool = False
) -> dict[str, Any]:
    """The arguments that make a configuration of the same class, smaller.

    Args:
        config: with the library's default values.
        level: of `LEVELS`.
        keep: names of fields that stay as they are, here and in all parts.
        fill: names of fields without a value that get a number.
        whole: parts are given with all their fields, also where the part's own default is another than the whole's.
    """
    own = OVERRIDES.get(config.model_type, {})
    if level >= LEVELS - 1:
        return dict(own)
    small = _Shrinker(level, keep, fill, whole=whole).fields(config.to_dict())
    return dict(_joined(_with_sections(config, small), own))


def _joined(values: Mapping[str, Any], others: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values with others in their place, parts alike."""
    both = dict(others)
    for name, value in others.items():
        if isinstance(value, Mapping) and isinstance(values.get(name), Mapping):
            both[name] = _joined(values[name], value)
    return {**values, **both}


def _with_sections(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Rotations that are cut among axes fill the smaller heads, in the library's proportions; in parts, too."""
    result = dict(values)
    for name, value in vars(config).items():
        if hasattr(value, "to_dict") and isinstance(result.get(name), Mapping):
            result[name] = _with_sections(value, result[name])
    rope = getattr(config, "rope_parameters", None)
    if "mrope_section" not in (getattr(config, "ignore_keys_at_rope_validation", None) or ()) or not rope:
        return result
    half = _head(config, result) // 2
    shares = rope.get("mrope_section", (1, 1, 1))
    return result | {"rope_parameters": {**rope, "mrope_section": _shared(half, shares)}}


def _head(config: Any, values: Mapping[str, Any]) -> int:
    """How many numbers of a head are turned."""

    def field(name: str) -> Any:
        return values.get(name, getattr(config, name, None))

    size = field("qk_rope_head_dim") or field("head_dim") if "head_dim" in values or field("qk_rope_head_dim") else None
    whole = size or field("hidden_size") // field("num_attention_heads")
    part = (getattr(config, "rope_parameters", None) or {}).get("partial_rotary_factor", 1)
    return int(whole * part)


def _shared(total: int, shares: Sequence[int]) -> list[int]:
    """A number cut in proportion; what is left over goes to the largest remainders."""
    exact = [total * share / sum(shares) for share in shares]
    parts = [int(number) for number in exact]
    order = sorted(range(len(parts)), key=lambda number: parts[number] - exact[number])
    return [part + (number in order[: total - sum(parts)]) for number, part in enumerate(parts)]


def changed(config: Any) -> Mapping[str, bool]:
    """The names of fields that become smaller, or that have no value and could get one: False."""
    values = config.to_dict()
    smaller = dict.fromkeys(_names(_Shrinker(0).fields(values), values), True)
    return dict.fromkeys(_empty(values), False) | smaller


def _names(values: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """The names of all fields that differ, those of parts too."""
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(before.get(name), Mapping) and _is_part(name, value):
            yield from _names(value, before[name])
        elif value != before.get(name):
            yield name


def _empty(values: Mapping[str, Any]) -> Iterator[str]:
    """The names of all fields without a value for which there is a number."""
    for name, value in values.items():
        if isinstance(value, Mapping) and _is_part(name, value):
            yield from _empty(value)
        elif value is None and _filled(name) is not None:
            yield name


def _filled(name: str) -> Any:
    """The value of a field that has none: the largest small number; None where no rule makes it small."""
    if name in FILLS or TOKEN.fullmatch(name):
        return FILLS.get(name)
    rule = next((rule for rule in RULES if re.fullmatch(rule.names, name)), None)
    number = UNKNOWN if rule is None else rule.small(UNKNOWN)
    return number if number < UNKNOWN else None


class _Shrinker:
    """Rules applied to one configuration and its parts; special tokens get numbers of their own."""

    def __init__(
        self, level: int, keep: Collection[str] = (), fill: Collection[str] = (), *, whole: bool = False
    ) -> None:
        self._level, self._keep, self._fill, self._whole = level, frozenset(keep), frozenset(fill), whole
        self._tokens = 4

    def fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that become another value."""
        kinds = _layer_kinds(values)
        changed = {name: self._field(name, value, values, kinds) for name, value in values.items()}
        kept = {name: value for name, value in changed.items() if value != values[name]}
        if isinstance(values.get("expand"), int) and {"num_heads", "head_dim", "hidden_size"} <= {*values} and kept:
            kept["num_heads"] = values["expand"] * changed["hidden_size"] // changed["head_dim"]  # heads of a scan
        if kept and isinstance(values.get("model_type"), str):
            kept.setdefault("model_type", values["model_type"])
        return kept

    def _field(self, name: str, value: Any, values: Mapping[str, Any], kinds: int) -> Any:
        if name in self._keep or value is None:
            return _filled(name) if name in self._fill and value is None else value
        if isinstance(value, Mapping) and not _is_image(name):
            small = self.fields(value) if _is_part(name, value) else {}
            return {**value, **small} if self._whole else small or value
        if TOKEN.fullmatch(name):
            return self._token(value)
        if _is_image(name):
            return _image(value, values)
        if isinstance(value, (list, tuple)):
            return self._sequence(name, value, values, kinds)
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

    def _sequence(self, name: str, value: Sequence[Any], values: Mapping[str, Any], kinds: int) -> Any:
        if value and all(isinstance(item, str) for item in value) and name.endswith(("types", "pattern")):
            return _covering(value, min(len(value), max(LAYERS, kinds)))
        layers = values.get("num_hidden_layers")
        if type(layers) is int and len(value) == layers > LAYERS and name.endswith(("per_layer", "layers")):
            return value[: self._number("num_hidden_layers", layers, kinds)]
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


def _is_part(name: str, value: Mapping[str, Any]) -> bool:
    return name.endswith("config") or "model_type" in value


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
