"""The record of one model: how it is built, what it is run on, and what it is for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Framework = Literal["torch", "jax", "keras"]
Split = Literal["tuned", "held_out", "reports", "unseen"]
Use = Literal["check", "structure", "families", "calibrate", "pitfall", "theory", "training"]
FAMILIES = (
    "mlp", "fields", "cnn", "recurrent", "transformer", "hf", "graph", "generative", "tabular", "agents",
)  # fmt: skip
"""Perceptrons; networks of coordinates and operators; convolutions; recurrence; attention and what replaces it; models
of the package transformers; graphs, points and sets; densities and pictures; tables of features; agents."""


class Arguments(NamedTuple):
    """What a model without a target is called with."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012


@dataclass(frozen=True)
class Traits:
    """What a test has to know about a tiny model.

    Args:
        depth: the depth that `build` takes where it is told none.
        deep: whether `build(64)` is 64 blocks in one residual stream and still fast.
        classes: how many classes, or tokens, the logits range over; None where there are no logits.
        logits: from what the model returns to the logits, with the classes in the last axis.
        blocks: a regular expression that the paths of the `depth` blocks of the main stack match in full.
        unused: the parameters that require a gradient and get none from this forward, in train mode at `depth`.
        data: "text", "image", "audio" or "other".
        shallowest: the least depth that `build` takes.
        joins: how many residual connections it has.
        slow: whether it takes more than five seconds.
    """

    depth: int = 2
    deep: bool = False
    classes: int | None = None
    logits: Callable[[Any], Any] | None = None
    blocks: str | None = None
    unused: tuple[str, ...] = ()
    data: str = "other"
    shallowest: int = 1
    joins: int = 0
    slow: bool = False


@dataclass(frozen=True)
class Model:
    """A model of the zoo.

    Args:
        name: unique among the models of one framework and one use.
        build: makes it with its own initial weights, drawn from the framework's random state, or, of a model of JAX
            that the check judges, from a key; a tiny model of PyTorch takes a depth too.
        batch: the same at every call: the inputs with the target last; arguments by name of a model that returns its
            own loss; or `Arguments` where there is no target. Of a model for training: from a part, a count and a
            generator to a batch.
        loss: as `check` of the framework takes it.
        family: of `FAMILIES`.
        framework: "torch", "jax" or "keras".
        use: what it serves: "check" (its alarms are counted), "structure" (tiny, for the tests of runs and plans), and
            in benches "calibrate", "pitfall" (sequential calibrators go wrong on it), "theory" and "training".
        split: of a model for the check: "tuned" where thresholds were chosen with it in sight, "held_out", "reports"
            where it was rebuilt from what people reported, or "unseen": healthy, and written before the rules that were
            first tried on it were looked at again.
        planted: the kind of the break, None for a healthy model.
        place: the path where the break sits, None for the whole model.
        base: the name of the healthy model that was broken.
        traits: what a test has to know about a tiny model.
    """

    name: str
    build: Callable[..., Any]
    batch: Callable[..., Any]
    loss: Any
    family: str
    framework: Framework
    use: Use = "check"
    split: Split | None = None
    planted: str | None = None
    place: str | None = None
    base: str | None = None
    traits: Traits = field(default_factory=Traits)


def maker(framework: Framework, family: str, split: Split, loss: Any = "cross_entropy") -> Callable[..., Model]:
    """A maker of healthy models for the check: of a name, a build, a batch and, where it differs, a loss."""
    usual = loss

    def model(name: str, build: Callable[..., Any], batch: Callable[[], Any], loss: Any = usual) -> Model:
        return Model(name, build, batch, loss, family, framework, split=split)

    return model
