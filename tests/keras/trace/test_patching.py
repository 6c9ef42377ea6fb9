"""What a run replaces and puts back: layers' calls, the backend's functions, the operators of tensors."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402
from keras.src import backend  # noqa: E402
from keras.src import ops as inner_ops  # noqa: E402

import fanwise.keras as fwk  # noqa: E402
from fanwise.graph.visitor import Watcher  # noqa: E402

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
OPERATORS = (
    "__add__",
    "__radd__",
    "__sub__",
    "__mul__",
    "__truediv__",
    "__matmul__",
    "__pow__",
    "__neg__",
    "__getitem__",
)


def held():
    """Every function under every name that Keras keeps for it, and the operators of the backend's tensors."""
    homes = (backend, backend.numpy, backend.nn, backend.math, backend.linalg, backend.core, inner_ops, keras.ops)
    names = {(home.__name__, name): value for home in homes for name, value in vars(home).items() if callable(value)}
    kind = type(keras.ops.zeros((1,)))
    return names | {(kind.__name__, name): getattr(kind, name) for name in OPERATORS}


def same(before, after):
    return before.keys() == after.keys() and all(before[name] is after[name] for name in before)


class Own(keras.Model):
    """A model of functions and operators."""

    def __init__(self):
        super().__init__(name="own")
        self.first, self.last = layers.Dense(4, name="a"), layers.Dense(2, name="b")
        self.fails = False

    def call(self, x):
        x = self.first(x)
        x = keras.ops.relu(x) * 2 + 1
        if self.fails:
            raise KeyError("lost")
        return self.last(x[:, :4] / 3)


