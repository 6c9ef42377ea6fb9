"""`TorchBackend`: each method does what `fanwise.adapters.protocol` says of it."""

import random
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from fanwise.adapters.protocol import Backend  # noqa: E402
from fanwise.graph.visitor import Watcher  # noqa: E402
from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.backend import BACKEND  # noqa: E402
from fanwise.torch.trace.run import Inputs  # noqa: E402

PATHS = ["0.weight", "0.bias", "2.weight", "2.bias"]
X = torch.arange(8.0).reshape(2, 4)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def bits(model):
    return [tensor.detach().numpy().tobytes() for tensor in model.state_dict().values()]


def planned(model):
    return plan(model, X).edit("*.weight", "he_normal")


def test_what_it_is():
    assert BACKEND.package == "fanwise.torch"
    assert BACKEND.version == f"torch {torch.__version__.partition('+')[0]}"
    assert BACKEND.takes_key is False
    assert BACKEND.forms == "expected a torch.nn.Module"


def test_models(model):
    assert BACKEND.is_model(model)
    assert not BACKEND.is_model(lambda: model)
    assert not BACKEND.is_model(nn.Linear)
    assert BACKEND.model_name(model) == "Sequential"


class Own(nn.Module):
    """A module with a submodule that a line of this file constructs."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)


def test_places_of_the_modules():
    place = BACKEND.places(Own(), None)["inner"]
    assert Path(place.file).name == "test_backend.py"
    assert "self.inner" in Path(place.file).read_text(encoding="utf-8").splitlines()[place.line - 1]


def draws():
    return random.random(), float(np.random.rand()), torch.rand(()).item()  # noqa: NPY002


def test_a_seed_decides_what_is_drawn_and_states_are_as_before():
    states = random.getstate(), torch.get_rng_state()
    with BACKEND.seeded(3) as arguments:
        first = draws()
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    with BACKEND.seeded(3):
        assert draws() == first
    with BACKEND.seeded(4):
        assert all(a != b for a, b in zip(draws(), first, strict=True))
    assert arguments == ()


def test_parameters_in_the_order_of_the_model_and_tied_ones_once(model):
    assert [parameter.path for parameter in BACKEND.parameters(model)] == PATHS
    model[2] = nn.Linear(4, 3)
    model[2].weight = model[0].weight
    assert [parameter.path for parameter in BACKEND.parameters(model)] == ["0.weight", "0.bias", "2.bias"]
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        BACKEND.parameters("model")


def test_a_reader_gives_copies(model):
    get, before = BACKEND.reader(model), bits(model)
    get("0.bias")[:] = 5.0
    assert bits(model) == before
    assert get("0.weight").shape == (3, 4)


def test_apply_gives_the_module_itself_and_kept_undoes_it(model):
    before, given = bits(model), planned(model)
    with BACKEND.kept(model):
        assert BACKEND.apply(model, given, 0) is model
        assert bits(model) != before
    assert bits(model) == before


def test_kept_puts_buffers_back_too_after_an_error():
    norm = nn.BatchNorm1d(2)

    def interrupted():
        with BACKEND.kept(norm):
            norm(torch.randn(4, 2))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        interrupted()
    assert norm.running_mean.tolist() == [0.0, 0.0]
    assert norm.num_batches_tracked.item() == 0


def test_arrays():
    assert BACKEND.is_array(X)
    assert not BACKEND.is_array([1.0])
    assert not BACKEND.is_array("2,3")


def test_split():
    inputs, target = BACKEND.split((X, 1), "mse_loss")
    assert target == 1
    assert inputs is X or inputs[0] is X
    assert BACKEND.split((X, 1), None)[1] is None


def test_inputs_and_their_description(model):
    inputs = BACKEND.inputs(model, X)
    assert inputs.args[0].tolist() == X.tolist()
    assert BACKEND.describe(X, inputs) == "2,4:float32"
    assert BACKEND.describe("2,4", inputs) == "2,4"
    assert BACKEND.inputs(model, "2,4", valued=True).args[0].shape == (2, 4)
    with pytest.raises(ValueError, match="cannot be read"):
        BACKEND.inputs(model, "2 by 4")
    with pytest.raises(TypeError, match="Module"):
        BACKEND.inputs("model", X)


def test_join_and_join_targets():
    assert BACKEND.join([Inputs((X,)), Inputs((X + 1,))]).args[0].tolist() == [*X.tolist(), *(X + 1).tolist()]
    assert BACKEND.join_targets([torch.tensor([1, 2]), torch.tensor([3])]).tolist() == [1, 2, 3]
    assert BACKEND.join_targets([torch.tensor([1]), None]) is None
    with pytest.raises(ValueError, match="differ in the first axis alone"):
        BACKEND.join([Inputs((X,)), Inputs((torch.ones(2, 5),))])


def test_a_prepared_run_can_be_repeated(model):
    prepared, before = BACKEND.prepare(model, BACKEND.inputs(model, X)), bits(model)
    assert not prepared.is_abstract
    for _ in range(2):
        assert [str(op.kind) for op in prepared.run(Watcher()).ops] == ["linear", "activation", "linear"]
    assert bits(model) == before
    abstract = model.to("meta")
    assert BACKEND.prepare(abstract, BACKEND.inputs(abstract, "2,4")).is_abstract


def test_structure(model):
    trace = BACKEND.structure(model, BACKEND.inputs(model, X))
    assert [op.module for op in trace.ops] == ["0", "1", "2"]


def test_losses_that_are_known():
    for loss in ("mse_loss", "cross_entropy", nn.MSELoss(), None):
        BACKEND.check_loss(loss)
    with pytest.raises(TypeError, match="loss = 3"):
        BACKEND.check_loss(3)
    with pytest.raises(ValueError, match="loss = 'msee'"):
        BACKEND.check_loss("msee")


def test_what_a_model_takes(model):
    classes = torch.zeros(2)
    assert BACKEND.taken(model, (X, classes)) == (X,)
    assert BACKEND.taken(model, X) is X
    named = {"input": X}
    assert BACKEND.taken(model, {**named, "labels": classes}) == named
    assert BACKEND.taken(model, named) is named


def test_optimizers():
    optimizer = BACKEND.optimizer(torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.5))
    assert (optimizer.name, optimizer.learning_rate) == ("SGD", 0.5)
    assert optimizer.ratio((3, 2), 1.0, 1.0) == pytest.approx(0.5)
    assert BACKEND.optimizer("sgd:0.5") is None


def test_observe(model):
    before = bits(model)
    seen = BACKEND.observe(model, BACKEND.inputs(model, X), torch.zeros(2, 2), "mse_loss")
    assert list(seen.values) == PATHS
    assert seen.loss.value == pytest.approx(model(X).square().mean().item(), rel=1e-5)
    assert all(seen.values[path].reached for path in PATHS)
    assert BACKEND.observe(model, BACKEND.inputs(model, X), None, None, backward=False).loss is None
    assert bits(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_every_method_of_the_protocol_is_tested_here():
    names = [name for name in vars(Backend) if not name.startswith("_")]
    text = Path(__file__).read_text(encoding="utf-8")
    assert len(names) > 15
    assert [name for name in names if f"BACKEND.{name}" not in text] == []
