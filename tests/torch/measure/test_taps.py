"""What stands at each op is what plain hooks, slopes and all values in float64 say."""

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from fanwise.torch.measure import taps  # noqa: E402
from fanwise.torch.measure.observe import observe  # noqa: E402
from fanwise.torch.trace.run import Inputs  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import made, normal  # noqa: E402

ZOO = models("torch", "structure")

SCORED = {name: specimen for name, specimen in ZOO.items() if specimen.traits.logits is not None and name != "fourier"}
NO_HOOK = {"bloom": "gelu_impl"}  # a custom autograd function: what its forward computes has no gradient
CHANNELS_FIRST = ("resnet", "regnet", "unet", "inception", "densenet", "residual_conv", "conv_grouped")
ACTIVATIONS = {nn.ReLU: F.relu, nn.GELU: F.gelu, nn.Tanh: torch.tanh, nn.Sigmoid: torch.sigmoid, nn.SiLU: F.silu}


def doubles(tensor):
    """All values in double precision."""
    return tensor.detach().to(torch.complex128 if tensor.is_complex() else torch.float64).resolve_conj().cpu().numpy()


def moment(values):
    return np.mean(np.abs(values) ** 2)


def mean_cosine(values):
    """Between the first sixteen examples, over all of their values."""
    rows = values[:16].reshape(len(values[:16]), -1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows @ rows.T)[~np.eye(len(rows), dtype=bool)].mean()


def constant_share(values, axis):
    """Of the units along an axis, those that give one value everywhere."""
    units = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    return np.mean(np.ptp(units, axis=1) == 0)


def flat_share(function, values):
    """Of inputs, those where the slope is below a twentieth of the steepest."""
    x = torch.tensor(values, requires_grad=True)
    grid = torch.linspace(-9, 9, 20001, dtype=torch.float64, requires_grad=True)
    slopes, steepest = (torch.autograd.grad(function(one).sum(), one)[0].abs() for one in (x, grid))
    return float((slopes < 0.05 * steepest.max()).double().mean())


def weighted(tensor):
    """A loss that no module computes: each value has its own weight."""
    weights = torch.cos(torch.arange(tensor.numel(), dtype=torch.float64)).reshape(tensor.shape)
    value = (tensor * weights.to(tensor.dtype)).sum() / tensor.numel()
    return value.real if value.is_complex() else value


class Hooked:
    """What each leaf module of a copy of a model gave, and the gradient there, by (path, call)."""

    def __init__(self, model, inputs, loss):
        self.values, self.gradients, self.modules = {}, {}, {}
        model = copy.deepcopy(model).eval()
        for path, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train()
            if not list(module.children()):
                module.register_forward_hook(lambda one, given, output, path=path: self._see(path, one, output))
        torch.manual_seed(0)
        args, kwargs = inputs
        self.loss = loss(model(*args, **kwargs))
        self.loss.backward()
        self.parameters = {path: tensor.grad for path, tensor in model.named_parameters()}

    def _see(self, path, module, output):
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            key = path, sum(1 for name, _ in self.values if name == path)
            self.values[key], self.modules[key] = doubles(output).copy(), module
            if output.requires_grad:
                output.register_hook(lambda gradient: self.gradients.update({key: doubles(gradient)}))


def looked_at(values):
    """How many values of a tensor are looked at, at least."""
    return values.size if values.size <= 2 * taps.MOST else taps.MOST // 2


def agrees(found, values, *, dtype_error=2e-6):
    """Whether a second moment is that of all values: to rounding, or to 5 standard errors of those looked at."""
    squares = np.abs(values) ** 2
    error = 0.0 if values.size <= 2 * taps.MOST else 5 * squares.std() / math.sqrt(looked_at(values))
    return abs(found - squares.mean()) <= dtype_error * squares.mean() + error


def compared(observation, hooked):
    """The signals of modules that end in an op of their own shape, with what the hooks saw."""
    last = {(op.module, op.call): op for op in observation.trace.ops}
    for key, values in hooked.values.items():
        if key in last and last[key].shape == values.shape and values.size:
            yield last[key], observation.signals[last[key].index], key


@pytest.mark.parametrize("name", SCORED)
def test_every_module_of_the_zoo_is_measured_as_plain_hooks_see_it(name):
    specimen = SCORED[name]
    model, inputs = made(specimen), specimen.batch()
    hooked = Hooked(model, inputs, lambda outputs: weighted(specimen.traits.logits(outputs)))
    seen = observe(model, Inputs(*inputs), None, lambda outputs: weighted(specimen.traits.logits(outputs)))
    assert math.isclose(seen.loss.value, hooked.loss.item(), rel_tol=1e-4, abs_tol=1e-7)
    number = 0
    for op, signal, key in compared(seen, hooked):
        values, gradient = hooked.values[key], hooked.gradients.get(key)
        assert agrees(signal.second_moment, values), key
        error = 5 * values.std() / math.sqrt(looked_at(values)) if values.size > 2 * taps.MOST else 0.0
        assert abs(signal.mean - values.mean()) <= 2e-6 * math.sqrt(moment(values)) + error, key
        if NO_HOOK.get(name, "-") not in key[0]:
            assert (
                math.isnan(signal.gradient) if gradient is None else agrees(signal.gradient, gradient, dtype_error=1e-3)
            )
        if op.kind == "activation":
            assert abs(signal.zeros - np.mean(values == 0)) <= 1e-6 + (values.size > 2 * taps.MOST) * 0.02
        number += 1
    assert number >= len(hooked.values) / 2
    for path, gradient in hooked.parameters.items():
        found = seen.values[path]
        assert found.reached == (gradient is not None), path
        if gradient is not None:
            assert math.isclose(found.gradient, moment(doubles(gradient)), rel_tol=2e-3, abs_tol=1e-30), path


