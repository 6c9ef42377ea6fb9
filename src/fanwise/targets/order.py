"""What the command line is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanwise.check.findings import Severity

SUFFIX = ".safetensors"
"""Of a file of weights alone."""


@dataclass(frozen=True)
class Order:
    """A model, and what it is looked at with.

    Args:
        target: the model: a factory or a model, as ``"train.py:build"`` or ``"package.module:build"``; a configuration
            of transformers; or a .safetensors file.
        data: a name such as "train.py:batch": a batch, a function that returns one, or what yields them.
        inputs: a spec, instead of data.
        loss: a name that the framework has, as "cross_entropy", or one such as "train.py:loss".
        optimizer: such as "adam:1e-3".
        seeds: how often a factory is built and run.
        select: codes of rules, or beginnings of codes; () for all.
        ignore: likewise, those to leave out.
        fail_on: from which severity on the report is not `ok`.

    Raises:
        ValueError: data and inputs, or one of them and a .safetensors file.
    """

    target: str
    data: str | None = None
    inputs: str | None = None
    loss: str | None = None
    optimizer: str | None = None
    seeds: int = 3
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: Severity = "error"

    def __post_init__(self) -> None:
        if self.data is not None and self.inputs is not None:
            raise ValueError(f"--data {self.data!r} and --input {self.inputs!r}: expected one of them")
        given = {"--data": self.data, "--input": self.inputs, "--loss": self.loss, "--optimizer": self.optimizer}
        useless = [option for option, value in given.items() if value is not None]
        if self.of_weights and useless:
            raise ValueError(f"{useless[0]} with {self.target!r}: a file of weights is not run, leave it out")

    @property
    def judging(self) -> Mapping[str, Any]:
        """How it is judged: what every adapter's `check` takes by name."""
        names = ("optimizer", "seeds", "select", "ignore", "fail_on")
        return {name: vars(self)[name] for name in names}

    @property
    def of_weights(self) -> bool:
        """Whether the target is a file of weights alone."""
        return self.target.endswith(SUFFIX)
