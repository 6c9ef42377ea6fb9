"""Convolutions without values: the rule of shapes agrees with torch."""

import itertools

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.nn import functional  # noqa: E402

from fanwise.torch.trace.substitute import without_values  # noqa: E402

WINDOWS = [
    window
    for window in itertools.product(
        (1, (2,), (3, 1)), (0, (1, 2), "same", "valid"), (1, (2, 1)), ((1, 1), (3, 5)), (9, 16)
    )
    if window[1] != "same" or window[0] == 1  # torch refuses others
]


@pytest.mark.parametrize(("steps", "padding", "dilation", "kernel", "size"), WINDOWS)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_an_output_has_torch_own_shape_and_strides(steps, padding, dilation, kernel, size, memory):
    mode = FakeTensorMode()
    x = mode.from_tensor(torch.randn(2, 4, size, 11).to(memory_format=memory))
    args = x, mode.from_tensor(torch.randn(6, 2, *kernel)), None, steps, padding, dilation, 2
    expected, output = functional.conv2d(*args), without_values(functional.conv2d, "conv2d", args, {})
    assert (output.shape, output.stride()) == (expected.shape, expected.stride())
    assert (output.dtype, output.device) == (expected.dtype, expected.device)


def test_a_window_that_does_not_fit_is_refused():
    mode = FakeTensorMode()
    args = mode.from_tensor(torch.randn(1, 2, 3, 3)), mode.from_tensor(torch.randn(2, 2, 5, 5))
    with pytest.raises(RuntimeError):
        without_values(functional.conv2d, "conv2d", args, {})