def test_a_gradient_that_is_off_by_a_percent_is_seen():
    specimen = SCORED["mlp"]
    model, inputs = made(specimen), specimen.batch()
    hooked = Hooked(model, inputs, lambda outputs: 1.01 * weighted(outputs))
    seen = observe(model, Inputs(*inputs), None, weighted)
    pairs = [(signal.gradient, hooked.gradients[key]) for _, signal, key in compared(seen, hooked)]
    assert pairs
    assert not any(agrees(found, gradient, dtype_error=1e-3) for found, gradient in pairs)


@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_units_of_convolutions_are_their_channels(name):
    specimen = ZOO[name]
    model, inputs = made(specimen), specimen.batch()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                module.weight[: len(module.weight) // 4] = 0
                module.bias[: len(module.bias) // 4] = -1  # a quarter of the channels is off everywhere
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.weight[: len(module.weight) // 4], module.bias[: len(module.bias) // 4] = 0, -1
    hooked = Hooked(model, inputs, lambda outputs: weighted(specimen.traits.logits(outputs)))
    seen = observe(model, Inputs(*inputs), None)
    shares = [
        (signal.silent, constant_share(hooked.values[key], 1 if len(op.shape) == 4 else -1))
        for op, signal, key in compared(seen, hooked)
        if isinstance(hooked.modules[key], nn.ReLU) and math.prod(op.shape) <= 2 * taps.MOST
    ]
    assert shares
    assert all(math.isclose(found, share, abs_tol=1e-6) for found, share in shares)
    assert max(found for found, _ in shares) >= 0.25


@pytest.mark.parametrize("x", [normal(4, 6) * 1e-30, normal(4, 6) * 1e25], ids=["small", "large"])
def test_squares_beyond_float32(x):
    model = nn.Linear(6, 6, bias=False)
    signal = observe(model, Inputs((x,)), None, lambda outputs: outputs.mean() * 1e-30).signals[0]
    exact = moment(doubles(x) @ doubles(model.weight).T)
    assert math.isclose(signal.second_moment, exact if exact < 1 else math.inf, rel_tol=1e-5)
    assert math.isclose(signal.gradient, (1e-30 / 24) ** 2, rel_tol=1e-5)


# Nonlinearities


BOUNDED = {
    "tanh": (nn.Tanh(), torch.tanh),
    "sigmoid": (nn.Sigmoid(), torch.sigmoid),
    "softsign": (nn.Softsign(), F.softsign),
    "hardsigmoid": (nn.Hardsigmoid(), F.hardsigmoid),
    "hardtanh": (nn.Hardtanh(), F.hardtanh),
}
LIMITS_UNKNOWN = pytest.mark.xfail(reason="the trace does not say where a hardtanh cuts; nn.ReLU6 is one", strict=True)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        *BOUNDED.values(),
        pytest.param(nn.Hardtanh(-3, 3), lambda x: F.hardtanh(x, -3, 3), marks=LIMITS_UNKNOWN, id="wide hardtanh"),
    ],
)
@pytest.mark.parametrize("scale", [0.5, 2.0, 8.0])
def test_saturated_is_where_the_slope_is_below_a_twentieth(module, function, scale):
    x = normal(64, 50) * scale
    signal = observe(nn.Sequential(module), Inputs((x,)), None).signals[0]
    assert math.isclose(signal.saturated, flat_share(function, doubles(x)), abs_tol=2 / x.numel())
    assert math.isnan(signal.silent)


@LIMITS_UNKNOWN
def test_relu6_is_saturated_from_six_on():
    x = normal(64, 50) * 4
    x[:, :10] = -1
    signal = observe(nn.Sequential(nn.ReLU6()), Inputs((x,)), None).signals[0]
    assert signal.saturated == pytest.approx(float((x >= 6).double().mean()), abs=1e-6)
    assert signal.silent == pytest.approx(0.2)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_a_cell_is_saturated_near_one(cell):
    torch.manual_seed(0)
    net = vars(nn)[cell](6, 8, batch_first=True)
    with torch.no_grad():
        net.weight_ih_l0.mul_(20)
        net.bias_hh_l0.add_(4 if cell == "LSTM" else 0)  # gates that are open
    x = normal(4, 7, 6)
    values = doubles(net(x)[0])
    signal = observe(net, Inputs((x,)), None).signals[0]
    assert signal.saturated == pytest.approx(np.mean(values**2 >= 0.95), abs=1e-6)
    assert 0 < signal.saturated < 1


def test_a_relu_cell_has_no_bound_but_dead_units():
    torch.manual_seed(0)
    net = nn.RNN(6, 8, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        net.bias_ih_l0[:2] = -1e3
    signal = observe(net, Inputs((normal(4, 7, 6) * 9,)), None).signals[0]
    assert math.isnan(signal.saturated)
    assert signal.silent == 0.25


@pytest.mark.parametrize("module", [nn.ReLU(), nn.GELU(), nn.SiLU(), nn.LeakyReLU(0.1), nn.ELU(), nn.Softplus()])
def test_units_that_say_the_same_for_every_example_are_silent(module):
    x = normal(32, 9, 40)
    x[..., :10] = -200.0
    x[..., 10] = 3.0
    x[0, 0, 11] = -5.0  # one that differs once is not
    signal = observe(nn.Sequential(module), Inputs((x,)), None).signals[0]
    assert signal.silent == pytest.approx(11 / 40)
    assert signal.zeros == pytest.approx(np.mean(doubles(module(x)) == 0), abs=1e-6)


def test_one_example_says_nothing_of_silence():
    signal = observe(nn.Sequential(nn.ReLU()), Inputs((normal(1, 40),)), None).signals[0]
    assert math.isnan(signal.silent)
    assert math.isnan(signal.likeness)


# Large tensors


SHAPES = [
    (64, 4096),
    (4096, 64),
    (32, 64, 16, 16),
    (8, 1024, 96),
    (2, 3, 256, 256),
    (300, 1000),
    (140000,),
    (7, 1, 65537),
]


def sparse_in_memory(shape):
    """Each value is its own number, its axes stored in another order."""
    numbers = torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)
    return numbers if len(shape) < 2 else numbers.movedim(0, -1).contiguous().movedim(-1, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_index_of_every_axis_has_its_turn(shape):
    for numbers in (torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape), sparse_in_memory(shape)):
        chosen = taps.sampled(numbers).long().numpy()
        assert taps.MOST // 2 <= chosen.size <= 2 * taps.MOST
        for size, places in zip(shape, np.unravel_index(chosen, shape), strict=True):
            counts = np.bincount(places, minlength=size)
            assert np.count_nonzero(counts) >= min(size, chosen.size) * (1 if size <= chosen.size else 0.999)


def scaled_by_feature(shape):
    """Each feature has a size of its own, and every fourth of them none."""
    scales = torch.linspace(0.1, 3, shape[1])
    scales[::4] = 0
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)) * scales.reshape(
        1, -1, *[1] * (len(shape) - 2)
    )


