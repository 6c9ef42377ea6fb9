"""What a calibration should reach."""

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fanwise.stream.arguments import checked_choice, checked_number

MODES = ("layer", "channel")
STATISTICS = ("std", "second_moment")
HEADS = ("loss", "target")
BRANCHES = ("share", "target")


@dataclass(frozen=True)
class Options:
    """What a calibration should reach.

    Args:
        mode: "layer" scales each op as a whole; "channel" gives each unit its mean and variance.
        statistic: "std" of an op's whole output, or "second_moment": its root. A std divides by the number of values.
        target: what the statistic should be inside the network.
        head: what makes the model's outputs: "loss" keeps the loss near ln C, "target" treats it as the others.
        branches: the end of a residual branch: "share" gives it 1 / sqrt(number of branches) of its stream, "target"
            treats it as the others.
        gain_after: the target holds after the activation that follows, where one does.
        only: patterns of paths of the weights to scale, as in a shell; None for all.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an unknown choice, a target that is not positive, or a combination that has no meaning.
    """

    mode: str = "layer"
    statistic: str = "std"
    target: float = 1.0
    head: str = "loss"
    branches: str = "share"
    gain_after: bool = False
    only: str | Collection[str] | None = None

    def __post_init__(self) -> None:
        choices = (("mode", MODES), ("statistic", STATISTICS), ("head", HEADS), ("branches", BRANCHES))
        for name, known in choices:
            checked_choice(vars(self)[name], known, name=name)
        object.__setattr__(self, "target", checked_number(self.target, name="target"))
        if self.target <= 0:
            raise ValueError(f"target = {self.target}: expected a number > 0")
        if not isinstance(self.gain_after, bool):
            raise TypeError(f"gain_after = {self.gain_after!r}: expected True or False")
        object.__setattr__(self, "only", _patterns(self.only))
        if self.mode == "channel":
            _check_channel(self)

    def means(self, *names: str) -> bool:
        """Whether a parameter of these names is to be scaled."""
        return self.only is None or any(fnmatchcase(name, pattern) for name in names for pattern in self.only)


def _patterns(only: object) -> tuple[str, ...] | None:
    if only is None:
        return None
    given = (only,) if isinstance(only, str) else only
    if not isinstance(given, Collection) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"only = {only!r}: expected patterns of paths, such as ('encoder.*',), or None")
    return tuple(given)


def _check_channel(options: Options) -> None:
    if options.gain_after:
        raise ValueError(
            "gain_after = True in mode 'channel': each unit's mean and variance are set where the map gives them; "
            "use mode='layer'"
        )
    if options.statistic != "std":
        raise ValueError("statistic = 'second_moment' in mode 'channel': the mean is set to 0, leave statistic='std'")
