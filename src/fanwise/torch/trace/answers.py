"""Answers to what a model asks of tensors that have no values."""

from typing import Any

import torch
from torch import Tensor

from fanwise.torch.trace.function_names import ANSWERS, tensors_in
from fanwise.torch.trace.invocation import Invocation
from fanwise.torch.trace.storage import is_abstract
from fanwise.torch.trace.tensor_map import TensorMap


class Answers:
    """Answers given so far: a model branches on them."""

    def __init__(self) -> None:
        self._answers = TensorMap[bool]()

    def answer(self, question: Invocation) -> Any:
        """The answer to a question; where a tensor has no values, those that a model branches on get the usual one."""
        first = next(iter(tensors_in(question.args)), None)
        if first is None or not is_abstract(first):
            return question()
        name = question.name
        if name == "contains":
            return ANSWERS[name]
        if name in ("bool", "item") and first in self._answers:
            return self._answers[first]
        output = first.new_empty((), dtype=torch.bool) if name.startswith("is_a") else question()
        if name in ANSWERS and isinstance(output, Tensor):
            self._answers[output] = ANSWERS[name]
        return output