def with_any_stride(tensor):
    """The mutant: a stride that need not be prime to the sizes."""
    return tensor.flatten()[:: tensor.numel() // taps.MOST]


@pytest.mark.parametrize("shape", [(512, 1024), (128, 2048, 4)])
def test_a_sample_has_the_moments_of_the_whole_and_a_common_stride_has_not(shape):
    tensor = scaled_by_feature(shape)
    squares = doubles(tensor) ** 2
    error = squares.std() / math.sqrt(taps.MOST // 2)
    z = [
        abs(float(found.double().square().mean()) - squares.mean()) / error
        for found in (taps.sampled(tensor), with_any_stride(tensor))
    ]
    assert z[0] < 5
    assert z[1] > 5


def test_strides_are_the_least_that_are_prime_to_every_size():
    for shape in SHAPES:
        for wanted in (1, 2, 3, 64, 100):
            stride = taps.stride_prime_to(shape, wanted)
            assert math.gcd(stride, math.prod(shape)) == 1
            assert all(math.gcd(one, math.prod(shape)) > 1 for one in range(wanted, stride))


def alike(weight, *shape):
    """Examples that share one pattern."""
    generator = torch.Generator().manual_seed(4)
    return math.sqrt(weight) * torch.randn(1, *shape[1:], generator=generator) + math.sqrt(1 - weight) * torch.randn(
        shape, generator=generator
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(8, 500), (16, 20000), (40, 64, 16, 16)])
def test_likeness_is_the_mean_cosine(weight, shape):
    tensor = alike(weight, *shape)
    looked = math.prod(shape[1:]) if math.prod(shape[1:]) <= 2 * taps.FEATURES else taps.FEATURES // 2
    error = 5 / math.sqrt(looked) / math.sqrt(min(shape[0], taps.EXAMPLES)) if looked < math.prod(shape[1:]) else 0.0
    assert abs(float(taps.likeness(tensor)) - mean_cosine(doubles(tensor))) <= error + 1e-6
    assert abs(float(taps.likeness(tensor)) - mean_cosine(doubles(alike(0.6, *shape)))) > error  # another law is told


@pytest.mark.parametrize("axis", [-1, 1])
def test_silent_units_of_large_tensors(axis):
    shape = (64, 256, 48) if axis == 1 else (64, 48, 256)
    tensor = normal(*shape).relu()
    tensor.movedim(axis, 0)[:100] = 0.25
    assert float(taps.silent(tensor, axis)) == pytest.approx(100 / 256)
    assert float(taps.silent(tensor.half(), axis)) == pytest.approx(100 / 256)
