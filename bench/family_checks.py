"""How often `check` speaks on the models that were written from papers, at the initialisation of their authors.

    python -m bench family_checks                 # PyTorch, one seed
    python -m bench family_checks --only mamba

None of the rules was chosen with these models in sight. A model with logits is judged by the cross-entropy of labels
that are drawn evenly, any other without a loss.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fanwise.check.findings import Finding, at_least
from fanwise.torch import check
from zoo.model import Model
from zoo.registry import models


def labelled(model: Model) -> tuple[Any, Callable[..., Tensor] | None]:
    """The batch of a model and its loss."""
    args, logits = model.batch().args, model.traits.logits
    if logits is None:
        return (args[0] if len(args) == 1 else args), None
    with torch.no_grad():
        shape = logits(model.build().eval()(*args)).shape
    labels = torch.randint(0, shape[-1], shape[:-1], generator=torch.Generator().manual_seed(1))

    def loss(output: Any, target: Tensor) -> Tensor:
        return cross_entropy(logits(output).reshape(-1, shape[-1]), target.reshape(-1))

    return (*args, labels), loss


def findings(model: Model, seeds: int) -> list[Finding]:
    """What the check says at warning or above; what ended it counts as an error."""
    torch.manual_seed(0)
    try:
        batch, loss = labelled(model)
        report = check(model.build, batch, loss, seeds=seeds)
    except Exception as error:  # a crash is what is counted
        return [Finding("FAILED", "error", f"{type(error).__name__}: {error}".partition("\n")[0][:150])]
    return [finding for finding in report.findings if at_least(finding.severity, "warning")]


def main() -> None:
    """Judges the models of the families of PyTorch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="models whose names contain this")
    parser.add_argument("--seeds", type=int, default=1)
    asked, start = parser.parse_args(), time.perf_counter()
    warnings.simplefilter("ignore")
    chosen = [model for model in models("torch", "families").values() if asked.only in model.name]
    flagged = 0
    for model in chosen:
        said = findings(model, asked.seeds)
        flagged += bool(said)
        for finding in said:
            print(f"{model.name}: {finding.severity} {finding.code} {finding.place}: {finding.message}", flush=True)
    print(f"{len(chosen)} models, {flagged} flagged; {time.perf_counter() - start:.0f} s")
