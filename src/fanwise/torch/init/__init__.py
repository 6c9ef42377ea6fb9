"""A drop-in for `torch.nn.init`: the same names, arguments and meaning, drawn from fanwise's stream.

    from fanwise.torch import init
    init.kaiming_normal_(layer.weight)          # torch.manual_seed governs, as before
    init.kaiming_normal_(layer.weight, key=0)   # or a key: these bits on every machine, device and dtype

Every random function takes `key=` besides torch's arguments. Without it, one 63-bit number is drawn from
`generator=`, or from torch's global CPU generator, and names the stream; tensors without elements and meta tensors draw
nothing. Fans are read from the storage shape by torch's rule, which is wrong for transposed, grouped, fused and stacked
weights; `fanwise.torch.plan` is not bound to it.

What differs, all of it by intent (docs/torch-init.md has the table):

- A stream's values depend on neither memory format, strides, device nor threads; other dtypes hold the same numbers,
  rounded. They are not the numbers that torch would draw from the same seed.
- Normal numbers are within 6.34 std by construction. `trunc_normal_` rejects nothing and takes one draw an element; its
  bounds are exact in every dtype, in far tails too, and a mean outside of them is no reason to warn.
- bfloat16 and float16 are right: no bias, exact bounds, orthogonal matrices too. 8-bit floats work.
- Complex tensors keep the variance that real ones have: torch's uniform Xavier and Kaiming give them twice as much.
- The result of an operation is refused: what `module.weight` of a parametrized module returns, for example, where
  torch fills a temporary tensor and leaves the parameter as it was.
- Negative and non-finite gains, stds and values are refused, and so are scales that the dtype cannot hold. Where torch
  raises RuntimeError from an operator, these functions raise ValueError or TypeError, before anything is written.
"""

# With names that are not public in torch, but imported from there by many.
from fanwise.torch.init.constants import (
    constant_,
    dirac_,
    eye_,
    ones_,
    zeros_,
)
from fanwise.torch.init.formulas import (
    calculate_gain,
)
from fanwise.torch.init.formulas import correct_fan as _calculate_correct_fan  # noqa: F401
from fanwise.torch.init.formulas import fan_in_and_fan_out as _calculate_fan_in_and_fan_out  # noqa: F401
from fanwise.torch.init.functions import (  # noqa: F401
    _no_grad_fill_,
    _no_grad_normal_,
    _no_grad_trunc_normal_,
    _no_grad_uniform_,
    _no_grad_zero_,
    constant,
    dirac,
    eye,
    kaiming_normal,
    kaiming_normal_,
    kaiming_uniform,
    kaiming_uniform_,
    normal,
    normal_,
    orthogonal,
    orthogonal_,
    sparse,
    sparse_,
    trunc_normal_,
    uniform,
    uniform_,
    xavier_normal,
    xavier_normal_,
    xavier_uniform,
    xavier_uniform_,
)

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]
