"""The inputs of a run: batches, specs in words, and what a configuration says."""

import math
import re
from collections import UserDict, namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

import fanwise.torch as fwt  # noqa: E402
from fanwise.torch.trace.input_specs import DTYPES, parse  # noqa: E402
from fanwise.torch.trace.inputs import as_inputs  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import made, normal  # noqa: E402

ZOO = models("torch", "structure")
TRANSFORMERS = {name: specimen for name, specimen in ZOO.items() if specimen.family == "hf"}

Pair = namedtuple("Pair", "first second")

shapes = st.lists(st.integers(0, 5), min_size=1, max_size=4)
names = st.from_regex(r"[A-Za-z_][A-Za-z_0-9]{0,8}", fullmatch=True)
floats = st.sampled_from([name for name, dtype in DTYPES.items() if not name.startswith("int")])
integers = st.sampled_from([name for name in DTYPES if name.startswith("int")])


def sizes(shape):
    return ",".join(map(str, shape))


@given(shapes, st.none() | floats, st.none() | names)
def test_floats_are_what_the_spec_says(shape, dtype, name):
    spec = (f"{name}=" if name else "") + sizes(shape) + (f":{dtype}" if dtype else "")
    found = parse(spec)
    (tensor,) = found.kwargs.values() if name else found.args
    assert tuple(tensor.shape) == tuple(shape)
    assert tensor.dtype == DTYPES[dtype or "float32"]
    assert list(found.kwargs) == ([name] if name else [])


@given(shapes, integers, st.integers(-(2**31), 2**31 - 2), st.integers(1, 2**20))
def test_integers_stay_in_their_range(shape, dtype, low, width):
    high = min(low + width, 2**31 - 1)
    (tensor,) = parse(f"{sizes(shape)}:{dtype}[{low},{high})").args
    assert tuple(tensor.shape) == tuple(shape)
    assert tensor.dtype == DTYPES[dtype]
    assert bool(((tensor >= low) & (tensor < high)).all())


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_an_error_that_says_what_is_expected(text):
    try:
        found = parse(text)
    except ValueError as error:
        message = str(error)
    else:
        message = "inputs = " if found.args or found.kwargs else ""
    assert "inputs = " in message


@given(st.text(alphabet="0123456789,:;=[)intflo64-ab ", max_size=25))
def test_texts_that_are_nearly_specs_too(text):
    test_any_text_is_a_spec_or_an_error_that_says_what_is_expected.hypothesis.inner_test(text)


def test_integers_reach_all_of_a_range():
    (tensor,) = parse("4000:int64[3,7)").args
    counts = torch.bincount(tensor, minlength=7)
    assert counts[:3].sum() == 0
    assert all(abs(float(count) - 1000) < 5 * math.sqrt(4000 * 0.25 * 0.75) for count in counts[3:])


def test_floats_are_standard_normal_and_always_the_same():
    first, second = parse("100,100"), parse("100,100")
    assert torch.equal(first.args[0], second.args[0])
    assert abs(float(first.args[0].mean())) < 5 / 100
    assert abs(float(first.args[0].square().mean()) - 1) < 5 * math.sqrt(2 / 1e4)


def test_each_place_has_numbers_of_its_own():
    first, second = parse("50;50").args
    assert not torch.equal(first, second)


def test_the_caller_s_settings_do_not_matter():
    plain, state = parse("3,4;2:int64[0,9)").args, torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            other = parse("3,4;2:int64[0,9)").args
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_spaces_around_signs_are_free():
    found = parse(" 2 , 3 ; ids = 4 : int64 [ 0 , 10 ) ")
    assert tuple(found.args[0].shape) == (2, 3)
    assert tuple(found.kwargs["ids"].shape) == (4,)


