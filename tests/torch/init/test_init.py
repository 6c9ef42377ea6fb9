"""The drop-in's interface is that of torch.nn.init; its streams, and what autograd sees."""

import inspect
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")

import torch.nn.init as theirs  # noqa: E402
from torch import nn  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch_init import FILLERS, NAMES, RANDOM, REQUIRED, called, drawn, every_filler, every_random, shape_for  # noqa: E402

from fanwise import Key  # noqa: E402
from fanwise.torch import init  # noqa: E402

OLD = [name for name in NAMES if not name.endswith("_") and name != "calculate_gain"]


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found if p.name != "key"]


# The interface.


def test_the_public_names_are_torchs():
    assert sorted(init.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_torchs_and_a_key(name):
    ours = inspect.signature(getattr(init, name)).parameters
    assert parameters(getattr(init, name)) == parameters(getattr(theirs, name))
    assert ("key" in ours) == (name in RANDOM)
    if name in RANDOM:
        assert (ours["key"].kind, ours["key"].default) == (inspect.Parameter.KEYWORD_ONLY, None)


@pytest.mark.parametrize("name", [name for name in vars(theirs) if name.startswith(("_calculate", "_no_grad"))])
def test_names_that_others_import_are_there(name):
    names = [p[0] for p in parameters(getattr(theirs, name))]
    assert [p[0] for p in parameters(getattr(init, name))][: len(names)] == names


@every_filler
def test_the_tensor_itself_comes_back_filled(name):
    tensor = torch.full(shape_for(name), 9.0)
    assert called(name, tensor) is tensor
    assert not (tensor == 9).any()


@pytest.mark.parametrize("name", OLD)
def test_old_names_warn_and_work(name):
    with pytest.warns(FutureWarning, match=f"{name} is deprecated.* use {name}_"):
        old = getattr(init, name)(torch.zeros(shape_for(f"{name}_")), *REQUIRED.get(f"{name}_", {}).values())
    assert old.shape == shape_for(f"{name}_")


@every_filler
def test_function_modes_can_take_every_call_over(name):
    seen = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    tensor = torch.zeros(shape_for(name))
    with Watch():
        assert called(name, tensor) is tensor
    assert seen[0] is getattr(init, name)
    assert tensor.any() or name == "zeros_"


class Marked(torch.Tensor):
    pass


@every_filler
def test_plain_subclasses_keep_their_type(name):
    tensor = torch.zeros(shape_for(name)).as_subclass(Marked)
    assert called(name, tensor) is tensor
    assert called(name, tensor=tensor) is tensor


# Streams.


@every_random
def test_manual_seed_governs(name):
    def pair(seed):
        torch.manual_seed(seed)
        return [called(name, torch.zeros(shape_for(name))) for _ in range(2)]

    first, second = pair(3)
    again = pair(3)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, second)
    assert not torch.equal(first, pair(4)[0])


@every_random
def test_a_generator_alone_fixes_the_result(name):
    def pair():
        generator = torch.Generator().manual_seed(5)
        return [called(name, torch.zeros(shape_for(name)), generator=generator) for _ in range(2)]

    state = torch.get_rng_state()
    first, second = pair()
    torch.manual_seed(99)
    again = pair()
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    called(name, torch.zeros(shape_for(name)), generator=torch.Generator())
    assert torch.equal(torch.get_rng_state(), state)


@every_random
def test_a_key_alone_fixes_the_result(name):
    state = torch.get_rng_state()
    first = drawn(name, shape_for(name), key=7)
    assert torch.equal(drawn(name, shape_for(name), key=Key(7)), first)
    assert torch.equal(drawn(name, shape_for(name), key=np.int64(7)), first)
    assert not torch.equal(drawn(name, shape_for(name), key=Key(7).child("w")), first)
    assert torch.equal(torch.get_rng_state(), state)


@every_random
def test_one_draw_a_call(name):
    """Whatever the size: what is drawn after it does not move."""
    states = []
    for rows in (8, 16):
        torch.manual_seed(0)
        called(name, torch.zeros((rows, *shape_for(name)[1:])))
        states.append(torch.get_rng_state())
    torch.manual_seed(0)
    torch.empty((), dtype=torch.int64).random_()
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], torch.get_rng_state())


