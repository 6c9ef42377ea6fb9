"""`calibrate`: weights scaled on real data, in one forward pass."""

from collections.abc import Collection, Sequence
from typing import Any

from fanwise.calibrate.options import Options
from fanwise.calibrate.result import Calibration
from fanwise.calibrate.session import CalibrationSession
from fanwise.keras.backend import BACKEND
from fanwise.keras.trace.run import check_backend
from fanwise.keras.trace.variables import check_model
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan
from fanwise.stream.key import KeyLike


def calibrate(  # noqa: PLR0913  (one parameter a choice; all but two by name)
    model: Any,
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
    measured on calibrated input. A bias is scaled with its weight, so that a target is always met; an activation that
    a layer applies itself comes after. What follows each op is read before, from a pass over shapes alone. The model
    runs for inference with batch statistics, as in `run`; directions of weights are kept. Where anything fails,
    nothing was changed.

    Args:
        model: any built Keras model, on any backend.
        batch: what the model is called with, as for `plan`; where a `loss` is given, a tuple (inputs, target).
        more: further batches of the same kind: all are run as one, so that their statistics are pooled at every op.
        mode: "layer" scales each op as a whole; "channel" gives each unit mean 0 and variance ``target**2``, through
            the columns of the kernel and through the bias.
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
        TypeError: an argument of the wrong kind, no Keras model.
        ValueError: an unknown choice, a plan without a key or in mode "channel", batches that do not fit each other, a
            weight that cannot hold its factor, or a model that was not built.
        ModelError: the model could not be run.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> hidden = keras.layers.Dense(64, name="hidden")
        >>> model = keras.Sequential([keras.Input((64,)), hidden, keras.layers.ReLU(), keras.layers.Dense(10)])
        >>> x = np.random.default_rng(0).normal(size=(256, 64)).astype("float32")
        >>> result = calibrate(model, x)
        >>> len(result.factors), result.forwards
        (2, 1)
        >>> print(*(f"{keras.ops.convert_to_numpy(part(x)).std():.4f}" for part in (hidden, model)))
        1.0000 0.3035

    References:
        Mishkin and Matas, "All you need is a good init", 2015; Kraehenbuehl et al., "Data-dependent initializations of
        convolutional neural networks", 2015; Salimans and Kingma, "Weight normalization", 2016, section 3.
    """
    check_model(model)
    check_backend()
    options = Options(mode, statistic, target, head, branches, gain_after, only)
    return CalibrationSession(BACKEND, options, plan, key, balance, loss).result(model, (batch, *more))
