"""Plain TensorFlow as a layer of Keras: its variables as they are, and its functions under the names of Keras' own.

`patching` replaces what `functions` lists for the time of a run; arguments are brought in the order in which Keras'
function of the same meaning takes them, so that `function_table` describes both.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from fanwise.keras.trace.execution import Execution
from fanwise.keras.trace.recorder import Recorder

Bound = Mapping[str, Any]
"""Arguments by name."""


def from_tensorflow(function: Any, variables: Any = None) -> "PlainLayer":
    """A layer of Keras that stands for plain TensorFlow: every verb of `fanwise.keras` takes it.

    Its parameters are the variables themselves: what `apply` draws is written into them. They are followed through
    ``tf.matmul``, ``tf.nn.conv2d``, ``tf.nn.relu`` and their like, and through operators.

    Args:
        function: a ``tf.Module`` that can be called, or a function of the inputs.
        variables: the variables of a function, a list or a mapping by name; of a module, None for its own, which are
            named by their attributes.

    Raises:
        TypeError: nothing that can be called, or variables that are none.
        ValueError: Keras computes with something else than TensorFlow, or there are no variables.

    Example:
        ``fanwise.keras.check(fanwise.keras.from_tensorflow(module), (x, y), "cross_entropy")``
    """
    if keras.config.backend() != "tensorflow":
        raise ValueError(
            f"Keras computes with {keras.config.backend()}: set KERAS_BACKEND=tensorflow before Keras is imported"
        )
    import tensorflow as tf  # noqa: PLC0415  (only where TensorFlow is the backend)

    if not callable(function):
        raise TypeError(
            f"function = {type(function).__name__}: expected a tf.Module with a __call__, or a function of the inputs"
        )
    named = _of_module(function) if variables is None and isinstance(function, tf.Module) else _named(variables)
    if not named:
        raise ValueError("variables is empty: expected the tf.Variables of the function, in a list or by name")
    for name, variable in named.items():
        if not isinstance(variable, tf.Variable):
            raise TypeError(f"variables[{name!r}] is {type(variable).__name__}: expected a tf.Variable")
    return PlainLayer(function, named)


def _of_module(module: Any) -> dict[str, Any]:
    """The variables of a tf.Module, by the attributes that lead to them."""
    import tensorflow as tf  # noqa: PLC0415  (only where TensorFlow is the backend)

    found = module._flatten(predicate=lambda value: isinstance(value, tf.Variable), with_path=True)
    paths: dict[int, tuple[str, Any]] = {}
    for path, variable in found:
        paths.setdefault(id(variable), (".".join(map(str, path)), variable))
    return dict(paths.values())


def _named(variables: Any) -> dict[str, Any]:
    if isinstance(variables, Mapping):
        return {str(name): variable for name, variable in variables.items()}
    if not isinstance(variables, Sequence) or isinstance(variables, str):
        raise TypeError(f"variables = {type(variables).__name__}: expected a list of tf.Variables, or a dict by name")
    given = [str(variable.name).partition(":")[0] for variable in variables]
    is_told = len(set(given)) == len(given) and "Variable" not in given
    names = given if is_told else [str(i) for i in range(len(given))]
    return dict(zip(names, variables, strict=True))


class PlainLayer(keras.layers.Layer):
    """A layer that calls a function of TensorFlow.

    Args:
        function: of the inputs.
        named: its variables.
    """

    def __init__(self, function: Callable[..., Any], named: Mapping[str, Any]) -> None:
        super().__init__(name="tensorflow", autocast=False)
        self._function = function
        self.held = [_as_keras(name, variable) for name, variable in named.items()]
        self.built = True

    def call(self, *inputs: Any) -> Any:
        """What the function gives; functions made by tf.function are carried out op by op."""
        import tensorflow as tf  # noqa: PLC0415  (only where TensorFlow is the backend)

        before = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            return self._function(*inputs)
        finally:
            tf.config.run_functions_eagerly(before)


def _as_keras(name: str, variable: Any) -> Any:
    """A variable of Keras over the same memory."""
    dtype, trainable = variable.dtype.name, bool(variable.trainable)
    held = keras.Variable(np.zeros(variable.shape), dtype=dtype, trainable=trainable, autocast=False, name=_path(name))
    held._value = variable
    return held


def _path(name: str) -> str:
    return name.replace("/", ".")


# Functions


@dataclass(frozen=True)
class Meaning:
    """What a function of TensorFlow means to Keras.

    Args:
        name: of Keras' function.
        takes: names of the arguments that stand first there, in order.
        more: arguments that follow, from all of them by name.
    """

    name: str
    takes: tuple[str, ...]
    more: Callable[[Bound], tuple[Any, ...]] = lambda bound: ()

    def execution(self, function: Callable[..., Any], bound: Bound) -> Execution:
        """The call with its arguments in Keras' order."""
        values = tuple(bound[name] for name in self.takes)

        def execute(*given: Any) -> Any:
            return function(**{**bound, **dict(zip(self.takes, given, strict=False))})

        return Execution(execute, (*values, *self.more(bound)))


