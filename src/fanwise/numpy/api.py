"""`check_weights` and `fix_weights`: a network written in NumPy, judged before its first training step."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from fanwise.check.findings import Severity
    from fanwise.check.fix import Mending
    from fanwise.check.report import Report

Weights: TypeAlias = "Sequence[Any] | Mapping[str, Any] | Callable[..., Any]"
Activations: TypeAlias = "str | Callable[[Any], Any] | Sequence[Any] | None"
LossOfWeights: TypeAlias = "str | Callable[..., Any] | None"


def check_weights(  # noqa: PLR0913  (one parameter a choice; all but three by name)
    weights: Weights,
    x: Any,
    y: Any = None,
    *,
    activation: Activations = "relu",
    loss: LossOfWeights = None,
    dense: str | None = None,
    conv: str = "out in kernel kernel",
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int | str] = 0,
    pool: int | Sequence[int] = 1,
    pooling: str | Sequence[str] = "max",
    optimizer: str | None = None,
    seeds: int = 3,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: "Severity" = "error",
) -> "Report":
    """Judges the weights of a network that is written in NumPy, before its first training step.

    The network is each weight in turn: h = activation(h W + b), or a convolution; what the last one gives goes to the
    loss. It is run forward and backward here: no framework is needed, and nothing that is given is changed. What a list
    of weights does not say is not covered: normalisations, residual additions, lookups, recurrences, attention. Such a
    network is for `fanwise.torch.check`, `fanwise.jax.check` or `fanwise.keras.check`, or is checked in parts.

    Args:
        weights: a list of arrays in the order in which they are used, ``[W1, b1, W2, b2]``, of pairs ``(W, b)``, or a
            dict of arrays by name, whose names the report keeps. Weights of two axes are dense, of three and more
            convolutions; biases may be left out. Or a function that draws them, which is called once a seed: with a
            NumPy generator where it takes one, else with ``np.random`` seeded.
        x: inputs, shape (examples, features), or (examples, channels, height, width) for convolutions. Examples in
            columns, as in W @ x + b, are found by the shapes of the weights; the report says so.
        y: targets, as your loss sees them: classes counted from 0, one-hot rows, truth values, or values. None: nothing
            is said of the first loss, and gradients are those of a random projection of the output.
        activation: what stands behind every layer but the last: a name of `fanwise.NONLINEARITIES`, such as
            ``"leaky_relu(0.1)"``, or a function of arrays, whose derivative is found numerically; or a list of one for
            each layer, None for none. A softmax or sigmoid at its end belongs to the loss.
        loss: "softmax" (and its cross-entropy), "sigmoid" (and its binary cross-entropy) or "mse", each a mean over the
            batch. Or your own function of the outputs and y, as they are, that returns the loss, whose gradient is then
            found numerically, or the loss and its gradient at the outputs. None: the one that y and the last
            activation mean; the report says which.
        dense: "in out" for x @ W, "out in" for W @ x. None: the shapes tell; where all weights are square, "in out".
        conv: order of the axes of convolutions, "kernel" once or as often as there are axes. With "kernel kernel in
            out" inputs are (examples, height, width, channels).
        stride: of convolutions, or a list of one for each.
        padding: zeros at both ends, "valid" for none, "same", or a list of one for each convolution.
        pool: size of the windows that are pooled behind a convolution's activation; 1 for none; or a list.
        pooling: what is taken of each window, "max" or "average"; or a list.
        optimizer: what will train it, as in ``"sgd:0.1"``; None leaves the rules on updates out.
        seeds: how often a function that draws is called.
        select: beginnings of the codes of rules to apply; () for all.
        ignore: beginnings of codes to leave out.
        fail_on: from which severity on the report is not ok.

    Returns:
        A report: `.ok`, `.findings`, `.table`, `.to_json()`, `.to_sarif()`, `.html(path)`; printing it shows the table.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: arrays that do not fit one another, or an unknown name; the message says which and what would fit.

    Example:
        >>> import numpy as np
        >>> from fanwise import check_weights
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.random((64, 784)), rng.integers(10, size=64)
        >>> W1, b1 = rng.random((784, 100)) / 28, np.zeros(100)  # all positive
        >>> W2, b2 = rng.normal(size=(100, 10)) / 10, np.zeros(10)
        >>> report = check_weights([W1, b1, W2, b2], x, y, activation="sigmoid")
        >>> report.ok, report.findings[0].code, report.findings[0].place
        (False, 'LAW003', 'W1')
    """
    from fanwise.numpy.geometry import Windows  # noqa: PLC0415  (half a second: when it is used)
    from fanwise.numpy.reading import Choices  # noqa: PLC0415
    from fanwise.numpy.session import WeightsSession  # noqa: PLC0415

    choices = Choices(activation, loss, dense, Windows(conv, stride, padding, pool, pooling))
    session = WeightsSession(weights, (x, y), choices, optimizer)
    return session.report(seeds=seeds, select=select, ignore=ignore, fail_on=fail_on)


def fix_weights(  # noqa: PLR0913  (those of `check_weights`)
    weights: Weights,
    x: Any,
    y: Any = None,
    *,
    activation: Activations = "relu",
    loss: LossOfWeights = None,
    dense: str | None = None,
    conv: str = "out in kernel kernel",
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int | str] = 0,
    pool: int | Sequence[int] = 1,
    pooling: str | Sequence[str] = "max",
    optimizer: str | None = None,
) -> "Mending":
    """What mends the findings of `check_weights` by drawing weights anew, as a table and as NumPy code to paste.

    The arguments and errors are those of `check_weights`. Nothing that is given is changed.

    Returns:
        `.code` to paste where the arrays are `weights`; `.table`, `.rows`; `.cures` says whether a check of the mended
        network finds nothing; `.unsafe` lists what is for you to decide.

    Example:
        >>> import numpy as np
        >>> from fanwise import check_weights, fix_weights
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(64, 784)), rng.integers(10, size=64)
        >>> weights = [rng.normal(size=(784, 100)), np.zeros(100), rng.normal(size=(100, 10)), np.zeros(10)]
        >>> mending = fix_weights(weights, x, y)
        >>> exec(mending.code)
        >>> check_weights(weights, x, y).ok
        True
    """
    from fanwise.numpy.geometry import Windows  # noqa: PLC0415  (half a second: when it is used)
    from fanwise.numpy.reading import Choices  # noqa: PLC0415
    from fanwise.numpy.session import WeightsSession  # noqa: PLC0415

    choices = Choices(activation, loss, dense, Windows(conv, stride, padding, pool, pooling))
    return WeightsSession(weights, (x, y), choices, optimizer).mending()
