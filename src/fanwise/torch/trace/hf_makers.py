"""Makers of the inputs of transformers models, by the name of the argument.

Configurations are foreign objects that answer for some of their fields under several names, through their own
``__getattr__``: they alone are asked by `getattr` here.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from fanwise.torch.trace.hf_words import WORDS, shape_in_words, sizes

SEQUENCES, IMAGES = 2, 4
LENGTH = 32
"""Tokens of a sequence, where the model takes as many."""

WAVE = 15360
"""Samples of a sound: about a second, a multiple of the steps of most codecs."""

FRAMES = 128
"""Frames of a spectrum, where the model takes any number."""

SPECIAL = 4
"""The first ids, which mean padding and the like in most vocabularies, are left out where there are more."""

PARTS = ("text_config", "vision_config", "audio_config", "encoder_config", "encoder", "decoder")
"""Fields in which a configuration holds those of its parts."""

VOCABULARIES = ("vocab_size", "num_hash_buckets")

WIDTHS = ("hidden_size", "d_model", "embed_dim", "hidden_dim", "n_embd", "dim")


@dataclass(frozen=True)
class Asked:
    """What a maker knows.

    Args:
        config: of the model.
        known: the arguments that its forward has.
        needed: those that have to be given.
        words: what the docstring of its forward says.
        patch: how many numbers of a patch its map of patches reads, where that is a matrix.
        width: what its first layer reads, where that is a matrix or a norm.
        draws: whether its first layer is a convolution over pictures.
    """

    config: Any
    known: Collection[str]
    needed: Collection[str]
    words: str = ""
    patch: int | None = None
    width: int | None = None
    draws: bool = False

    @property
    def flattened(self) -> bool:
        """Whether pictures come as rows of patches with a grid beside them."""
        return any(name in self.needed for name in GRIDS)

    def size(self, names: Sequence[str], default: int | None = None) -> int:
        """The first of these numbers that the configuration, or a part of it, has.

        Raises:
            ValueError: it has none, and there is no default.
        """
        numbers = (number for part in self.parts() for name in names for number in _numbers(part, name))
        size = next(numbers, default)
        if size is None:
            raise ValueError(f"inputs = None: the configuration has none of {', '.join(names)}; give a batch or a spec")
        return size

    def has(self, *names: str) -> bool:
        """Whether the configuration, or a part of it, says all of these."""
        return all(any(getattr(part, name, None) is not None for part in self.parts()) for name in names)

    def parts(self) -> Iterator[Any]:
        """The configuration, those that it is made of, and what these are made of."""
        level = [self.config]
        while level:
            yield from level
            level = [part for whole in level for part in _parts(whole)]


def _parts(whole: Any) -> Iterator[Any]:
    """The configurations in the fields of another, those whose names are known first."""
    if isinstance(whole, Mapping):
        return
    others = [
        name for name, value in vars(whole).items() if name not in PARTS and callable(getattr(value, "to_dict", None))
    ]
    for name in (*PARTS, *others):
        part = getattr(whole, name, None)
        if part is not None and not isinstance(part, (str, int, float)):
            yield part


GRIDS = ("grid_thw", "image_grid_thw")


def _numbers(part: Any, name: str) -> Iterator[int]:
    """The number in a field: the last of several, as those of pictures are the height and the width."""
    value = part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)
    if isinstance(value, Mapping):
        value = tuple(value.values())
    number = value[-1] if isinstance(value, (tuple, list)) and value else value
    if type(number) is int and number > 0:
        yield number


def _generator() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(0)


def normal(*shape: int) -> Tensor:
    """Normal numbers, the same at every call."""
    return torch.randn(shape, generator=_generator(), dtype=torch.float32, device="cpu")


def integers(low: int, high: int, *shape: int) -> Tensor:
    """Integers of a range, the same at every call."""
    return torch.randint(low, max(high, low + 1), shape, generator=_generator(), dtype=torch.int64, device="cpu")


def length(asked: Asked) -> int:
    """Tokens of a sequence."""
    return min(LENGTH, asked.size(("max_position_embeddings", "n_positions", "max_target_positions"), LENGTH))


def ids(asked: Asked) -> Tensor:
    """Tokens that stand for nothing but themselves: none that the configuration names."""
    return tokens(asked, SEQUENCES, length(asked))


def tokens(asked: Asked, *shape: int) -> Tensor:
    """Plain tokens in any shape."""
    vocabulary = asked.size(VOCABULARIES)
    low = min(SPECIAL, vocabulary - 1)
    special = set(special_tokens(asked))
    plain = [token for token in range(low, vocabulary) if token not in special] or [low]
    drawn = integers(0, len(plain), *shape)
    return torch.tensor(plain, dtype=torch.int64)[drawn]


def worded(name: str) -> Callable[[Asked], Tensor]:
    """A maker of tokens in the shape that the docstring gives them where several codes stand beside each other."""

    def make(asked: Asked) -> Tensor:
        axes = shape_in_words(name, asked.words)
        several = any("codebook" in axis for axis in axes) and is_documented(asked, name)
        return tokens(asked, *documented(asked, axes)) if several else ids(asked)

    return make


def documented(asked: Asked, axes: Sequence[str]) -> tuple[int, ...]:
    """The sizes of axes in words.

    Raises:
        ValueError: a word that says nothing.
    """
    known: Mapping[str, Callable[[], int]] = {
        "batch": lambda: SEQUENCES,
        "length": lambda: length(asked),
        "width": lambda: asked.size(WIDTHS),
        "side": lambda: GRID,
    }

    def size(word: str) -> int:
        kind = WORDS.get(word, "length" if word.endswith("sequence_length") else "")
        if kind:
            return known[kind]()
        names = ("num_codebooks", "num_code_groups", "num_channels") if word == "num_codebooks" else (word,)
        return asked.size(names)

    return sizes(axes, size)


def is_documented(asked: Asked, name: str) -> bool:
    """Whether the docstring of the forward tells the shape of an argument."""
    axes = shape_in_words(name, asked.words)
    try:
        return bool(axes and documented(asked, axes))
    except ValueError:
        return False


def by_docstring(name: str) -> Callable[[Asked], Tensor]:
    """A maker of an argument that only the docstring of the forward tells."""

    def make(asked: Asked) -> Tensor:
        shape = documented(asked, shape_in_words(name, asked.words))
        whole = name.endswith(("ids", "idx")) or re.search(
            rf"^\s*{name} \(`torch\.(Long|Int)", asked.words, re.MULTILINE
        )
        if "mask" in name:
            return torch.ones(shape, dtype=torch.int64)
        return integers(0, 2, *shape) if whole else normal(*shape)

    return make


def special_tokens(asked: Asked) -> Iterator[int]:
    """Tokens to which a configuration gives a meaning: ends, padding, where a picture stands."""
    for part in asked.parts():
        for name, value in (part if isinstance(part, Mapping) else vars(part)).items():
            if "token" in name:
                yield from (
                    item for item in (value if isinstance(value, (list, tuple)) else (value,)) if type(item) is int
                )


def _channels(asked: Asked) -> int:
    return asked.size(("num_channels", "in_channels", "in_chans"), 3)


def pixels(asked: Asked) -> Tensor:
    """Pictures, videos where the configuration counts frames, or rows of patches."""
    if asked.flattened:
        return patches(asked)
    if "target_sizes" in asked.needed:
        side = asked.size(("patch_size",), 14)
        return normal(SEQUENCES, _channels(asked), side, side * GRID * GRID)
    if "spatial_shapes" in asked.known or "pixel_position_ids" in asked.needed:
        side = asked.size(("patch_size",), 16)
        return normal(SEQUENCES, GRID * GRID, _channels(asked) * side * side)
    if asked.patch is not None and asked.patch % _channels(asked) == 0 and asked.has("patch_size"):
        return normal(SEQUENCES, math.prod(_sides(asked)) // asked.size(("patch_size",)) ** 2, asked.patch)
    return normal(*_pictures(asked), _channels(asked), *_sides(asked))


def _pictures(asked: Asked) -> tuple[int, ...]:
    """How many pictures: frames of videos, pairs whose points are matched, one for each text."""
    if any(getattr(asked.config, name, None) is not None for name in ("num_frames", "frames_per_clip")):
        return SEQUENCES, asked.size(("num_frames", "frames_per_clip"))
    if asked.has("keypoint_detector_config"):
        return SEQUENCES, 2
    return (SEQUENCES if "input_ids" in asked.needed else IMAGES,)


def _sides(asked: Asked) -> tuple[int, int]:
    """Height and width of a picture."""
    names = ("image_size", "input_size")
    side = asked.size(names, 224)
    fields = (getattr(part, name, None) for part in asked.parts() for name in names)
    first = next((field for field in fields if field is not None), None)
    both = tuple(first) if isinstance(first, (list, tuple)) else ()
    return (both[-2], side) if len(both) > 1 and all(type(item) is int for item in both) else (side, side)


def video(asked: Asked) -> Tensor:
    """Two short videos."""
    side = asked.size(("image_size", "crop_size", "input_size"), 224)
    frames = asked.size(("num_frames", "frames_per_clip"), 8)
    return normal(SEQUENCES, frames, _channels(asked), side, side)


GRID = 12
"""Patches along a side of a picture that comes as rows of patches."""


def patches(asked: Asked) -> Tensor:
    """The rows of patches of two pictures."""
    if asked.patch is not None:
        return normal(SEQUENCES * GRID * GRID, asked.patch)
    side, deep = asked.size(("patch_size",), 14), asked.size(("temporal_patch_size",), 1)
    if len(shape_in_words("pixel_values", asked.words)) == 5:
        return normal(1, SEQUENCES * GRID * GRID, _channels(asked), side, side)
    if "hidden_states" in asked.needed or asked.has("temporal_patch_size"):
        return normal(SEQUENCES * GRID * GRID, _channels(asked) * deep * side * side)
    return normal(SEQUENCES * GRID * GRID, _channels(asked), side, side)


def states(asked: Asked) -> Tensor:
    """Rows of patches, pictures, or features of a sequence."""
    if asked.flattened:
        return patches(asked)
    return pixels(asked) if asked.draws else features(asked)


def features(asked: Asked) -> Tensor:
    """Features of a sequence, as wide as the model."""
    return normal(SEQUENCES, length(asked), asked.size(WIDTHS))


def wave(asked: Asked) -> Tensor:
    """Two sounds of a second; with an axis of channels where a codec reads them; spectra where bands are counted."""
    if asked.has("num_mel_bins", "max_length"):
        return normal(SEQUENCES, asked.size(("max_length",)), asked.size(("num_mel_bins",)))
    if shape_in_words("input_values", asked.words)[1:2] == ("1",):
        return normal(SEQUENCES, 1, WAVE)
    if asked.has("audio_channels") or asked.has("codebook_size") or asked.has("upsampling_ratios"):
        return normal(SEQUENCES, asked.size(("audio_channels",), 1), WAVE)
    return normal(SEQUENCES, WAVE)


BANDS = (
    *("feature_projection_input_dim", "input_feat_size", "input_feat_per_channel", "num_mel_bins", "n_mels"),
    *("feature_size", "feature_dim", "input_size", "input_dim", "num_mels", "mel_bins"),
)


def spectrum(asked: Asked) -> Tensor:
    """Bands before frames where positions are counted, as in Whisper; frames before bands elsewhere."""
    bands = asked.size(BANDS, 80) if asked.width is None else asked.width
    if asked.has("spec_size"):  # a spectrum that is folded into a picture
        return normal(SEQUENCES, 1, 4 * asked.size(("spec_size",)), bands)
    if asked.has("max_source_positions") and asked.has("num_mel_bins") and not asked.has("input_feat_per_channel"):
        return normal(SEQUENCES, bands, 2 * asked.size(("max_source_positions",)))
    return normal(SEQUENCES, FRAMES, bands)


def flattened(asked: Asked) -> Tensor:
    """Rows of patches behind their row and column, which count from 1."""
    side = asked.size(("patch_size",), 16)
    rows = normal(SEQUENCES, GRID * GRID, _channels(asked) * side * side if asked.patch is None else asked.patch)
    return torch.cat([_positions(asked).flip(-1) + 1.0, rows], -1)


def mask_of_frames(asked: Asked) -> Tensor:
    """A mask that hides no frame of a spectrum."""
    shape = spectrum(asked).shape
    frames = shape[2] if asked.has("max_source_positions") and len(shape) == 3 else shape[1]
    return torch.ones(SEQUENCES, frames, dtype=torch.int64)


def boxes(asked: Asked) -> Tensor:
    """Corners of words on a page: left, top, right, bottom."""
    high = asked.size(("max_2d_position_embeddings",), 1000)
    corners = integers(0, max(high // 2, 1), SEQUENCES, length(asked), 2)
    return torch.cat([corners, corners + integers(0, max(high // 2, 1), SEQUENCES, length(asked), 2)], -1)


# Series


def _past(asked: Asked) -> int:
    lags = getattr(asked.config, "lags_sequence", None) or (0,)
    return asked.size(("context_length",)) + max(lags)


def series(asked: Asked) -> Tensor:
    """The past of some series."""
    width = asked.size(("num_input_channels", "input_size"), 1)
    return normal(IMAGES, _past(asked), *(() if width == 1 and "past_time_features" in asked.known else (width,)))


def _horizon(asked: Asked) -> int:
    return asked.size(("prediction_length",))


def _time_features(asked: Asked) -> int:
    return int(getattr(asked.config, "num_time_features", 0) or 0)


def ones(asked: Asked) -> Tensor:
    """A mask that hides nothing of a sequence."""
    return torch.ones(SEQUENCES, length(asked), dtype=torch.int64)


def grid(asked: Asked) -> Tensor:
    """Two pictures of so many patches: frames, rows, columns."""
    return torch.tensor([[1, GRID, GRID]] * SEQUENCES)


def _positions(asked: Asked) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    return torch.stack([columns.reshape(-1), rows.reshape(-1)], -1).expand(SEQUENCES, -1, -1).contiguous()


def _steps(width: Sequence[str]) -> Callable[[Asked], Tensor]:
    return lambda asked: normal(SEQUENCES, length(asked), asked.size(width, 1))


MAKERS: Mapping[str, Callable[[Asked], Any]] = MappingProxyType(
    {
        "input_ids": worded("input_ids"),
        "decoder_input_ids": worded("decoder_input_ids"),
        "qformer_input_ids": ids,
        "inputs": ids,
        "attention_mask": ones,
        "qformer_attention_mask": ones,
        "pixel_values": pixels,
        "image": pixels,
        "pixel_values_videos": video,
        "grid_thw": grid,
        "image_grid_thw": grid,
        "spatial_shapes": lambda asked: torch.tensor([[GRID, GRID]] * SEQUENCES),
        "pixel_attention_mask": lambda asked: torch.ones(SEQUENCES, GRID * GRID, dtype=torch.int64),
        "pixel_position_ids": _positions,
        "hidden_states": states,
        "inputs_embeds": features,
        "query_embeds": features,
        "encoder_hidden_states": lambda asked: normal(
            SEQUENCES, length(asked), asked.size(("encoder_hidden_size", *WIDTHS))
        ),
        "noise_embeds": features,
        "context_hidden_states": features,
        "latents": features,
        "input_values": wave,
        "input_features": spectrum,
        "audio_mel": spectrum,
        "input_features_mask": mask_of_frames,
        "flattened_patches": flattened,
        "target_sizes": lambda asked: torch.tensor([[GRID, GRID]] * SEQUENCES),
        "is_longer": lambda asked: torch.ones(SEQUENCES, 1, dtype=torch.bool),
        "spectrogram": lambda asked: normal(SEQUENCES, LENGTH, asked.size(("model_in_dim", *BANDS))),
        "visual_feats": lambda asked: normal(SEQUENCES, LENGTH, asked.size(("visual_feat_dim",))),
        "visual_pos": lambda asked: normal(SEQUENCES, LENGTH, asked.size(("visual_pos_dim",))).sigmoid(),
        "prompt_pixel_values": pixels,
        "prompt_masks": pixels,
        "aspect_ratio_ids": lambda asked: torch.ones(IMAGES, 1, dtype=torch.int64),
        "feature_lens": lambda asked: torch.tensor([FRAMES] * SEQUENCES),
        "audio_mel_mask": lambda asked: torch.zeros(SEQUENCES, FRAMES, dtype=torch.bool),
        "bbox": boxes,
        "past_values": series,
        "past_observed_mask": lambda asked: torch.ones_like(series(asked)),
        "past_time_features": lambda asked: normal(IMAGES, _past(asked), _time_features(asked)),
        "future_values": lambda asked: normal(IMAGES, _horizon(asked)),
        "future_time_features": lambda asked: normal(IMAGES, _horizon(asked), _time_features(asked)),
        "past_values_padding": lambda asked: torch.zeros(IMAGES, _past(asked), dtype=torch.int64),
        "freq": lambda asked: torch.zeros(IMAGES, 1, dtype=torch.int64),
        "states": _steps(("state_dim",)),
        "actions": _steps(("act_dim",)),
        "rewards": _steps(("reward_dim",)),
        "returns_to_go": _steps(("reward_dim",)),
        "timesteps": lambda asked: torch.arange(length(asked)).expand(SEQUENCES, -1).contiguous(),
        "token_type_ids": lambda asked: torch.zeros(SEQUENCES, length(asked), dtype=torch.int64),
    }
)
"""Makers of inputs, by the name of the argument."""

COMPANIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "input_ids": ("bbox", "visual_feats", "visual_pos"),
        "input_features": ("input_features_mask", "is_longer", "feature_lens"),
        "query_embeds": ("encoder_hidden_states",),
        "past_values": ("future_values", "future_time_features"),
        "states": ("actions", "rewards", "returns_to_go", "timesteps", "attention_mask"),
        "pixel_values": ("spatial_shapes", "pixel_attention_mask", "target_sizes", "grid_thw"),
    }
)
"""Arguments that a model may leave out and that it is nothing without, by its main argument."""