BAD = {
    "empty": ("", "cannot be read"),
    "blank": ("  ", "cannot be read"),
    "semicolon": ("2,3;", "cannot be read"),
    "joined": ("3 2,4", "cannot be read"),
    "negative": ("-3,2", "cannot be read"),
    "fraction": ("3.5", "cannot be read"),
    "newline": ("2,3\n:float32\n;\n4x", "cannot be read"),
    "other digits": ("٣,٤", "cannot be read"),
    "digits": ("9" * 5000, "cannot be read"),
    "code": ("__import__('os').system('true')", "cannot be read"),
    "name": ("a.b=3", "cannot be read"),
    "dtype": ("3:float8", "dtype 'float8', expected one of float, float32"),
    "attribute": ("3:tensor", "dtype 'tensor', expected one of"),
    "twice": ("a=3;a=4", "a name comes twice"),
    "no range": ("3:int64", "integers need a range, such as int64[0,50257)"),
    "empty range": ("3:int64[5,5)", "range [5,5), expected"),
    "int32": ("3:int32[0,3000000000)", "expected -2147483648 <= low < high <= 2147483648"),
    "int64": (f"3:int64[0,{2**63 + 1})", f"expected {-(2**63)} <= low < high <= {2**63}"),
    "float range": ("3:float32[0,1)", "a range is for integers"),
    "closed": ("3:int64[0,1]", "cannot be read"),
    "elements": ("65536,65536", "4294967296 elements, expected at most"),
    "elements in all": ("2147483647;2", "2147483649 elements"),
}


@pytest.mark.parametrize(("spec", "message"), BAD.values(), ids=BAD)
def test_hostile_specs_are_refused(spec, message):
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        parse(spec)
    assert len(str(raised.value)) < 600


class Taker(nn.Module):
    def __init__(self, dtype=torch.float32, device="cpu"):
        super().__init__()
        self.w = nn.Parameter(torch.empty(3, dtype=dtype, device=device))


def test_kinds_of_inputs():
    x, y = normal(2, 3), normal(4)
    assert as_inputs(Taker(), x).args == (x,)
    assert as_inputs(Taker(), (x, y)).args == (x, y)
    assert as_inputs(Taker(), [x, 3, None]).args == (x, 3, None)
    assert as_inputs(Taker(), {"a": x}).kwargs == {"a": x}
    assert as_inputs(Taker(), UserDict(a=x)).kwargs == {"a": x}
    given_ = fwt.Inputs((x,), {"flag": True})
    assert as_inputs(Taker(), given_) == fwt.Inputs((x,), {"flag": True})
    assert as_inputs(Taker(), fwt.Inputs((x,))).kwargs == {}


def test_floats_without_a_dtype_have_that_of_the_model():
    found = as_inputs(Taker(torch.bfloat16), "2,3; m=2:float32; i=2:int64[0,3)")
    assert [tensor.dtype for tensor in (*found.args, *found.kwargs.values())] == [
        torch.bfloat16,
        torch.float32,
        torch.int64,
    ]
    assert as_inputs(Taker(torch.float8_e4m3fn), "2").args[0].dtype == torch.float32
    assert as_inputs(nn.ReLU(), "2").args[0].dtype == torch.float32


def test_inputs_move_to_the_model_with_what_they_are_nested_in():
    x = normal(2, 3)
    found = as_inputs(Taker(device="meta"), ((x, [x, {"a": x}]), Pair(x, 3), {"deep": (x,)}))
    (one, (two, inner)), pair, deep = found.args
    assert all(tensor.is_meta for tensor in (one, two, inner["a"], pair.first, deep["deep"][0]))
    assert type(pair) is Pair
    assert pair.second == 3
    assert not x.is_meta


def test_a_spec_for_a_meta_model_takes_no_memory():
    found = as_inputs(Taker(device="meta"), "2000000000:float64; i=3:int64[0,5)")
    assert found.args[0].is_meta
    assert found.args[0].numel() == 2_000_000_000
    assert found.kwargs["i"].is_meta


def test_meta_inputs_for_a_real_model_are_refused():
    with pytest.raises(ValueError, match="is on the meta device, the model on cpu"):
        as_inputs(Taker(), torch.empty(3, device="meta"))


