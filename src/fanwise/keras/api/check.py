"""`check`: is this model healthy at step zero, where does it start, what mends it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from fanwise.adapters.hints import hint_for
from fanwise.check.arguments import OptimizerLike
from fanwise.check.findings import Severity
from fanwise.check.report import Report
from fanwise.check.session import CheckSession
from fanwise.keras.backend import BACKEND
from fanwise.keras.trace.variables import check_model
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan


def check(  # noqa: PLR0913  (one parameter a choice; all but three by name)
    model: Any,
    batch: Any = None,
    loss: LossLike = None,
    *,
    optimizer: OptimizerLike = None,
    plan: Plan | None = None,
    seeds: int = 3,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: Severity = "error",
    progress: Callable[[str], None] | None = None,
    backward: bool = True,
) -> Report:
    """Judges a model before its first training step.

    The model is run forward and backward, layer by layer, as `run` does, and left as it was. It runs for inference, but
    batch norms take the batch's own statistics. One run takes the memory of a training step; on JAX the model runs
    twice.

    Args:
        model: a built Keras model, judged as it is found; or a function without arguments that builds one, called once
            a seed.
        batch: what the model is called with, as for `plan`. Where a `loss` is given, the second of a tuple (inputs,
            target), or a mapping's "target" or "labels", is what the loss compares with; a batch without one gets
            targets that are drawn.
            What yields batches, such as a data loader, gives its first.
        loss: name of a loss of keras.losses, an instance of one, or a function of target and output; "cross_entropy",
            "binary_cross_entropy_with_logits" and "mse_loss" mean what they mean in every framework. None: the loss
            that the model returns itself; where it returns none, a random projection of its output, which gives
            gradients but no loss to judge.
        optimizer: what will train it, as in ``"adam:1e-3"``, or an optimizer of keras.optimizers;
            None leaves the rules on updates out.
        plan: what the weights should be. They are compared with it; with more than one seed, the runs after the first
            take the plan's numbers under other seeds.
        seeds: initialisations that are looked at: of a function, or of a plan.
        select: beginnings of the codes of rules to apply; () for all.
        ignore: beginnings of codes to leave out.
        fail_on: from which severity on the report is not ok.
        progress: told what is done next.
        backward: False leaves the backward pass out.

    Returns:
        A report: `.ok`, `.findings`, `.table`, `.to_json()`, `.to_sarif()`, `.html(path)`; printing it shows the table.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a model that was not built, an unknown loss, optimizer, code or severity.
        ModelError: the model, its loss or its backward pass could not be run.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from fanwise.keras import apply, plan
        >>> hidden = [keras.layers.Dense(64, "relu") for _ in range(3)]
        >>> model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(64, 64)).astype("float32"), rng.integers(0, 10, 64)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> report = check(apply(model, plan(model, x), key=0), (x, y), loss)
        >>> report.ok, [finding.code for finding in report.findings]
        (True, [])
    """
    if hint_for(model) and not isinstance(model, keras.layers.Layer):  # a module that is called is no factory
        check_model(model)
    session = CheckSession(
        BACKEND,
        loss,
        optimizer=optimizer,
        plan=plan,
        seeds=seeds,
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        progress=progress,
        backward=backward,
    )
    return session.report(model, batch)
