"""`calibrate`: weights scaled on real data, in one forward pass."""

from collections.abc import Sequence
from typing import Any

from fanwise.calibrate.options import Options
from fanwise.calibrate.result import Calibration
from fanwise.calibrate.session import CalibrationSession
from fanwise.jax.backend import BACKEND
from fanwise.jax.stream.keys import JaxKey
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan


def calibrate(  # noqa: PLR0913  (one parameter a choice; all but two by name)
    model: Any,
    batch: Any,
    *,
    more: Sequence[Any] = (),
    mode: str = "layer",
    statistic: str = "std",
    target: float = 1.0,
    head: str = "loss",
    branches: str = "share",
    gain_after: bool = False,
    only: str | Sequence[str] | None = None,
    plan: Plan | None = None,
    key: JaxKey | int | None = None,
    balance: bool = False,
    loss: LossLike = None,
) -> Calibration:
    """The model with its weights scaled on real data, in one forward pass; the one that is given stays as it is.

    The program is interpreted op by op. At each op with a weight the output is measured, over all its values and in
    double precision; the weight gets the factor that gives the output its target, and the output times that factor goes
    on, into loops, branches and rematerialised parts too, so that what follows is measured on calibrated input. A bias
    that alone reads a map is scaled with it, so that a target is always met. What follows each op is read before, from
    a pass over shapes. Each matrix of a stack that a scan goes through has a factor of its own; what a loop over time
    applies at every step is left.

    Args:
        model: as for `fanwise.jax.plan`, with values.
        batch: inputs as for `fanwise.jax.plan`. Where a `loss` is given, the last element of a tuple is what it
            compares with.
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
        key: of the plan's numbers, as for `apply`.
        balance: makes the ratios of gradient to weight equal along chains of maps and positively homogeneous
            functions, with another forward pass and a backward pass; the model's function is kept.
        loss: as `check` takes it; it is computed for `balance` alone.

    Returns:
        What was done, with the new model in the form in which it came as its field `model`: one line an op with what
        was measured, the target, the factor, or why it was left. A slice of a stack is called ``path[index]``.

    Raises:
        TypeError: an argument of the wrong kind, or no model.
        ValueError: an unknown choice, a plan without a key or in mode "channel", batches that do not fit each other, a
            weight that cannot hold its factor, or a model or inputs without values.
        ModelError: the model could not be run.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> def network(p, x):
        ...     return jax.nn.relu(x @ p["w0"] + p["b0"]) @ p["w1"]
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> params = {"w0": jax.random.normal(keys[0], (64, 64)), "b0": jnp.zeros(64)}
        >>> params["w1"] = jax.random.normal(keys[1], (64, 10))
        >>> x = jax.random.normal(keys[2], (256, 64))
        >>> result = calibrate((network, params), x)
        >>> network, scaled = result.model
        >>> sorted(result.factors), result.forwards
        (['w0', 'w1'], 1)
        >>> print(f"{(x @ scaled['w0']).std():.5f} {network(scaled, x).std():.3f}")
        1.00000 0.303

    References:
        Mishkin and Matas, "All you need is a good init", 2015; Kraehenbuehl et al., "Data-dependent initializations of
        convolutional neural networks", 2015; Salimans and Kingma, "Weight normalization", 2016, section 3.
    """
    options = Options(mode, statistic, target, head, branches, gain_after, only)
    return CalibrationSession(BACKEND, options, plan, key, balance, loss).result(model, (batch, *more))
