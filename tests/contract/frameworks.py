"""What each framework is to the contract: how it builds a network of given numbers, and names and stores them."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from .networks import (
    Array,
    Conv,
    Dense,
    Join,
    Layer,
    Mean,
    Network,
    Norm,
    Pool,
    Relu,
    Residual,
    Table,
    Weights,
    examples,
    shapes,
    weights,
)


@dataclass(frozen=True, eq=False)
class Framework:
    """A framework, or a form of models in one.

    Args:
        name: of it.
        adapter: the adapter that serves it: "torch", "jax" or "keras".
        api: that adapter, the package whose promises are looked at.
        build: a model of a network that holds given numbers.
        factory: what `check` calls for a model a seed.
        array: an array as the framework's users have it, integers too; images with channels last.
        image: the same of a batch of images.
        path: of a parameter, from ``layer.kind``.
        stored: a parameter's values as they are stored.
        loss: what a user gives as cross-entropy, in the framework's own terms.
        own_terms: a loss given as a function of output and target, as the framework's users write it.
        cross_entropy: the same, as a function of output and target.
        in_place: whether verbs change the model that they are given.
    """

    name: str
    adapter: str
    api: ModuleType
    build: Callable[[Network, Weights], Any]
    factory: Callable[[Network, Callable[[int], Weights]], Any]
    array: Callable[[Array], Any]
    image: Callable[[Array], Any]
    path: Callable[[str], str]
    stored: Callable[[str, Array], Array]
    loss: Any
    own_terms: Callable[[Callable[[Any, Any], Any]], Any]
    cross_entropy: Callable[[Any, Any], Any]
    in_place: bool = True

    def __repr__(self) -> str:
        return self.name

    def given(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Inputs as the framework's users have them, by name."""
        return {name: self.image(value) if value.ndim == 4 else self.array(value) for name, value in inputs.items()}

    def weights(self, model: Any, network: Network) -> dict[str, Array]:
        """A model's numbers, named and stored as in `networks`, from what `read` gives."""
        found = {label: self.api.read(model, self.path(label)) for label in shapes(network)}
        return {label: _unstored(self.stored, label, values) for label, values in found.items()}

    def calibrated(self, model: Any, *args: Any, **options: Any) -> tuple[Any, Any]:
        """The calibrated model and the result."""
        result = self.api.calibrate(model, *args, **options)
        return result.model, result


def _unstored(stored: Callable[[str, Array], Array], label: str, values: Array) -> Array:
    """A parameter's values with the axes of `networks`: storing only permutes them, as a marked array tells."""
    marked = np.zeros(tuple(range(1, values.ndim + 1)))
    return values.transpose(np.argsort(stored(label, marked).shape))


@cache
def planned(framework: Framework, network: Network, recipe: Any = "unit", scale: float = 1.0) -> Any:
    """A plan on the same batch and weights in every framework, made once."""
    inputs = {name: value if network.integers else scale * value for name, value in examples(network).items()}
    model = framework.build(network, weights(network))
    return framework.api.plan(model, *framework.given(inputs).values(), recipe=recipe)


def framework(name: str) -> Framework:
    """A framework by its name; its packages are imported here."""
    return MAKERS[name]()


def _unchanged(label: str, values: Array) -> Array:
    return values


def _api(name: str) -> ModuleType:
    return importlib.import_module(f"fanwise.{name}")


# PyTorch


def _torch() -> Framework:
    import torch  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    def array(values: Array) -> Any:
        return torch.from_numpy(np.array(values))

    def build(network: Network, values: Weights) -> Any:
        model = _torch_model(network)
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                label = next(label for label in values if _torch_path(label) == path)
                parameter.copy_(array(_torch_stored(label, values[label])))
        return model

    return Framework(
        "torch",
        "torch",
        _api("torch"),
        build,
        lambda network, draw: lambda: build(network, draw(int(torch.randint(1 << 30, ())))),
        array,
        lambda values: array(values.transpose(0, 3, 1, 2)),
        _torch_path,
        _torch_stored,
        "cross_entropy",
        lambda loss: loss,
        functional.cross_entropy,
    )


def _torch_path(label: str) -> str:
    name, kind = label.split(".")
    return f"{name}.{'bias' if kind == 'bias' else 'weight'}"


def _torch_stored(label: str, values: Array) -> Array:
    if values.ndim == 4:
        return values.transpose(3, 2, 0, 1)
    return values.T if label.endswith("weight") else values


