"""NumPy as `fanwise.adapters.protocol.Backend`: chains of layers whose weights are arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fanwise.adapters.protocol import Backend, PreparedRun
from fanwise.graph.inputs import Inputs, described
from fanwise.graph.op import Parameter
from fanwise.graph.trace import Trace
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import Observation, Place
from fanwise.measure.optimizers import Optimizer
from fanwise.numpy.chain import Chain
from fanwise.numpy.losses import named_loss
from fanwise.numpy.observing import observe, run
from fanwise.numpy.windows import Array
from fanwise.plan.model_fit import check_fits
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row
from fanwise.stream.key import Key, KeyLike, as_key


@dataclass(frozen=True)
class NumpyBackend:
    """Models are chains; a batch is a pair of inputs and targets, None for none."""

    package: str = "fanwise"
    version: str = f"numpy {np.__version__}"
    forms: str = "expected weights"
    takes_key: bool = True

    def is_model(self, value: Any) -> bool:
        """Whether a value is a chain."""
        return isinstance(value, Chain)

    def seeded(self, seed: int) -> AbstractContextManager[tuple[Any, ...]]:
        """A generator, and NumPy's global one seeded, which goes on afterwards where it was."""
        return _seeded(seed)

    def model_name(self, model: Chain) -> str:
        """Its nonlinearity and its widths."""
        return model.name

    def places(self, model: Any, factory: Any) -> Mapping[str, Place]:
        """Nothing is known."""
        return {}

    def parameters(self, model: Chain) -> tuple[Parameter, ...]:
        """Every array."""
        return model.parameters

    def reader(self, model: Chain) -> Callable[[str], Array]:
        """Copies."""
        return lambda path: np.array(model.arrays[path])

    def apply(self, model: Chain, plan: Plan, key: KeyLike) -> Chain:
        """A new chain."""
        check_fits(model.parameters, plan)
        stream = as_key(key)
        drawn = {row.path: _drawn(row, stream) for row in plan.rows if row.law is not None}
        return model.with_arrays({path: array.astype(model.arrays[path].dtype) for path, array in drawn.items()})

    def kept(self, model: Any) -> AbstractContextManager[None]:
        """`apply` changes nothing."""
        return nullcontext()

    def is_array(self, value: Any) -> bool:
        """Whether a value is an array."""
        return isinstance(value, np.ndarray)

    def split(self, batch: Any, loss: LossLike) -> tuple[Any, Any]:
        """The pair; an array alone has no target."""
        return batch if isinstance(batch, tuple) else (batch, None)

    def taken(self, model: Any, inputs: Any) -> Any:
        """All of them."""
        return inputs

    def inputs(self, model: Any, batch: Any, *, valued: bool = False, labels: bool = False) -> Inputs:
        """One array."""
        return batch if isinstance(batch, Inputs) else Inputs((batch,))

    def describe(self, batch: Any, inputs: Inputs) -> str:
        """Shape and dtype."""
        return described(inputs, lambda value: str(value.dtype) if isinstance(value, np.ndarray) else None)

    def join(self, batches: Sequence[Inputs]) -> Inputs:
        """Arrays along their first axis."""
        return Inputs((np.concatenate([batch.args[0] for batch in batches]),))

    def prepare(self, model: Chain, inputs: Inputs) -> PreparedRun:
        """Runs on values."""
        return PreparedRun(partial(run, model, inputs.args[0]), is_abstract=False)

    def structure(self, model: Any, inputs: Inputs) -> Trace | None:
        """A run takes as long."""
        return None

    def check_loss(self, loss: LossLike) -> None:
        """Shared names."""
        named_loss(loss)

    def optimizer(self, value: Any) -> Optimizer | None:
        """NumPy has none."""
        return None

    def observe(self, model: Any, inputs: Inputs, target: Any, loss: LossLike, *, backward: bool = True) -> Observation:
        """Every stage knows its derivative."""
        return observe(model, inputs.args[0], target, loss, backward=backward)


@contextmanager
def _seeded(seed: int) -> Iterator[tuple[np.random.Generator]]:
    state = np.random.get_state()  # noqa: NPY002  (what np.random.randn draws from)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield (np.random.default_rng(seed),)
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _drawn(row: Row, stream: Key) -> Array:
    """The numbers of a row; a plan made here counts elements as they are stored."""
    if row.law is None:
        raise ValueError(f"parameter {row.path!r} has no law")
    values: Array = row.law(row.shape, key=stream.child(row.stream or row.path), layout=row.layout) * row.factor
    return values


BACKEND: Backend = NumpyBackend()