def _windows(stride: str, sizes: str = "") -> Callable[[Bound], tuple[Any, ...]]:
    """The window, where there is one, and the stride of an op over places, and its padding in small letters."""

    def more(bound: Bound) -> tuple[Any, ...]:
        names = (sizes, stride) if sizes else (stride,)
        padding = bound["padding"]
        return (*(_spatial(bound[name]) for name in names), padding.lower() if isinstance(padding, str) else "valid")

    return more


def _spatial(numbers: Any) -> Any:
    """A number for each spatial axis: TensorFlow also takes those of the examples and the channels."""
    if isinstance(numbers, int):
        return numbers
    values = [int(number) for number in np.ravel(numbers)]
    return values[0] if len(values) == 1 else tuple(values[1:-1] if len(values) > 3 else values)


def _unary(*names: str, argument: str = "x") -> dict[str, Meaning]:
    return {name: Meaning(name.rpartition(".")[2], (argument,)) for name in names}


MEANINGS: Mapping[str, Meaning] = {
    "matmul": Meaning("matmul", ("a", "b")),
    "nn.bias_add": Meaning("add", ("value", "bias")),
    **{name: Meaning(name, ("x", "y")) for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")},
    **_unary("nn.relu", "nn.relu6", "nn.elu", "nn.selu", "nn.softplus", argument="features"),
    **_unary("tanh", "sigmoid", "square", "sqrt", "exp", "abs", "sin", "cos", "math.rsqrt", "math.log"),
    "nn.leaky_relu": Meaning("leaky_relu", ("features", "alpha")),
    "nn.gelu": Meaning("gelu", ("features", "approximate")),
    "nn.silu": Meaning("silu", ("features",)),
    "nn.softsign": Meaning("soft_sign", ("features",)),
    "nn.softmax": Meaning("softmax", ("logits", "axis")),
    "nn.log_softmax": Meaning("log_softmax", ("logits", "axis")),
    "reshape": Meaning("reshape", ("tensor", "shape")),
    "transpose": Meaning("transpose", ("a", "perm")),
    "squeeze": Meaning("squeeze", ("input", "axis")),
    "expand_dims": Meaning("expand_dims", ("input", "axis")),
    "cast": Meaning("cast", ("x", "dtype")),
    "identity": Meaning("copy", ("input",)),
    "concat": Meaning("concatenate", ("values", "axis")),
    "gather": Meaning("take", ("params", "indices")),
    "nn.embedding_lookup": Meaning("take", ("params", "ids")),
    "reduce_mean": Meaning("mean", ("input_tensor", "axis")),
    "reduce_sum": Meaning("sum", ("input_tensor", "axis")),
    "reduce_max": Meaning("max", ("input_tensor", "axis")),
    "nn.dropout": Meaning("copy", ("x",)),
    "nn.conv1d": Meaning("conv", ("input", "filters"), _windows("stride")),
    "nn.conv2d": Meaning("conv", ("input", "filters"), _windows("strides")),
    "nn.conv3d": Meaning("conv", ("input", "filters"), _windows("strides")),
    "nn.depthwise_conv2d": Meaning("depthwise_conv", ("input", "filter"), _windows("strides")),
    "nn.max_pool2d": Meaning("max_pool", ("input",), _windows("strides", "ksize")),
    "nn.avg_pool2d": Meaning("average_pool", ("input",), _windows("strides", "ksize")),
}
"""The functions that are followed, by their name in ``tf``."""
HOMES = ("", "nn", "math", "linalg")
"""The modules of ``tf`` that hold them, some under several names."""


def functions() -> Iterator[tuple[dict[str, Any], str, Callable[..., Any], Meaning]]:
    """Every place that holds one of the functions: a module's names, the name there, the function and its meaning."""
    import tensorflow as tf  # noqa: PLC0415  (only where TensorFlow is the backend)

    homes = {"": vars(tf), **{name: vars(vars(tf)[name]) for name in HOMES if name}}
    originals = {}
    for path, meaning in MEANINGS.items():
        home, _, name = path.rpartition(".")
        originals[homes[home][name]] = meaning
    for home in homes.values():
        for name, value in list(home.items()):
            if inspect.isfunction(value) and value in originals:
                yield home, name, value, originals[value]


def followed_call(
    recorder: Recorder, function: Callable[..., Any], meaning: Meaning, given: tuple[tuple[Any, ...], dict[str, Any]]
) -> Any:
    """Records one call of a function of TensorFlow and executes it."""
    arguments = inspect.signature(function).bind(*given[0], **given[1])
    arguments.apply_defaults()
    bound = dict(arguments.arguments)
    if meaning.name == "matmul":
        bound = _turned(recorder, bound)
    return recorder.function(meaning.name, meaning.execution(function, bound))


def _turned(recorder: Recorder, bound: dict[str, Any]) -> dict[str, Any]:
    """A product whose operands were transposed before it, as views that are followed."""
    for operand in ("a", "b"):
        flag = f"transpose_{operand}"
        if bound[flag] and len(bound[operand].shape) == 2:
            turn = Execution(keras.ops.transpose, (bound[operand],))
            bound = {**bound, flag: False, operand: recorder.function("transpose", turn)}
    return bound