@every_filler
@pytest.mark.filterwarnings("ignore:.*no elements:UserWarning", "ignore:Initializing zero-element")
@pytest.mark.parametrize("kind", ["meta", "empty rows", "empty columns"])
def test_no_op_calls_leave_the_generator_alone(name, kind):
    shape = list(shape_for(name))
    if kind != "meta":
        shape["columns" in kind] = 0
    tensor = torch.empty(shape, device="meta" if kind == "meta" else "cpu")
    state = torch.get_rng_state()
    assert getattr(theirs, name)(tensor, **REQUIRED.get(name, {})) is tensor
    assert torch.equal(torch.get_rng_state(), state)
    assert called(name, tensor) is tensor
    assert torch.equal(torch.get_rng_state(), state)


@every_random
def test_a_default_device_does_not_matter(name):
    with torch.device("meta"):
        assert called(name, torch.empty(shape_for(name))).is_meta
    torch.manual_seed(1)
    plain = called(name, torch.zeros(shape_for(name)))
    torch.manual_seed(1)
    with torch.device("meta"):
        other = called(name, torch.zeros(shape_for(name), device="cpu"))
    assert torch.equal(plain, other)


@pytest.mark.parametrize("name", ["xavier_normal_", "xavier_uniform_"])
@pytest.mark.parametrize("shape", [(0, 0), (5, 0), (0, 3, 4, 4), (4, 3, 0, 4)])
def test_weights_without_fans_are_empty(name, shape):
    """torch divides by zero where both fans are."""
    assert getattr(init, name)(torch.empty(shape)).shape == shape


@pytest.mark.parametrize("name", ["kaiming_normal_", "kaiming_uniform_"])
def test_kaiming_warns_of_empty_tensors_as_torch_does(name):
    for module in (init, theirs):
        with pytest.warns(UserWarning, match="zero-element|no elements") as record:
            getattr(module, name)(torch.empty(0, 5))
        assert record[0].filename == __file__


def test_threads_draw_different_streams_from_one_generator():
    generator, drawn_weights = torch.Generator().manual_seed(0), []

    def work():
        drawn_weights.extend(init.normal_(torch.zeros(4), generator=generator) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(weight.tolist()) for weight in drawn_weights}) == 400


def test_a_longer_tensor_keeps_its_first_values():
    assert torch.equal(drawn("normal_", (101,))[:100], drawn("normal_", (100,)))


# What autograd sees.


@every_filler
def test_leaves_are_filled_without_a_trace(name):
    weight = nn.Parameter(torch.full(shape_for(name), 0.5))
    loss = (weight * weight).sum()
    version = weight._version
    assert called(name, weight) is weight
    assert (weight.is_leaf, weight.requires_grad, weight.grad_fn) == (True, True, None)
    assert weight._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("name", sorted(set(FILLERS) - {"dirac_"}))
def test_views_of_leaves_are_filled(name):
    weight = nn.Parameter(torch.full((12, 4), 0.25))
    for view in (weight.T, weight[2:6], *weight.chunk(3), weight.detach(), weight.data):
        called(name, view)
        assert not torch.equal(view, torch.full_like(view, 0.25))
    assert weight.grad_fn is None


@every_filler
def test_grad_mode_stays_as_it_was(name):
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            called(name, torch.zeros(shape_for(name)))
            assert torch.is_grad_enabled() is mode


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm, nn.utils.weight_norm],
    ids=["weight_norm", "spectral_norm", "old weight_norm"],
)
@pytest.mark.parametrize("name", sorted(set(FILLERS) - {"dirac_"}))
def test_parametrized_weights_are_refused(name, wrap):
    module = wrap(nn.Linear(4, 4)).eval()  # in training, looking at a spectral norm's weight changes its buffers
    before = {path: value.clone() for path, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"result of an operation .* module\.parametrizations\.weight\.original"):
        called(name, module.weight)
    assert all(torch.equal(value, before[path]) for path, value in module.state_dict().items())


def test_a_parametrization_that_is_a_view_is_filled():
    class Transposed(nn.Module):
        def forward(self, x):
            return x.T

    module = nn.Linear(3, 3)
    nn.utils.parametrize.register_parametrization(module, "weight", Transposed())
    init.normal_(module.weight, key=0)
    assert torch.equal(module.weight, drawn("normal_", (3, 3)))


def test_tied_parameters_are_one():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    init.normal_(first.weight, key=0)
    assert torch.equal(second.weight, drawn("normal_", (4, 4)))


def test_modules_can_be_initialised_by_apply():
    def start(module):
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)).apply(start)
    assert model[0].weight.abs().max() <= (6 / 784) ** 0.5
    assert not model[2].bias.any()