class Calling(Own):
    """The same, which does something in the midst of its call."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def call(self, x):
        x = super().call(x) * 2
        self.act()
        return x + 1


def built(kind=Own, *args):
    model = kind(*args)
    model(X)
    return model


def test_everything_is_back_after_a_run():
    model, before = built(), held()
    fwk.run(model, fwk.Inputs((X,)))
    assert same(before, held())
    assert not [layer for layer in (model, model.first, model.last) if "call" in vars(layer)]


def test_everything_is_back_after_a_model_that_fails():
    model, before = built(), held()
    model.fails = True
    with pytest.raises(fwk.ModelError, match="KeyError"):
        fwk.run(model, fwk.Inputs((X,)))
    assert same(before, held())
    assert not [layer for layer in (model, model.first, model.last) if "call" in vars(layer)]


def test_a_layer_s_own_call_comes_back():
    model = built()
    original = model.first.call
    vars(model.first)["call"] = replaced = lambda x: original(x)
    fwk.run(model, fwk.Inputs((X,)))
    assert vars(model.first)["call"] is replaced


def test_within_a_run_functions_and_operators_are_seen_as_ops():
    model = built()
    trace = fwk.run(model, fwk.Inputs((X,)))
    kinds = [str(op.kind) for op in trace.ops]
    assert kinds[:4] == ["linear", "activation", "elementwise", "elementwise"]
    assert kinds[-1] == "linear"
    constants = [op.constant for op in trace.ops if op.constant is not None]
    assert constants == [2.0, 1.0, 3.0]


def test_a_run_computes_what_the_model_computes():
    """What is replaced gives the values of what it stands for."""
    model = built()
    expected = keras.ops.convert_to_numpy(model(X)).astype(np.float64)
    report = fwk.check(model, X, backward=False)
    assert report.observations[0].outputs.second_moment == pytest.approx(np.square(expected).mean(), rel=1e-5)


def test_what_runs_outside_is_not_recorded():
    """A function called after a run, and a layer called alone, go past the recorder that is gone."""
    model = built()
    trace = fwk.run(model, fwk.Inputs((X,)))
    count = len(trace.ops)
    keras.ops.relu(keras.ops.convert_to_tensor(X)) + 1
    model.first(X)
    assert len(trace.ops) == count
    again = fwk.run(model, fwk.Inputs((X,)))
    assert [op.key for op in again.ops] == [op.key for op in trace.ops]


def sequential(*stack):
    return keras.Sequential([keras.Input((4,)), *stack], name="m")


def different():
    """Four models that have little in common."""
    return (
        sequential(layers.Dense(8, "relu", name="a"), layers.Dense(3, name="b")),
        sequential(layers.Dense(6, name="a"), layers.LayerNormalization(name="n"), layers.Dense(6, "tanh", name="c")),
        built(),
        sequential(*(layers.Dense(5, "gelu", name=f"d{i}") for i in range(4)), layers.Dropout(0.5, name="e")),
    )


def at_once(*tasks):
    """What functions return that begin at the same time, each in its own thread."""
    barrier = Barrier(len(tasks))

    def begin(task):
        barrier.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(begin, task) for task in tasks]]


def in_another_thread(task):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(task).result()


def ops_of(trace):
    return [(str(op.kind), op.name, op.module, op.shape, op.inputs) for op in trace.ops]


def test_plans_made_at_once_are_those_made_alone():
    models, before = different(), held()
    alone = [fwk.plan(model, X).to_toml() for model in models]
    for _ in range(3):
        together = at_once(*(lambda model=model: fwk.plan(model, X).to_toml() for model in models))
        assert together == alone
    assert same(before, held())
    assert not [layer for model in models for layer in model._flatten_layers() if "call" in vars(layer)]


def test_checks_and_runs_made_at_once_are_those_made_alone():
    models, before = different(), held()

    def tasks():
        yield lambda: ops_of(fwk.run(models[0], fwk.Inputs((X,))))
        yield lambda: [item.outputs.second_moment for item in fwk.check(models[1], X, backward=False).observations]
        yield lambda: [item.outputs.second_moment for item in fwk.check(models[2], X).observations]
        yield lambda: fwk.plan(models[3], X).to_toml()

    alone = [task() for task in tasks()]
    assert at_once(*tasks()) == alone
    assert same(before, held())


def test_one_model_run_in_two_threads_gives_its_trace_to_each():
    model, before = different()[0], held()
    alone = ops_of(fwk.run(model, fwk.Inputs((X,))))
    assert at_once(*[lambda: ops_of(fwk.run(model, fwk.Inputs((X,))))] * 4) == [alone] * 4
    assert same(before, held())
    assert not [layer for layer in model._flatten_layers() if "call" in vars(layer)]


def test_a_bystander_is_not_recorded_and_computes_what_it_computes_alone():
    other, results = different()[1], []

    def infer():
        y = keras.ops.relu(keras.ops.convert_to_tensor(X)) * 2 - 1
        return [keras.ops.convert_to_numpy(value) for value in (y, other(X), model.first(X))]

    model = built(Calling, lambda: None)
    expected, alone = infer(), ops_of(fwk.run(model, fwk.Inputs((X,))))
    model.act = lambda: results.append(in_another_thread(infer))
    assert ops_of(fwk.run(model, fwk.Inputs((X,)))) == alone
    assert len(results) == 1
    for computed, value in zip(results[0], expected, strict=True):
        np.testing.assert_array_equal(computed, value)


def test_a_bystander_in_the_run_s_own_layer_keeps_its_activation():
    """While the run executes a layer without its activation, others that call the layer have it."""
    model, results = sequential(layers.Dense(8, "relu", name="a")), []
    expected = keras.ops.convert_to_numpy(model(X))

    class Looking(Watcher):
        def before(self, op, moment):
            results.append(in_another_thread(lambda: keras.ops.convert_to_numpy(model(X))))
            return {}

    activation = model.layers[0].activation
    trace = fwk.run(model, fwk.Inputs((X,)), Looking())
    assert [str(op.kind) for op in trace.ops] == ["linear", "activation"]
    assert len(results) == 2
    for computed in results:
        np.testing.assert_array_equal(computed, expected)
    assert model.layers[0].activation is activation


@pytest.mark.parametrize("first_to_end", ["outer", "inner"])
def test_overlapping_runs_end_in_any_order(first_to_end):
    """A run that begins in the midst of another, in another thread, and ends before it or after it."""
    before, inside, over, started = held(), Event(), Event(), []

    def inner_act():
        inside.set()
        assert first_to_end == "inner" or over.wait(60)

    inner = built(Calling, lambda: None)
    alone = ops_of(fwk.run(inner, fwk.Inputs((X,))))
    inner.act = inner_act

    def outer_act():
        thread = Thread(target=lambda: started.append(ops_of(fwk.run(inner, fwk.Inputs((X,))))))
        thread.start()
        assert inside.wait(60)
        if first_to_end == "inner":
            thread.join(60)
        threads.append(thread)

    threads = []
    outer = built(Calling, lambda: None)
    outer.act = outer_act
    trace = ops_of(fwk.run(outer, fwk.Inputs((X,))))
    over.set()
    threads[0].join(60)
    assert trace == alone
    assert started == [alone]
    assert same(before, held())
    assert not [layer for layer in (outer, inner, inner.first, outer.first) if "call" in vars(layer)]


def test_a_run_within_a_run_has_its_own_trace():
    inner, before, traces = different()[0], held(), []
    alone = ops_of(fwk.run(inner, fwk.Inputs((X,))))
    model = built(Calling, lambda: None)
    expected = ops_of(fwk.run(model, fwk.Inputs((X,))))
    model.act = lambda: traces.append(ops_of(fwk.run(inner, fwk.Inputs((X,)))))
    assert ops_of(fwk.run(model, fwk.Inputs((X,)))) == expected
    assert traces == [alone]
    assert same(before, held())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_everything_is_back_after_an_interruption(error):
    def act():
        raise error

    model, before = built(Calling, lambda: None), held()
    model.act = act
    activations = [layer.activation for layer in (model.first, model.last)]
    with pytest.raises(error):
        fwk.run(model, fwk.Inputs((X,)))
    assert same(before, held())
    assert not [layer for layer in (model, model.first, model.last) if "call" in vars(layer)]
    assert [layer.activation for layer in (model.first, model.last)] == activations
    model.act = lambda: None
    assert ops_of(fwk.run(model, fwk.Inputs((X,))))


def test_a_run_that_fails_takes_nothing_from_one_that_goes_on():
    model, failing, before = built(Calling, lambda: None), built(), held()
    alone = ops_of(fwk.run(model, fwk.Inputs((X,))))
    failing.fails = True

    def fail():
        with pytest.raises(fwk.ModelError, match="KeyError"):
            fwk.run(failing, fwk.Inputs((X,)))

    model.act = lambda: in_another_thread(fail)
    assert ops_of(fwk.run(model, fwk.Inputs((X,)))) == alone
    assert same(before, held())


def test_within_a_run_an_operator_is_the_original_on_pytorch_and_stands_for_it_elsewhere():
    """PyTorch keeps a mode for each thread; the classes of JAX and TensorFlow are changed for the time."""
    kind, during = type(keras.ops.zeros((1,))), []
    model = built(Calling, lambda: None)
    before = {name: getattr(kind, name) for name in OPERATORS}
    model.act = lambda: during.append({name: getattr(kind, name) for name in OPERATORS})
    fwk.run(model, fwk.Inputs((X,)))
    assert len(during) == 1
    for name, operator in during[0].items():
        original = operator if keras.config.backend() == "torch" else operator.__wrapped__
        assert original is before[name]