def _torch_model(network: Network) -> Any:
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    made = {Dense: lambda one: nn.Linear(one.inputs, one.outputs)}
    made[Conv] = lambda one: nn.Conv2d(one.inputs, one.outputs, 3)
    made[Norm] = lambda one: nn.LayerNorm(one.width, one.epsilon)
    made[Table] = lambda one: nn.Embedding(one.rows, one.width)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._add(network.layers)

        def _add(self, layers: tuple[Layer, ...]) -> None:
            for layer in layers:
                if isinstance(layer, Join | Residual):
                    self._add((layer.left, layer.right) if isinstance(layer, Join) else layer.layers)
                elif type(layer) in made:
                    self.add_module(layer.name, made[type(layer)](layer))

        def forward(self, x: Any, z: Any = None) -> Any:
            return self._through(network.layers, x, z)

        def _through(self, layers: tuple[Layer, ...], x: Any, z: Any = None) -> Any:
            for layer in layers:
                x = self._one(layer, x, z)
            return x

        def _one(self, layer: Layer, x: Any, z: Any) -> Any:
            match layer:
                case Join(left, right):
                    return self.get_submodule(left.name)(x) + self.get_submodule(right.name)(z)
                case Residual(layers):
                    return x + self._through(layers, x)
                case Relu():
                    return torch.relu(x)
                case Pool():
                    return x.mean((2, 3))
                case Mean():
                    return x.square().mean()
            return self.get_submodule(layer.name)(x)

    return Net()


# JAX: plain functions, Flax, Equinox


def _jax() -> Framework:
    def build(network: Network, values: Weights) -> Any:
        import jax.numpy as jnp  # noqa: PLC0415

        params: dict[str, dict[str, Any]] = {}
        for label, value in values.items():
            name, kind = label.split(".")
            params.setdefault(name, {})[kind] = jnp.asarray(value)
        return _jax_function(network), params

    return _of_jax("jax", build, lambda label: label, _unchanged)


def _of_jax(name: str, build: Any, path: Any, stored: Any) -> Framework:
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415

    def drawn(network: Network, draw: Any) -> Any:
        return lambda key: build(network, draw(int(jax.random.randint(key, (), 0, 1 << 30))))

    def cross_entropy(output: Any, target: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(output), target[:, None], 1).mean()

    return Framework(
        name,
        "jax",
        _api("jax"),
        build,
        drawn,
        jnp.asarray,
        jnp.asarray,
        path,
        stored,
        "cross_entropy",
        lambda loss: loss,
        cross_entropy,
        in_place=False,
    )


def _jax_function(network: Network) -> Any:
    import jax  # noqa: PLC0415

    def mapped(layer: Layer, params: Any, x: Any) -> Any:
        own = params[layer.name]
        if isinstance(layer, Table):
            return own["table"][x]
        if isinstance(layer, Dense):
            return x @ own["weight"] + own["bias"]
        if isinstance(layer, Conv):
            order = ("NHWC", "HWIO", "NHWC")
            y = jax.lax.conv_general_dilated(x, own["weight"], (1, 1), "VALID", dimension_numbers=order)
            return y + own["bias"]
        return jax.nn.standardize(x, epsilon=layer.epsilon) * own["scale"] + own["bias"]

    def through(layers: tuple[Layer, ...], params: Any, x: Any, z: Any = None) -> Any:
        for layer in layers:
            x = one(layer, params, x, z)
        return x

    def one(layer: Layer, params: Any, x: Any, z: Any) -> Any:
        match layer:
            case Join(left, right):
                return mapped(left, params, x) + mapped(right, params, z)
            case Residual(layers):
                return x + through(layers, params, x)
            case Relu():
                return jax.nn.relu(x)
            case Pool():
                return x.mean((1, 2))
            case Mean():
                return jax.numpy.square(x).mean()
        return mapped(layer, params, x)

    def network_function(params: Any, x: Any, z: Any = None) -> Any:
        return through(network.layers, params, x, z)

    return network_function


def _flax() -> Framework:
    def build(network: Network, values: Weights) -> Any:
        import jax.numpy as jnp  # noqa: PLC0415

        params: dict[str, dict[str, Any]] = {}
        for label, value in values.items():
            name, kind = _flax_path(label).split(".")
            params.setdefault(name, {})[kind] = jnp.asarray(value)
        return _flax_module(network), {"params": params}

    return _of_jax("flax", build, _flax_path, _unchanged)


def _flax_path(label: str) -> str:
    name, kind = label.split(".")
    return f"{name}.{ {'weight': 'kernel', 'table': 'embedding'}.get(kind, kind) }"


def _flax_module(network: Network) -> Any:
    from flax import linen  # noqa: PLC0415

    made = {Dense: lambda one: linen.Dense(one.outputs, name=one.name)}
    made[Conv] = lambda one: linen.Conv(one.outputs, (3, 3), padding="VALID", name=one.name)
    made[Norm] = lambda one: linen.LayerNorm(epsilon=one.epsilon, name=one.name)
    made[Table] = lambda one: linen.Embed(one.rows, one.width, name=one.name)

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Any, z: Any = None) -> Any:
            return self._through(network.layers, x, z)

        def _through(self, layers: tuple[Layer, ...], x: Any, z: Any = None) -> Any:
            for layer in layers:
                x = self._one(layer, x, z)
            return x

        def _one(self, layer: Layer, x: Any, z: Any) -> Any:
            match layer:
                case Join(left, right):
                    return made[Dense](left)(x) + made[Dense](right)(z)
                case Residual(layers):
                    return x + self._through(layers, x)
                case Relu():
                    return linen.relu(x)
                case Pool():
                    return x.mean((1, 2))
                case Mean():
                    return (x * x).mean()
            return made[type(layer)](layer)(x)

    return Net()


