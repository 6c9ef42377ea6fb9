"""Labels for a transformers model, so that it computes its own loss."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.graph.visitor import ModelError, Watcher
from fanwise.torch.trace.recorder import Recorder
from fanwise.torch.trace.run import Inputs, forward, given_tensors, prepared

POSITIONS = ("start_positions", "end_positions")
"""What models that answer with a part of the text compare with."""


def labelled(model: nn.Module, inputs: Inputs) -> Inputs:
    """The same with random labels, where a transformers model computes its own loss from them.

    What they are follows from the shape of the logits that the model gives without them, and from what its
    configuration says of its problem. Where it computes no finite number from such labels, it gets none.

    Args:
        model: whose forward names its labels.
        inputs: named ones, as `fanwise.torch.trace.hf_inputs.configured` makes them.
    """
    named, known = dict(inputs.kwargs or {}), inspect.signature(model.forward).parameters
    names = ("labels",) if "labels" in known else tuple(name for name in POSITIONS if name in known)
    if not names or any(name in named for name in names) or "config" not in dir(model):
        return inputs
    outputs = _outputs(model, inputs)
    labels = _labels(names, outputs, named, model.config) if isinstance(outputs, Mapping) else {}
    given = Inputs(inputs.args, named | labels, inputs.guess)
    loss = _outputs(model, given) if labels else None
    value = loss.get("loss") if isinstance(loss, Mapping) else None
    return given if isinstance(value, Tensor) and bool(value.isfinite().all()) else inputs


def _outputs(model: nn.Module, inputs: Inputs) -> Any:
    """What a run of the model returns, which leaves nothing behind; None where it fails."""
    given = given_tensors(inputs)
    recorder = Recorder(model, Watcher(), given)
    try:
        with prepared(model, given, recorder), torch.no_grad():
            return forward(model, inputs, recorder)
    except ModelError:
        return None


def _labels(names: Sequence[str], outputs: Mapping[str, Any], named: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Random labels by name; {} where the outputs do not tell what they are."""
    if "labels" not in names:
        logits = outputs.get("start_logits")
        return {name: _drawn(logits.shape[:1], logits.shape[1]) for name in names} if isinstance(logits, Tensor) else {}
    logits = outputs.get("logits", outputs.get("prediction_logits"))
    label = _label(logits, named, config) if isinstance(logits, Tensor) else None
    return {} if label is None else {"labels": label}


def _label(logits: Tensor, named: Mapping[str, Any], config: Any) -> Tensor | None:
    shape, problem = tuple(logits.shape), config.to_dict().get("problem_type")
    generator = torch.Generator("cpu").manual_seed(0)
    if problem == "regression" or (problem is None and len(shape) == 2 and shape[-1] == 1):
        return torch.randn(shape, generator=generator)
    if problem == "multi_label_classification":
        return torch.randint(0, 2, shape, generator=generator).float()
    if len(shape) == 4:
        pictures = named.get("pixel_values")
        size = pictures.shape[-2:] if isinstance(pictures, Tensor) else shape[-2:]
        return _drawn((shape[0], *size), shape[1])
    if len(shape) not in (2, 3) or math.prod(shape) == 0:
        return None
    return _drawn(shape[:-1], shape[-1])


def _drawn(shape: Any, count: int) -> Tensor:
    return torch.randint(0, max(count, 1), tuple(shape), generator=torch.Generator("cpu").manual_seed(0), device="cpu")