@pytest.mark.parametrize("inputs", [3, 1.5, np.zeros(3), {1: 2}, {3}, object()])
def test_other_kinds_are_refused(inputs):
    with pytest.raises(TypeError, match="expected a tensor, a tuple of arguments, a mapping of named ones, or a spec"):
        as_inputs(Taker(), inputs)


def test_none_needs_a_configuration():
    with pytest.raises(ValueError, match="the model has no transformers configuration"):
        as_inputs(Taker())


@pytest.mark.parametrize("specimen", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_configurations_say_what_their_models_take(specimen):
    model = made(specimen)
    found = as_inputs(model)
    assert all(torch.equal(value, again) for value, again in zip(*map(tensors, (found, as_inputs(model))), strict=True))
    used = {use.path for op in fwt.run(model, found).ops for use in op.uses}
    args, kwargs = specimen.batch()
    assert used == {use.path for op in fwt.run(model, fwt.Inputs(args, kwargs)).ops for use in op.uses}


class Configured(nn.Module):
    """A model with a configuration, as transformers has them."""

    main_input_name = "input_ids"

    def __init__(self, config, forward):
        super().__init__()
        self.config, self.forward = config, forward


class Config:
    """Fields of a configuration."""

    def __init__(self, **fields):
        vars(self).update(fields)

    def to_dict(self):
        return vars(self)


@pytest.mark.parametrize(
    ("forward", "fields", "shapes"),
    [
        (lambda input_ids, bbox=None: 0, {"vocab_size": 99}, {"input_ids": (2, 32), "bbox": (2, 32, 4)}),
        (lambda pixel_values: 0, {"image_size": (8, 6), "num_frames": 3}, {"pixel_values": (2, 3, 3, 8, 6)}),
        (
            lambda hidden_states, grid_thw: 0,
            {"patch_size": 2, "temporal_patch_size": 2},
            {"hidden_states": (288, 24), "grid_thw": (2, 3)},
        ),
        (
            lambda input_ids=None, pixel_values=None: 0,
            {"vocab_size": 9, "image_size": 8},
            {"input_ids": (2, 32), "pixel_values": (2, 3, 8, 8)},
        ),
        (
            lambda input_ids=None, pixel_values=None: 0,
            {"vocab_size": 9, "image_size": 8, "image_token_id": 3},
            {"input_ids": (2, 32)},
        ),
        (
            lambda flattened_patches: 0,
            {"patch_size": 4},
            {"flattened_patches": (2, 144, 2 + 3 * 4 * 4)},
        ),
        (
            lambda query_embeds, encoder_hidden_states=None: 0,
            {"hidden_size": 8, "encoder_hidden_size": 12},
            {"query_embeds": (2, 32, 8), "encoder_hidden_states": (2, 32, 12)},
        ),
        (
            lambda input_features, input_features_mask=None: 0,
            {"num_mel_bins": 20, "max_source_positions": 7},
            {"input_features": (2, 20, 14), "input_features_mask": (2, 14)},
        ),
        (
            lambda input_features=None, is_longer=None: 0,
            {"num_mel_bins": 16, "spec_size": 64},
            {"input_features": (2, 1, 256, 16), "is_longer": (2, 1)},
        ),
        (
            lambda pixel_values: 0,
            {"keypoint_detector_config": Config(), "image_size": 8},
            {"pixel_values": (2, 2, 3, 8, 8)},
        ),
        (lambda input_ids: 0, {"num_hash_buckets": 40}, {"input_ids": (2, 32)}),
        (lambda input_ids: 0, {"whole_config": Config(part_config=Config(vocab_size=9))}, {"input_ids": (2, 32)}),
        (lambda input_values: 0, {"codebook_size": 9}, {"input_values": (2, 1, 15360)}),
        (lambda input_features: 0, {"num_mel_bins": 20}, {"input_features": (2, 128, 20)}),
        (
            lambda input_features: 0,
            {"num_mel_bins": 20, "max_source_positions": 7},
            {"input_features": (2, 20, 14)},
        ),
    ],
)
def test_the_forward_and_the_configuration_tell_the_inputs(forward, fields, shapes):
    found = as_inputs(Configured(Config(**fields), forward))
    assert {name: tuple(value.shape) for name, value in found.kwargs.items()} == shapes


def test_tokens_that_mean_something_are_not_drawn():
    config = Config(vocab_size=12, image_token_id=5, eos_token_id=[6, 7])
    tokens = as_inputs(Configured(config, lambda input_ids: 0)).kwargs["input_ids"]
    assert set(tokens.unique().tolist()) == {4, 8, 9, 10, 11}


def test_boxes_have_their_corners_in_order():
    boxes = as_inputs(Configured(Config(vocab_size=9), lambda input_ids, bbox=None: 0)).kwargs["bbox"]
    assert bool((boxes[..., :2] <= boxes[..., 2:]).all())
    assert int(boxes.max()) < 1000


def test_what_a_configuration_does_not_tell_is_asked_for_by_name():
    model = Configured(Config(vocab_size=9), lambda input_ids, phase: 0)
    with pytest.raises(ValueError, match=r"its forward needs phase. Give them by name, such as 'input_ids=2,32:int64"):
        as_inputs(model)


def codes(input_ids, lengths):
    """Codes of a sound.

    Args:
        input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length, num_codebooks)`):
            Several codes at each step.
        lengths (`torch.LongTensor` of shape `(batch_size, 2 * hidden_size)`):
            Whole numbers.
    """


def test_the_docstring_of_a_forward_tells_shapes():
    found = as_inputs(Configured(Config(vocab_size=9, num_codebooks=3, hidden_size=4), codes)).kwargs
    assert found["input_ids"].shape == (2, 32, 3)
    assert found["lengths"].shape == (2, 8)
    assert found["lengths"].dtype == torch.int64


class Patches(nn.Module):
    """A model that reads rows of patches by a matrix."""

    main_input_name = "pixel_values"
    config = Config(patch_size=4, num_channels=3, image_size=16)

    def __init__(self):
        super().__init__()
        self.patch_embedding = nn.Linear(3 * 2 * 4 * 4, 8)

    def forward(self, pixel_values, grid_thw):
        return self.patch_embedding(pixel_values)


def test_the_map_of_patches_tells_how_wide_they_are():
    found = as_inputs(Patches()).kwargs
    assert found["pixel_values"].shape == (2 * int(found["grid_thw"][0].prod()), 3 * 2 * 4 * 4)


class Stacked(nn.Module):
    """A model that reads more numbers than a frame has bands."""

    main_input_name = "input_features"
    config = Config(num_mel_bins=5)

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(20, 8)

    def forward(self, input_features, phase=None):
        if phase is None:
            raise ValueError("where?")
        return self.first(input_features)


def test_the_first_layer_tells_the_width_and_what_was_made_up_is_told():
    model = Stacked()
    assert as_inputs(model).kwargs["input_features"].shape == (2, 128, 20)
    with pytest.raises(fwt.ModelError, match=r"as if 'input_features=2,128,20' had been given: .* takes phase besides"):
        fwt.run(model, as_inputs(model))
    again = fwt.Inputs((), {"input_features": torch.zeros(2, 3, 20)})
    with pytest.raises(fwt.ModelError, match=r"where\? \(at .*test_inputs\.py:\d+\)$"):
        fwt.run(model, again)


def tensors(found):
    return [value for value in found.kwargs.values() if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("name", ["vit", "gpt2", "whisper", "clip"])
def test_configured_inputs_fit_bfloat16_and_meta_models(name):
    if name not in TRANSFORMERS:
        pytest.skip("transformers is not installed")
    fwt.run(made(TRANSFORMERS[name]).bfloat16(), as_inputs(made(TRANSFORMERS[name]).bfloat16()))
    with torch.device("meta"):
        model = TRANSFORMERS[name].build()
    assert all(value.is_meta for value in tensors(as_inputs(model)))
