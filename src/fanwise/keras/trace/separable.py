"""Separable convolutions as the two convolutions that they are."""

from collections.abc import Callable, Iterator
from typing import Any

from keras import layers, ops

from fanwise.graph.details import Convolution
from fanwise.graph.op import OpKind, UseRole
from fanwise.keras.trace.calls import Call, parts_of
from fanwise.keras.trace.variables import own_variables
from fanwise.laws.layout import Layout

NAMES = frozenset({"depthwise_kernel", "pointwise_kernel", "bias"})


def is_separable(layer: Any) -> bool:
    """Whether a layer is one of Keras' separable convolutions, and has no variable besides theirs."""
    known = isinstance(layer, (layers.SeparableConv1D, layers.SeparableConv2D))
    return (
        known
        and set(own_variables(layer)) <= NAMES
        and type(layer).call
        in (
            layers.SeparableConv1D.call,
            layers.SeparableConv2D.call,
        )
    )


def separated(layer: Any) -> Iterator[tuple[Call, Callable[[Any], Any]]]:
    """The two ops of a layer, each with what computes it; the activation is left out."""
    own, dims = own_variables(layer), len(layer.kernel_size)
    strides = (layer.strides,) * dims if isinstance(layer.strides, int) else tuple(layer.strides)
    axis = -1 if layer.data_format == "channels_last" else -(dims + 1)
    depthwise = Layout.depthwise("kernel " * dims + "in out", stride=strides)
    detail = Convolution(strides, layer.padding, layer.dilation_rate)
    parts = parts_of((own["depthwise_kernel"], UseRole.WEIGHT, depthwise))
    yield Call(OpKind.CONV, (), parts, axis, detail, "DepthwiseConv"), lambda x: _depthwise(layer, own, x)
    pointwise = Layout.conv("kernel " * dims + "in out")
    parts = parts_of((own["pointwise_kernel"], UseRole.WEIGHT, pointwise), (own.get("bias"), UseRole.BIAS, None))
    yield Call(OpKind.CONV, (), parts, axis, Convolution(), "PointwiseConv"), lambda x: _pointwise(layer, own, x)


def _depthwise(layer: Any, own: Any, inputs: Any) -> Any:
    padding = layer.padding
    if padding == "causal":  # of one dimension alone
        inputs, padding = ops.pad(inputs, layer._compute_causal_padding()), "valid"
    return ops.depthwise_conv(
        inputs,
        own["depthwise_kernel"],
        strides=layer.strides,
        padding=padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


def _pointwise(layer: Any, own: Any, inputs: Any) -> Any:
    output = ops.conv(inputs, own["pointwise_kernel"], 1, padding="valid", data_format=layer.data_format)
    if own.get("bias") is None:
        return output
    shape = [1] * len(output.shape)
    shape[-1 if layer.data_format == "channels_last" else 1] = -1
    return ops.add(output, ops.reshape(own["bias"], shape))
