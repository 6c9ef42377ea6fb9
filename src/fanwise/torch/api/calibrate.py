"""`calibrate`: weights scaled on real data, in one forward pass."""

from collections.abc import Collection, Sequence
from typing import Any

from torch import nn

from fanwise.calibrate.options import Options
from fanwise.calibrate.result import Calibration
from fanwise.calibrate.session import CalibrationSession
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan
from fanwise.stream.key import KeyLike
from fanwise.torch.backend import BACKEND
from fanwise.torch.trace.provenance import check_model


def calibrate(  # noqa: PLR0913  (one parameter a choice; all but two by name)
    model: nn.Module,
    batch: Any = None,
    *,
    more: Sequence[Any] = (),
    mode: str = "layer",
    statistic: str = "std",
    target: float = 1.0,
    head: str = "loss",
    branches: str = "share",
    gain_after: bool = False,
    only: str | Collection[str] | None = None,
    plan: Plan | None = None,
    key: KeyLike | None = None,
    balance: bool = False,
    loss: LossLike = None,
) -> Calibration:
    """Scales a model's weights on real data, in place, in one forward pass.

    At each op with a weight the output is measured, over all its values and in double precision; the weight gets the
    factor that gives the output its target, and the output times that factor goes on, so that what follows is
    measured on calibrated input. A bias is scaled with its weight, so that a target is always met. What follows each
    op is read before, from a pass without values. The model runs in evaluation mode with batch statistics, as in
    `run`; directions of weights are kept. Where anything fails, nothing was changed.

    Args:
        model: any `torch.nn.Module`. Where its parameters are on the meta device, `plan` and `key` draw each when the
            model reads it, and it is dropped after: the model may be larger than memory. It stays without memory;
            `materialize` it with the plan of the result.
        batch: a tensor, a tuple of arguments, a mapping of named ones, a spec such as ``"32,3,224,224"``, or None for a
            transformers model. Where a `loss` is given, the last element of a tuple is what it compares with.
        more: further batches of the same kind: all are run as one, so that their statistics are pooled at every op.
        mode: "layer" scales each op as a whole; "channel" gives each unit mean 0 and variance ``target**2``, through
            the rows of the weight and through the bias.
        statistic: "std" of the whole output (the sum of squares divided by the number of values), or
            "second_moment": its root.
        target: what the statistic should be inside the network.
        head: "loss" gives the model's outputs the std with which C classes start 2 % above ln C, at most 0.5;
            "target" treats the head as the others.
        branches: "share" gives the end of a residual branch 1 / sqrt(number of branches) of its stream; "target"
            treats it as the others.
        gain_after: the target holds after the activation that alone follows an op.
        only: patterns of paths of the weights to scale; the others are left.
        plan: whose numbers the model gets first, and which carries the factors in the result: `apply` with it and the
            same key makes the calibrated model again, bit for bit.
        key: of the plan's numbers.
        balance: makes the ratios of gradient to weight equal along chains of maps and positively homogeneous
            functions, with another forward pass and a backward pass; the model's function is kept.
        loss: as `check` takes it; it is computed for `balance` alone.

    Returns:
        One line an op: what was measured, the target, the factor, or why it was left. Printing it shows a table.

    Raises:
        TypeError: an argument of the wrong kind, no module, TorchScript, lazy parameters.
        ValueError: an unknown choice, a plan without a key or in mode "channel", batches that do not fit each other, a
            weight that cannot hold its factor; on the meta device no plan, `balance`, buffers or inputs without values.
        ModelError: the model could not be run.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator object at ...>
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> x = torch.randn(256, 64)
        >>> result = calibrate(model, x)
        >>> sorted(result.factors), result.forwards
        (['0.weight', '2.weight'], 1)
        >>> with torch.no_grad():
        ...     print(f"{model[0](x).std(correction=0):.5f} {model(x).std(correction=0):.3f}")
        1.00000 0.303

    References:
        Mishkin and Matas, "All you need is a good init", 2015; Kraehenbuehl et al., "Data-dependent initializations of
        convolutional neural networks", 2015; Salimans and Kingma, "Weight normalization", 2016, section 3.
    """
    check_model(model)
    options = Options(mode, statistic, target, head, branches, gain_after, only)
    return CalibrationSession(BACKEND, options, plan, key, balance, loss).result(model, (batch, *more))
