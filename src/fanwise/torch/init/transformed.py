"""The drop-in inside transforms: `torch.compile`, `make_fx`, fake tensors, `torch.vmap`.

There no memory can be written while the function runs. The call becomes an operator, ``fanwise::init_``, which fills
the tensor where and when the transformed program runs: by the same function, with the same bits for the same key.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from fanwise.stream.key import Key, KeyLike

Function = Callable[..., Tensor]
_STREAM = ("generator", "key")
_FUNCTIONS: dict[str, "_Signature"] = {}
"""The functions that the operator may call; each is entered where it is defined."""


@dataclass(frozen=True)
class _Signature:
    """The arguments of a function beside tensor and stream, as the operator takes them: numbers, then words.

    Args:
        function: of the drop-in.
        names: of all parameters, in order.
        defaults: by name; a required one has none.
        numbers: the parameters that are numbers.
        words: those that are names.
        counts: the numbers that are integers.
        streamed: whether it draws.
    """

    function: Function
    names: tuple[str, ...]
    defaults: dict[str, Any]
    numbers: tuple[str, ...]
    words: tuple[str, ...]
    counts: tuple[str, ...]
    streamed: bool

    @classmethod
    def of(cls, function: Function) -> "_Signature":
        """The signature of a function."""
        parameters = inspect.signature(function).parameters
        own = [p for name, p in parameters.items() if name not in ("tensor", *_STREAM)]
        return cls(
            function,
            tuple(parameters),
            {name: p.default for name, p in parameters.items() if p.default is not p.empty},
            tuple(p.name for p in own if p.annotation is not str),
            tuple(p.name for p in own if p.annotation is str),
            tuple(p.name for p in own if p.annotation is int),
            "key" in parameters,
        )

    def unpacked(self, numbers: Sequence[float], words: str) -> dict[str, Any]:
        """The arguments that the operator was given, by name."""
        values: Iterator[tuple[str, float]] = zip(self.numbers, numbers, strict=True)
        plain = {name: int(value) if name in self.counts else value for name, value in values}
        return {**plain, **dict(zip(self.words, words.split(), strict=True))}


def entered(function: Function) -> str:
    """The name under which the operator knows a function from now on."""
    name: str = function.__name__
    _FUNCTIONS[name] = _Signature.of(function)
    return name


def is_transformed(tensor: Tensor) -> bool:
    """Whether a tensor's memory cannot be written here: it stands for others, or what happens to it is recorded."""
    if isinstance(tensor, FakeTensor) or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return True
    return torch._C._len_torch_dispatch_stack() > 0  # a mode such as make_fx's must see an operator


def deferred(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Calls a function through the operator; plain Python, for `torch.compile` to follow.

    Args:
        name: of the function.
        args: of its call.
        kwargs: of its call.

    Raises:
        TypeError: arguments that do not fit, or a generator, which no transformed program holds.
    """
    signature = _FUNCTIONS[name]
    given = {**dict(zip(signature.names, args, strict=False)), **kwargs}
    arguments = {**signature.defaults, **given}
    if len(args) + len(kwargs) != len(given) or len(arguments) != len(signature.names):
        raise TypeError(f"{name}: expected the arguments {', '.join(signature.names)}, each once")
    if arguments.get("generator") is not None:
        raise TypeError(f"{name} inside a transform (torch.compile, vmap): expected key= in place of a generator")
    numbers = [float(arguments[number]) for number in signature.numbers]
    words = " ".join([arguments[word] for word in signature.words])
    with torch.no_grad():
        init_(arguments["tensor"], name, numbers, words, *_texts(arguments.get("key")))
    tensor: Tensor = arguments["tensor"]
    return tensor


def _texts(key: KeyLike | None) -> tuple[str, str, str]:
    """A key as seed, path and domain; no seed where there is no key."""
    if key is None:
        return "", "", ""
    return (str(key.seed), key.path, key.domain) if isinstance(key, Key) else (str(key), "", "")


@torch.library.custom_op("fanwise::init_", mutates_args=("tensor",))
def init_(
    tensor: Tensor, function: str, numbers: Sequence[float], words: str, seed: str, path: str, domain: str
) -> None:
    """Fills a tensor by a function of the drop-in.

    Args:
        tensor: what is filled.
        function: its name.
        numbers: its arguments that are numbers, in order.
        words: those that are names, separated by blanks.
        seed: of the key, in decimal digits; "" draws a stream from torch's generator.
        path: of the key.
        domain: of the key.
    """
    signature = _FUNCTIONS[function]
    key = {"key": Key(int(seed), path, domain)} if seed else {}
    signature.function(tensor, **signature.unpacked(numbers, words), **key)


@init_.register_fake
def _abstract(tensor: Tensor, *_: object) -> None:
    """Shapes and dtypes stay as they are."""


@init_.register_vmap
def _batched(info: Any, in_dims: tuple[int | None, ...], tensor: Tensor, function: str, *rest: Any) -> Any:
    """Fills each example of a batch, as `randomness` says; a key fixes the numbers of every example."""
    *arguments, seed, path, domain = rest
    is_random = _FUNCTIONS[function].streamed and not seed
    if is_random and info.randomness == "error":
        raise RuntimeError(f"{function} inside torch.vmap: give it a key=, or vmap randomness='different' or 'same'")
    if is_random and info.randomness == "same":
        seed = str(int(torch.empty((), dtype=torch.int64).random_()))
    examples = tensor.unsqueeze(0) if in_dims[0] is None else tensor.movedim(in_dims[0], 0)
    for example in examples:
        init_(example, function, *arguments, seed, path, domain)
    return None, None
