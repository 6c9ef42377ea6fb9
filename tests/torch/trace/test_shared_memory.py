"""Parameters over one memory: each is attributed as itself, and drawing two that overlap is refused."""

import threading

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn
functional = torch.nn.functional

from fanwise.torch.api.check import check  # noqa: E402
from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.trace.run import Inputs, run  # noqa: E402
from fanwise.torch.weights.apply import apply  # noqa: E402

WIDTH = 16
INPUT = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))


def values(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def rows(first, second):
    whole = values(WIDTH, WIDTH)
    return {"w": whole, "v": whole[first:second]}


def rows_first():
    pair = rows(2, 6)
    return {"v": pair["v"], "w": pair["w"]}


def shifted():
    memory = values(WIDTH * WIDTH + 8)
    return {"w": memory[:-8].view(WIDTH, WIDTH), "v": memory[8:].view(WIDTH, WIDTH)}


def transposed():
    whole = values(WIDTH, WIDTH)
    return {"w": whole, "v": whole.t()}


def diagonal():
    whole = values(WIDTH, WIDTH)
    return {"w": whole, "v": whole.view(-1)[:: WIDTH + 1]}


def flat():
    memory = values(2 * WIDTH * WIDTH)
    return {"w": memory[: WIDTH * WIDTH].view(WIDTH, WIDTH), "v": memory[WIDTH * WIDTH :].view(WIDTH, WIDTH).t()}


OVERLAPPING = {
    "rows": lambda: rows(2, 6),
    "rows, named first": rows_first,
    "the first rows": lambda: rows(0, 4),
    "transposed": transposed,
    "shifted": shifted,
    "diagonal": diagonal,
}


class Model(nn.Module):
    def __init__(self, tensors):
        super().__init__()
        for name, tensor in tensors.items():
            setattr(self, name, nn.Parameter(tensor.data))

    def forward(self, read):
        whole = functional.linear(read, self.w)
        if self.v.dim() == 1:
            return whole + self.v
        return whole, functional.linear(read, self.v)


def uses(model):
    trace = run(model, Inputs((INPUT,)))
    return {path: [op.shape for op, _ in uses] for path, uses in trace.uses.items()}


@pytest.mark.parametrize("name", [*OVERLAPPING, "apart"])
def test_each_parameter_is_used_as_itself(name):
    tensors = (flat if name == "apart" else OVERLAPPING[name])()
    found = uses(Model(tensors))
    assert found["w"] == [(64, WIDTH)]
    assert found["v"] == [(64, tensors["v"].shape[0])]


@pytest.mark.parametrize("name", OVERLAPPING)
def test_drawing_parameters_that_overlap_is_refused_and_both_are_named(name):
    model = Model(OVERLAPPING[name]())
    with pytest.raises(ValueError, match="share memory") as error:
        apply(model, plan(model, INPUT), key=0)
    assert "'w'" in str(error.value)
    assert "'v'" in str(error.value)


def test_parts_of_one_memory_that_do_not_overlap_are_drawn():
    model = Model(flat())
    apply(model, plan(model, INPUT), key=0)
    assert abs(float(model.w.detach().std()) * WIDTH**0.5 / 0.3 - 1) < 5 / (2 * WIDTH**2) ** 0.5 + 0.1


def test_a_view_of_a_parameter_belongs_to_it_where_another_lies_over_the_same_memory():
    class Rows(Model):
        def forward(self, read):
            return functional.linear(read, self.w[3:5])

    found = uses(Rows(rows(2, 6)))
    assert found == {"w": [(64, 2)], "v": []}


def test_the_same_memory_under_two_names_is_one_parameter():
    tensor = values(WIDTH, WIDTH)
    (parameter,) = run(Model({"w": tensor, "v": tensor}), Inputs((INPUT,))).parameters
    assert (parameter.path, parameter.aliases) == ("w", ("v",))


@pytest.mark.parametrize("tensor", [values(1, WIDTH).expand(WIDTH, WIDTH), values(40).as_strided((16, 16), (1, 1))])
def test_a_parameter_that_overlaps_itself_is_refused(tensor):
    model = Model({"w": tensor, "v": values(WIDTH)})
    with pytest.raises(ValueError, match=r"'w'.*elements that share memory"):
        apply(model, plan(model, INPUT), key=0)


# Threads


class Threaded(nn.Module):
    def __init__(self):
        super().__init__()
        self.here, self.there = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, read):
        results = []
        thread = threading.Thread(target=lambda: results.append(self.there(read)))
        thread.start()
        thread.join()
        return self.head(torch.relu(self.here(read) + results[0]))


def test_a_module_that_runs_in_a_thread_is_said_to_be_unseen():
    trace = run(Threaded(), Inputs((INPUT,)))
    assert trace.unused == ("there.weight", "there.bias")
    assert trace.unseen == ("module 'there' ran in a thread of its own",)
    assert {op.module for op in trace.ops if op.uses} == {"here", "head"}


def test_the_check_says_where_unused_parameters_may_be_used():
    report = check(Threaded(), INPUT)
    (finding,) = [finding for finding in report.findings if finding.code == "UNU001"]
    assert "module 'there' ran in a thread of its own" in finding.message


def test_modules_of_other_threads_leave_a_run_alone():
    """Hooks are those of every thread: another thread's model moves no module of this run."""
    stop, other = threading.Event(), nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))

    def busy():
        while not stop.is_set():
            other(torch.ones(2, 4))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        model = nn.Sequential(*[nn.Linear(WIDTH, WIDTH) for _ in range(30)])
        trace = run(model, Inputs((INPUT,)))
    finally:
        stop.set()
        thread.join()
    assert [op.module for op in trace.ops] == [str(i) for i in range(30)]
    assert not trace.unseen
