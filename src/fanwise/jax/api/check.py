"""`check`: is this model healthy at step zero, where does it start, what mends it."""

from collections.abc import Callable, Sequence
from typing import Any

from fanwise.check.arguments import OptimizerLike
from fanwise.check.findings import Severity
from fanwise.check.report import Report
from fanwise.check.session import CheckSession
from fanwise.jax.backend import BACKEND
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan


def check(  # noqa: PLR0913  (one parameter a choice; all but three by name)
    model: Any,
    batch: Any,
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

    The model's program is interpreted op by op, forward, and again for the gradients; nothing of the model changes.

    Args:
        model: as for `fanwise.jax.plan`, judged as it is found; or a function of a JAX key that makes one, called once
            a seed.
        batch: inputs as for `fanwise.jax.plan`. Where a `loss` is given, the last element of a tuple, or a mapping's
            "target" or "labels", is what the loss compares with; a batch without one gets targets that are drawn.
            What yields batches, such as a data loader, gives its first.
        loss: "cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss", "huber_loss", "nll_loss", or a
            function of output and target that gives one number. None: the loss that the model returns itself; where it
            returns none, a random projection of its output, which gives gradients but no loss to judge.
        optimizer: what will train it, as in ``"adam:1e-3"``, or an optimizer of optax;
            None leaves the rules on updates out.
        plan: what the weights should be. They are compared with it; with more than one seed, the runs after the first
            take the plan's numbers under other seeds.
        seeds: initialisations that are looked at: of a function that makes models, or of a plan.
        select: beginnings of the codes of rules to apply; () for all.
        ignore: beginnings of codes to leave out.
        fail_on: from which severity on the report is not ok.
        progress: told what is done next.
        backward: False leaves the backward pass out: a report on the forward pass alone.

    Returns:
        A report: `.ok`, `.findings`, `.table`, `.to_json()`, `.to_sarif()`, `.html(path)`; printing it shows the table.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an unknown loss, optimizer, code or severity.
        ModelError: the model, its loss or its backward pass could not be run; the message says where.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from fanwise.jax import initializers
        >>> def network(p, x):
        ...     return jax.nn.relu(x @ p["w0"]) @ p["w1"]
        >>> init, keys = initializers.he_normal(), jax.random.split(jax.random.key(0), 3)
        >>> params = {"w0": init(keys[0], (64, 64)), "w1": 0.1 * init(keys[1], (64, 10))}
        >>> batch = jax.random.normal(keys[2], (32, 64)), jnp.arange(32) % 10
        >>> check((network, params), batch, "cross_entropy").ok
        True
    """
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
