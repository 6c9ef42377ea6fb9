"""Uses of the parameters behind a call's tensors: their role, layout, and the steps from the parameter."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fanwise.graph.arithmetic import PLAIN, PRODUCTS, QUOTIENTS, SUMS
from fanwise.graph.op import Parameter, Use, UseRole
from fanwise.graph.tracking.operands import tied_fan
from fanwise.graph.tracking.tracker import std_ratio
from fanwise.graph.transform import Transform
from fanwise.laws.base import Initializer
from fanwise.laws.layout import Layout
from fanwise.torch.trace.calls import Call, Part
from fanwise.torch.trace.function_names import FACTORS
from fanwise.torch.trace.provenance import ParameterProvenance, Provenance, StandIns
from fanwise.torch.trace.storage import is_abstract, is_wrapped, outside_transforms, unwrapped
from fanwise.torch.trace.stored_layout import layout_in_storage
from fanwise.torch.trace.substitute import drawn, second_moment

STRAIGHT = (
    PLAIN | SUMS | PRODUCTS | QUOTIENTS | {"neg", "negative", "cat", "stack", "setitem", "flip", "roll", "getitem"}
)
"""Steps that multiply values by numbers, add numbers to them or put them elsewhere."""


@dataclass(frozen=True)
class UseReader:
    """Reads the uses of parameters off the tensors that hold them.

    Args:
        parameters: of the model, by path.
        tensors: themselves.
        provenance: which parameters stand behind a tensor.
    """

    parameters: Mapping[str, Parameter]
    tensors: Mapping[str, Tensor]
    provenance: ParameterProvenance

    def uses(self, part: Part, held: Provenance) -> Iterator[Use]:
        """Uses of the parameters that a part holds."""
        return (self._use(part, held, which) for which in range(len(held.paths)))

    def drawn(self, call: Call, laws: Mapping[str, Initializer]) -> dict[int, Tensor]:
        """Values drawn from laws for the tensors of a call that stand for parameters, by their identity."""
        return dict(self._drawn(call, laws)) if laws else {}

    def _drawn(self, call: Call, laws: Mapping[str, Initializer]) -> Iterator[tuple[int, Tensor]]:
        for part in call.parts:
            held = self.provenance.find(part.input)
            if held is not None and held.paths[0] in laws:
                parameter, layout = self.parameters[held.paths[0]], self._layout(part, held, 0)
                law, itself = laws[parameter.path], not held.steps
                if self._is_made_token(part, held):
                    yield id(part.input), self._made(held, parameter, law)
                    continue
                values = drawn((parameter, held.parts), law, part.input, layout=layout, itself=itself)
                yield id(part.input), values * (part.input != 0) if _is_placed(held, part.input) else values

    def _is_made_token(self, part: Part, held: Provenance) -> bool:
        """Whether values that enter as data are bent from one parameter, as sines of places are; numbers are seen."""
        is_made = not set(held.steps) <= STRAIGHT and len(held.paths) == 1 and held.make is not None
        return part.role == UseRole.OPERAND and is_made and not (is_abstract(part.input) or is_wrapped(part.input))

    def _made(self, held: Provenance, parameter: Parameter, law: Initializer) -> Tensor:
        """What the model makes of a parameter that is drawn from a law."""
        own = self.tensors[parameter.path]
        values = drawn((parameter, ()), law, own, layout=None, itself=True)
        if held.make is None:
            raise ValueError(f"what is made of {parameter.path!r} cannot be made again")
        with torch.no_grad(), torch._C.DisableTorchFunction(), outside_transforms():
            return held.make(StandIns({parameter.path: values})).detach()

    def _use(self, part: Part, held: Provenance, which: int) -> Use:
        path, role = held.paths[which], held.role(which, part.role)
        layout = self._layout(part, held, which) if role == part.role else None
        steps = (*held.steps, "normalize") if held.steps and held.degrees[which] == 0 else held.steps
        ratio, seen = self._ratio(part.input, held, path), _seen(part.input, held)
        tied = self._tied_fan(part, held, which, layout) if role == UseRole.WEIGHT else None
        parts = held.parts if which == 0 and tied is None else ()
        transform = self._transform(part, held) if role == part.role else None
        return Use(path, role, None if tied else layout, steps, ratio, seen, parts, tied, transform)

    def _transform(self, part: Part, held: Provenance) -> Transform | None:
        """What makes the tensor of other values of the parameters; None for a view, and where there are no values."""
        make = held.make
        is_view = set(held.steps) <= PLAIN and part.input.is_complex() == self.tensors[held.paths[0]].is_complex()
        if is_view or make is None or is_abstract(part.input) or is_wrapped(part.input):
            return None
        paths = [path for path, side in zip(held.paths, held.sides, strict=True) if side is None]
        own = {path: self.tensors[path] for path in paths}

        def again(arrays: Mapping[str, Any]) -> Any:
            like = {path: torch.as_tensor(array).to(own[path]) for path, array in arrays.items()}
            with torch.no_grad(), torch._C.DisableTorchFunction(), outside_transforms():
                made = make(StandIns(like)).detach()
            wide = torch.promote_types(made.dtype, torch.float64)
            return made.to("cpu", wide).resolve_conj().numpy()

        shapes = {path: (tuple(tensor.shape), tensor.is_complex()) for path, tensor in own.items()}
        return Transform(tuple(part.input.shape), part.layout, shapes, again, held.degrees[0] if held.steps else None)

    def _tied_fan(self, part: Part, held: Provenance, which: int, layout: Layout | None) -> float | None:
        shape = self.parameters[held.paths[which]].shape
        if len(held.paths) > 1 or ("cat" in held.steps and _is_placed(held, part.input, math.prod(shape))):
            return None
        return tied_fan((part.layout, tuple(part.input.shape)), (layout, shape))

    def _layout(self, part: Part, held: Provenance, which: int) -> Layout | None:
        if part.layout is None:
            return None
        return layout_in_storage(part.layout, held, which, (self.parameters[held.paths[which]].shape, part.input))

    def _ratio(self, tensor: Tensor, held: Provenance, path: str) -> float:
        """The ratio of a weight's std to its parameter's, where constant factors make it of that parameter alone."""
        if len(held.paths) > 1 or not set(held.steps) & FACTORS:
            return 1.0
        if is_abstract(tensor):
            return held.factor
        return std_ratio(second_moment(self.tensors[path]), second_moment(tensor))


def _is_placed(held: Provenance, tensor: Tensor, most: int | None = None) -> bool:
    """Whether a parameter fills a part of a tensor, at most so much, and the rest is 0; the ratio tells of masks."""
    if not held.steps or set(held.steps) & FACTORS or is_abstract(tensor):
        return False
    most = tensor.numel() - 1 if most is None else most
    return 0 < int(torch.count_nonzero(unwrapped(tensor)[0])) <= min(most, tensor.numel() - 1)


def _seen(tensor: Tensor, held: Provenance) -> tuple[float, float] | None:
    """Mean and std of a tensor that is made of parameters or is a part of one; None for others, and without values."""
    if not (held.steps or held.parts) or is_abstract(tensor) or tensor.is_complex() or not tensor.numel():
        return None
    with outside_transforms():
        return _mean_and_std(unwrapped(tensor)[0])


def _mean_and_std(tensor: Tensor) -> tuple[float, float]:
    values = tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))
    mean = float(values.mean())
    return mean, math.sqrt(max(second_moment(values) - mean**2, 0.0))
