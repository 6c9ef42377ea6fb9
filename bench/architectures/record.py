"""What came of one architecture."""

from dataclasses import dataclass


@dataclass
class Judged:
    """What came of one architecture.

    Args:
        name: its model type.
        model: class of the model.
        level: how far its configuration was made small.
        parameters: how many numbers it has.
        tensors: how many arrays of parameters.
        unused: those that no op read.
        lawless: paths of those that are drawn at random by the library and that the plan leaves as they are.
        printed: whether the plan was printed and read back, equal.
        applied: whether the plan was applied.
        findings: codes at warning or above after that.
        loss: the first loss over the best constant's, where the check has it.
        seconds: of it all.
        stage: what was done last.
        reason: why it went no further.
        adjusted: fields that were left as they are, or filled, so that it can be built and run.
    """

    name: str
    model: str = ""
    level: int = 0
    parameters: int = 0
    tensors: int = 0
    unused: int = 0
    lawless: tuple[str, ...] = ()
    printed: bool = False
    applied: bool = False
    findings: tuple[str, ...] = ()
    seconds: float = 0.0
    stage: str = "build"
    reason: str = ""
    adjusted: tuple[str, ...] = ()
