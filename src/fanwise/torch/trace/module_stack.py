"""Which module runs: its path, and which of its calls this is."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.nn.utils.parametrize import ParametrizationList

from fanwise.graph.tracking.module_calls import ModuleCalls
from fanwise.torch.trace.function_names import tensors_in


class ModuleStack:
    """Follows the modules of a model as they are called.

    Args:
        model: whose modules are named; other modules count as a part of the one that calls them.
        parametrized: told the path of a parametrization, the module, and the tensor that it made.
    """

    def __init__(self, model: nn.Module, parametrized: Callable[[str, nn.Module, Tensor], None]) -> None:
        self._names = {id(module): path for path, module in model.named_modules()}
        self._parametrized = parametrized
        self._calls = ModuleCalls()
        self._quiet = 0
        self._thread = threading.get_ident()
        self._given: list[Any] = []
        self.failed = ""
        self.failed_on: tuple[tuple[int, ...], ...] = ()
        """Shapes of the tensors that the module was called with whose forward raised an error."""
        self.elsewhere: dict[str, None] = {}
        """Paths of modules that ran in other threads, whose functions cannot be seen."""

    @property
    def caller(self) -> tuple[str, int]:
        """Path of the module whose forward runs, and which of its calls this is."""
        return self._calls.caller

    @property
    def quiet(self) -> bool:
        """Whether a parametrization runs, whose functions are no ops of the model."""
        return self._quiet > 0

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follows the calls for as long as the context lasts."""
        entered = module_hooks.register_module_forward_pre_hook(self._enter)
        left = module_hooks.register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            entered.remove()
            left.remove()

    def _enter(self, module: nn.Module, given: Any) -> None:
        path = self._names.get(id(module))
        if threading.get_ident() != self._thread:  # the hooks are those of every thread
            self.elsewhere.update({} if path is None else {path: None})
            return
        self.failed, self.failed_on = "", ()
        self._given.append(given)
        self._calls.enter(self.caller[0] if path is None else path, new=path is not None)
        self._quiet += isinstance(module, ParametrizationList)

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        path, given = self._calls.leave(), self._given.pop()
        if output is None and not self.failed:  # a module whose forward raised is left too, the innermost first
            self.failed, self.failed_on = path, tuple(tuple(tensor.shape) for tensor in tensors_in(given))
        if isinstance(module, ParametrizationList):
            self._quiet -= 1
            if isinstance(output, Tensor):
                self._parametrized(path, module, output)