def _equinox() -> Framework:
    def build(network: Network, values: Weights) -> Any:
        import equinox  # noqa: PLC0415
        import jax.numpy as jnp  # noqa: PLC0415

        class Layered(equinox.Module):
            weight: Any
            bias: Any = None

        class Net(equinox.Module):
            layers: Any

            def __call__(self, x: Any, z: Any = None) -> Any:
                return _jax_function(network)({name: _opened(layer) for name, layer in self.layers.items()}, x, z)

        def _opened(layer: Any) -> dict[str, Any]:
            value = layer.weight.T if layer.weight.ndim == 2 and layer.bias is not None else layer.weight
            return {"weight": value, "table": value, "scale": value, "bias": layer.bias}

        names = dict.fromkeys(label.split(".")[0] for label in values)
        stored = {label: jnp.asarray(_equinox_stored(label, value)) for label, value in values.items()}
        first = {label.split(".")[0]: value for label, value in stored.items() if not label.endswith("bias")}
        return Net({name: Layered(first[name], stored.get(f"{name}.bias")) for name in names})

    return _of_jax("equinox", build, _equinox_path, _equinox_stored)


def _equinox_path(label: str) -> str:
    name, kind = label.split(".")
    return f"layers.{name}.{'bias' if kind == 'bias' else 'weight'}"


def _equinox_stored(label: str, values: Array) -> Array:
    return values.T if values.ndim == 2 and label.endswith("weight") else values


# Keras


def _keras() -> Framework:
    import keras  # noqa: PLC0415

    def build(network: Network, values: Weights) -> Any:
        model, layers = _keras_model(network)
        for name, layer in layers.items():
            layer.set_weights([value for label, value in values.items() if label.split(".")[0] == name])
        return model

    def array(values: Array) -> Any:
        return keras.ops.convert_to_tensor(np.array(values))

    def cross_entropy(output: Any, target: Any) -> Any:
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(target, output, from_logits=True))

    return Framework(
        "keras",
        "keras",
        _api("keras"),
        build,
        lambda network, draw: lambda: build(network, draw(int(np.random.randint(1 << 30)))),  # noqa: NPY002
        array,
        array,
        _keras_path,
        _unchanged,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda loss: lambda target, output: loss(output, target),
        cross_entropy,
    )


KERAS_KINDS = {"weight": "kernel", "table": "embeddings", "scale": "gamma"}


def _keras_path(label: str) -> str:
    name, kind = label.split(".")
    return f"{name}/{'beta' if kind == 'bias' and name.startswith('n') else KERAS_KINDS.get(kind, kind)}"


def _keras_model(network: Network) -> tuple[Any, dict[str, Any]]:
    """The model and its layers by name."""
    import keras  # noqa: PLC0415

    known: dict[str, Any] = {}
    made = {Dense: lambda one: keras.layers.Dense(one.outputs, name=one.name)}
    made[Conv] = lambda one: keras.layers.Conv2D(one.outputs, 3, name=one.name)
    made[Norm] = lambda one: keras.layers.LayerNormalization(epsilon=one.epsilon, name=one.name)
    made[Table] = lambda one: keras.layers.Embedding(one.rows, one.width, name=one.name)

    def mapped(layer: Layer, x: Any) -> Any:
        known[layer.name] = made[type(layer)](layer)
        return known[layer.name](x)

    def one(layer: Layer, x: Any) -> Any:
        match layer:
            case Join(left, right):
                return mapped(left, x["x"]) + mapped(right, x["z"])
            case Residual(layers):
                return x + through(layers, x)
            case Relu():
                return keras.layers.ReLU()(x)
            case Pool():
                return keras.layers.GlobalAveragePooling2D()(x)
            case Mean():
                return keras.ops.mean(keras.ops.square(x))
        return mapped(layer, x)

    def through(layers: tuple[Layer, ...], x: Any) -> Any:
        for layer in layers:
            x = one(layer, x)
        return x

    kind = "int32" if network.integers else None
    start = {name: keras.Input(shape, name=name, dtype=kind) for name, shape in network.shapes.items()}
    end = through(network.layers, start if len(start) > 1 else start["x"])
    return keras.Model(list(start.values()) if len(start) > 1 else start["x"], end, name=network.name), known


MAKERS: Mapping[str, Callable[[], Framework]] = {
    "torch": _torch,
    "jax": _jax,
    "flax": _flax,
    "equinox": _equinox,
    "keras": _keras,
}
