"""The drop-in inside transforms: the same bits as eagerly, and operators where memory cannot be written."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402

from fanwise import Key  # noqa: E402
from fanwise.torch import init  # noqa: E402

KEY = Key(3, "encoder.weight")
RANDOM = {
    "uniform_": (-1.0, 2.0),
    "normal_": (0.5, 2.0),
    "trunc_normal_": (0.0, 1.0, -2.0, 2.0),
    "xavier_uniform_": (2.0,),
    "xavier_normal_": (),
    "kaiming_uniform_": (0.1, "fan_out", "leaky_relu"),
    "kaiming_normal_": (0, "fan_in", "relu"),
    "orthogonal_": (-2.0,),
    "sparse_": (0.5,),
}
FIXED = {"constant_": (0.3,), "ones_": (), "zeros_": (), "eye_": (), "dirac_": (2,)}
every_function = pytest.mark.parametrize("name", [*RANDOM, *FIXED])


def shape_of(name):
    return (4, 2, 3) if name == "dirac_" else (4, 6)


def filled(name, tensor):
    keyed = {"key": KEY} if name in RANDOM else {}
    return getattr(init, name)(tensor, *(RANDOM | FIXED)[name], **keyed)


def eager(name):
    return filled(name, torch.empty(shape_of(name)))


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@every_function
def test_a_compiled_program_without_breaks_fills_a_parameter(name, fresh_compiler):
    parameter = torch.nn.Parameter(torch.full(shape_of(name), 7.0))
    program = torch.compile(lambda tensor: filled(name, tensor), fullgraph=True, backend="eager")
    assert torch.equal(program(parameter), eager(name))
    assert torch.equal(parameter, eager(name))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own, as inductor begins
@pytest.mark.parametrize("name", ["normal_", "kaiming_uniform_", "zeros_"])
def test_the_default_compiler(name, fresh_compiler):
    program = torch.compile(lambda tensor: filled(name, tensor) + 1, fullgraph=True)
    assert torch.equal(program(torch.zeros(shape_of(name))), eager(name) + 1)


def test_a_compiled_program_draws_a_stream_of_torchs_generator_each_time(fresh_compiler):
    program = torch.compile(lambda tensor: init.normal_(tensor), fullgraph=True, backend="eager")
    torch.manual_seed(0)
    pair = program(torch.empty(3)).clone(), program(torch.empty(3)).clone()
    torch.manual_seed(0)
    assert torch.equal(pair[0], init.normal_(torch.empty(3)))
    assert not torch.equal(*pair)


@every_function
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_a_traced_graph_holds_the_filling(name, mode):
    graph = make_fx(lambda tensor: filled(name, tensor.clone()) * 1, tracing_mode=mode)(torch.zeros(shape_of(name)))
    assert torch.equal(graph(torch.zeros(shape_of(name))), eager(name))


@every_function
def test_a_key_fixes_every_example_of_a_vmap(name):
    drawn = torch.vmap(lambda x: filled(name, torch.empty_like(x)))(torch.zeros(3, *shape_of(name)))
    assert torch.equal(drawn, eager(name).expand_as(drawn))


@pytest.mark.parametrize("name", RANDOM)
def test_without_a_key_a_vmap_says_whether_examples_differ(name):
    def example(x):
        return getattr(init, name)(torch.empty_like(x), *RANDOM[name])

    batch = torch.zeros(3, *shape_of(name))
    different = torch.vmap(example, randomness="different")(batch)
    same = torch.vmap(example, randomness="same")(batch)
    assert not torch.equal(different[0], different[1])
    assert torch.equal(same[0], same[1])
    with pytest.raises(RuntimeError, match=f"{name} inside torch.vmap: give it a key="):
        torch.vmap(example)(batch)


def test_a_vmap_over_another_axis():
    drawn = torch.vmap(lambda x: filled("normal_", torch.empty_like(x)), in_dims=1, out_dims=1)(torch.zeros(4, 3, 6))
    assert torch.equal(drawn[:, 1], eager("normal_"))


@every_function
def test_a_fake_tensor_keeps_its_shape(name):
    with FakeTensorMode():
        tensor = torch.empty(shape_of(name))
        assert filled(name, tensor) is tensor


def test_a_gradient_flows_past_a_filling():
    weight = eager("normal_")
    gradient = torch.func.grad(lambda x: (filled("normal_", torch.empty(4, 6)) * x).sum())(torch.ones(4, 6))
    assert torch.equal(gradient, weight)


def test_generators_and_arguments_that_do_not_fit_are_refused():
    tensor = torch.zeros(2, 3, 4)
    with pytest.raises(TypeError, match=r"normal_ inside a transform .*: expected key= in place of a generator"):
        torch.vmap(lambda x: init.normal_(torch.empty_like(x), generator=torch.Generator()))(tensor)
    for arguments in ({"sigma": 1.0}, {"tensor": tensor}):
        with pytest.raises(TypeError, match="expected the arguments tensor, mean, std, generator, key, each once"):
            torch.vmap(lambda x, extra=arguments: init.normal_(torch.empty_like(x), **extra))(tensor)
