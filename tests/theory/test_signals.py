"""The rules of propagation, forward and backward, against closed forms."""

import math

import numpy as np
import pytest
from small_traces import BATCH, PLACES, WIDTH, dense, op, said

from fanwise import Normal, Ones, VarianceScaling, Zeros
from fanwise.graph.details import Convolution
from fanwise.graph.op import INPUT, Op, OpKind, Use
from fanwise.theory import padding, windows
from fanwise.theory.meanfield.finite_width import log_lengths
from fanwise.theory.meanfield.maps import MeanField
from fanwise.theory.propagation import SAMPLES, Given
from fanwise.theory.samples import ANOTHER, ELSEWHERE, HERE, Likeness, likeness, normal_rows
from fanwise.theory.softmax_average import Attention, averaged, weights

ERROR = 5 * math.sqrt(2 / SAMPLES)
"""Five standard errors of a second moment of independent normal values."""


def arc_cosine(c):
    """Correlation of relu(u) and relu(v): Cho and Saul, "Kernel methods for deep learning", 2009, eq. 6."""
    return (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi


def test_places_grow_alike_as_the_arc_cosine_kernel_says():
    ops, shapes = [], {}
    for layer in range(3):
        ops.append(op(2 * layer, "linear", [2 * layer - 1], dense(f"w{layer}")))
        ops.append(op(2 * layer + 1, "activation", [2 * layer], nonlinearity="relu"))
        shapes[f"w{layer}"] = (WIDTH, WIDTH)
    laws = dict.fromkeys(shapes, VarianceScaling(2.0))
    found = said(ops, laws, Given(1.0, 0.0, 0.3, -0.2), **shapes)
    near, far = 0.3, -0.2
    for layer in range(3):
        near, far = arc_cosine(near), arc_cosine(far)
        assert found.elsewhere[2 * layer + 1] == pytest.approx(near, abs=2 * ERROR)
        assert found.another[2 * layer + 1] == pytest.approx(far, abs=2 * ERROR)
    assert abs(arc_cosine(0.3) - 0.3) > 2 * ERROR  # the mutant: a sample that keeps its correlation


def test_the_same_weights_give_the_same_of_the_same_and_as_much_alike_as_what_they_read():
    ops = [
        op(0, "linear", [INPUT], dense("v")),
        op(1, "linear", [0], dense("w")),
        op(2, "linear", [0], dense("w")),
        op(3, "add", [1, 2], minus=1),
        op(4, "linear", [0], dense("u")),
        op(5, "add", [1, 4], minus=1),
    ]
    one = VarianceScaling(1.0)
    shapes = dict.fromkeys("uvw", (WIDTH, WIDTH))
    found = said(ops, dict.fromkeys("uvw", one), **shapes).second_moments
    assert found[3] == pytest.approx(0.0, abs=1e-9)
    assert found[5] == pytest.approx(2.0, rel=ERROR)  # other weights: nothing in common


@pytest.mark.parametrize(("mean", "elsewhere", "another"), [(0.0, 0.4, 0.1), (0.6, 0.5, 0.45)])
def test_a_batch_norm_takes_away_what_all_places_share(mean, elsewhere, another):
    shared = (1 + (PLACES - 1) * elsewhere + (BATCH - 1) * PLACES * another) / (BATCH * PLACES)
    norm = op(0, "norm", [INPUT], name="batch_norm", shape=(BATCH, WIDTH, PLACES), axis=-2)
    found = said([norm], {}, Given(1.0, mean, elsewhere, another))
    assert found.second_moments[0] == pytest.approx(1.0, abs=1e-9)
    assert found.means[0] == pytest.approx(0.0, abs=ERROR)
    assert found.elsewhere[0] == pytest.approx((elsewhere - shared) / (1 - shared), abs=3 * ERROR)


def brute_taps(few, many, window, step, apart, begin):
    return [
        (place, place * step + tap * apart - begin)
        for place in range(few)
        for tap in range(window)
        if 0 <= place * step + tap * apart - begin < many
    ]


@pytest.mark.parametrize(
    ("size", "window", "step", "apart", "begin"), [(8, 3, 1, 1, 1), (9, 4, 2, 1, 1), (16, 3, 2, 2, 2), (7, 5, 3, 1, 0)]
)
def test_windows_at_the_border_are_counted(size, window, step, apart, begin):
    out = (size + 2 * begin - apart * (window - 1) - 1) // step + 1
    detail = {"stride": (step,), "padding": begin, "dilation": apart}
    conv = op(0, "conv", [INPUT], shape=(1, 4, out), reads=[(1, 4, size)], axis=-2, **detail)
    taps = brute_taps(out, size, window, step, apart, begin)
    ahead, back = padding.forward(conv, (1, 4, size), (window,)), padding.backward(conv, (1, 4, size), (window,))
    assert ahead.share == pytest.approx(len(taps) / (out * window))
    assert back.share == pytest.approx(len(taps) * step / (size * window))
    counts = np.bincount([place for place, _ in taps], minlength=out)
    assert ahead.profile[0] == pytest.approx(counts / counts.mean())
    turned = op(0, "conv_transpose", [INPUT], shape=(1, 4, size), reads=[(1, 4, out)], axis=-2, **detail)
    assert padding.forward(turned, (1, 4, out), (window,)).share == pytest.approx(back.share)
    assert padding.backward(turned, (1, 4, out), (window,)).share == pytest.approx(ahead.share)


def test_paddings_in_words_and_pairs_are_those_in_numbers():
    """SAME of an even stride pads (window - stride) // 2 before; lax pads a dilated input by window - 1 - padding."""
    size, window, step, begin = 8, 4, 2, 1
    shapes = {"shape": (1, size // step, 4), "reads": [(1, size, 4)], "stride": (step,), "dilation": 1}
    told = [op(0, "conv", [INPUT], **shapes, padding=given) for given in (begin, "same", ((begin, begin),))]
    first, *others = (padding.forward(one, (1, size, 4), (window,)) for one in told)
    assert all(one.share == first.share for one in others)
    shapes = {"shape": (1, size, 4), "reads": [(1, size // step, 4)], "stride": (step,), "dilation": 1}
    pair = window - 1 - begin
    told = [op(0, "conv_transpose", [INPUT], **shapes, padding=given) for given in (begin, "same", ((pair, pair),))]
    first, *others = (padding.forward(one, (1, size // step, 4), (window,)) for one in told)
    assert all(one.share == first.share for one in others)
    assert first.share < 1


def test_two_convolutions_read_the_middle_more_often():
    """On a line of n places, windows of 3: the second reads the ends of the first less often; counted one by one."""
    n, detail = 6, {"stride": (1,), "padding": 1, "dilation": 1}
    conv = op(0, "conv", [INPUT], shape=(1, 4, n), axis=-2, **detail)
    first = padding.forward(conv, (1, 4, n), (3,))
    second = padding.forward(conv, (1, 4, n), (3,), first.profile)
    energy = [sum(0 <= p + t < n for t in (-1, 0, 1)) for p in range(n)]
    again = [sum(energy[p + t] for t in (-1, 0, 1) if 0 <= p + t < n) for p in range(n)]
    assert first.share * second.share == pytest.approx(sum(again) / (9 * n))
    assert first.share * second.share != pytest.approx(first.share**2)  # the mutant: an even profile


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
def test_the_larger_of_two_neighbours(alike):
    """E max = sqrt((1 - c) / pi), E max^2 = 1: Clark, "The greatest of a finite set of random variables", 1961."""
    rows = windows.largest(normal_rows(Likeness(1.0, alike, 0.0), "a"), 2, 0, left=True)
    assert rows[HERE].mean() == pytest.approx(math.sqrt((1 - alike) / math.pi), abs=2 * ERROR)
    assert np.mean(rows[HERE] ** 2) == pytest.approx(1.0, rel=ERROR)


def test_an_average_keeps_what_its_neighbours_share():
    rows = windows.average(normal_rows(Likeness(1.0, 0.5, 0.2), "a"), 4, 0, left=False)
    found = likeness(rows)
    assert (found.here, found.elsewhere, found.another) == pytest.approx((0.625, 0.625, 0.2), abs=2 * ERROR)


def test_attention_without_scores_is_a_mean_and_with_large_ones_a_choice():
    value = Likeness(1.0, 0.3, 0.1)
    flat = averaged(value, weights(Attention(10, 10, 64, 0.0), value, value))
    assert flat.here == pytest.approx(0.3 + 0.7 / 10)
    sharp = averaged(value, weights(Attention(10, 10, 64, 1e6), value, Likeness(1.0)))
    assert sharp.here == pytest.approx(1.0, abs=0.05)


def test_softmax_weights_over_many_keys_have_the_moment_of_a_log_normal():
    """sum p^2 = E e^{2s} / (n (E e^s)^2) = e^{v} / n for scores of variance v and many keys."""
    attention, one = Attention(512, 512, 64, 64**-0.5), Likeness(1.0)
    found = weights(attention, one, Likeness(1.0, 0.5))  # what all keys share moves no weight
    assert found.same * 512 == pytest.approx(math.exp(0.5), rel=0.05)
    assert found.same * 512 != pytest.approx(math.e, rel=0.2)


def test_a_causal_mean_is_over_those_before():
    keys = 64
    found = weights(Attention(keys, keys, 8, 0.0, causal=True), Likeness(1.0), Likeness(1.0))
    assert found.same == pytest.approx(sum(1 / n for n in range(1, keys + 1)) / keys, rel=0.02)


# Backward


def test_a_map_and_a_relu_take_gradients_back():
    """E g^2 = std^2 fan_out E g'^2, and half of it behind a ReLU: He et al., "Delving deep", 2015, eq. 13."""
    ops = [
        op(0, "linear", [INPUT], dense("v")),
        op(1, "activation", [0], nonlinearity="relu"),
        op(2, "linear", [1], dense("w"), shape=(BATCH, PLACES, 4 * WIDTH), reads=[(BATCH, PLACES, WIDTH)]),
    ]
    laws = {"v": Normal(0.1), "w": Normal(0.02)}
    found = said(ops, laws, gradients={2: 3.0}, v=(WIDTH, WIDTH), w=(4 * WIDTH, WIDTH)).gradients
    assert found[1] == pytest.approx(3 * 0.02**2 * 4 * WIDTH, rel=1e-9)
    assert found[0] == pytest.approx(found[1] / 2, rel=2 * ERROR)


def test_a_stream_gets_its_own_gradient_and_that_of_its_branch():
    ops = [
        op(0, "linear", [INPUT], dense("v")),
        op(1, "linear", [0], dense("w")),
        op(2, "add", [0, 1]),
    ]
    one = VarianceScaling(0.5)
    found = said(ops, {"v": one, "w": one}, gradients={2: 1.0}, v=(WIDTH, WIDTH), w=(WIDTH, WIDTH)).gradients
    assert found[0] == pytest.approx(1.5, rel=2 * ERROR)


def test_a_gate_and_its_input_are_taken_together():
    """y = x sigmoid(x): E y'^2 is that of SiLU, 0.3795 by quadrature, not a sum of two independent parts."""
    ops = [
        op(0, "linear", [INPUT], dense("v")),
        op(1, "activation", [0], nonlinearity="sigmoid"),
        op(2, "mul", [0, 1]),
    ]
    found = said(ops, {"v": VarianceScaling(1.0)}, gradients={2: 1.0}, v=(WIDTH, WIDTH)).gradients
    z, w = np.polynomial.hermite_e.hermegauss(80)
    sigmoid = 1 / (1 + np.exp(-z))
    slope = sigmoid + z * sigmoid * (1 - sigmoid)
    assert found[0] == pytest.approx(float(w @ slope**2 / w.sum()), rel=2 * ERROR)
    apart = float(w @ (sigmoid**2 + (z * sigmoid * (1 - sigmoid)) ** 2) / w.sum())
    assert found[0] != pytest.approx(apart, rel=2 * ERROR)


def test_a_mean_over_places_divides_the_gradient_among_them():
    ops = [
        op(0, "linear", [INPUT], dense("v")),
        op(1, "reduce", [0], name="mean", shape=(BATCH, WIDTH), reads=[(BATCH, PLACES, WIDTH)]),
    ]
    found = said(ops, {"v": VarianceScaling(1.0)}, gradients={1: 1.0}, v=(WIDTH, WIDTH)).gradients
    assert found[0] == pytest.approx(1 / PLACES**2, rel=1e-6)


def test_half_of_the_features_carry_half_of_the_gradient():
    half = (BATCH, PLACES, WIDTH // 2)
    ops = [
        op(0, "linear", [INPUT], dense("v")),
        op(1, "slice", [0], shape=half, reads=[(BATCH, PLACES, WIDTH)], root=0, runs=((0, WIDTH // 2),)),
        op(2, "slice", [0], shape=half, reads=[(BATCH, PLACES, WIDTH)], root=0, runs=((WIDTH // 2, WIDTH // 2),)),
    ]
    gradients = {1: 1.0, 2: 3.0}
    found = said(ops, {"v": VarianceScaling(1.0)}, gradients=gradients, v=(WIDTH, WIDTH)).gradients
    assert found[0] == pytest.approx(2.0, rel=2 * ERROR)


def test_a_norm_divides_the_gradient_by_the_size_of_the_signal():
    ops = [
        op(0, "linear", [INPUT], dense("v")),
        op(1, "norm", [0], Use("g", "scale"), name="layer_norm"),
    ]
    laws = {"v": VarianceScaling(25.0), "g": Ones()}
    found = said(ops, laws, gradients={1: 1.0}, v=(WIDTH, WIDTH), g=(WIDTH,)).gradients
    assert found[0] == pytest.approx(1 / 25, rel=ERROR)


def test_a_token_that_every_example_reads_gathers_their_gradients():
    ops = [
        op(0, "parameter", [], Use("t", "operand"), shape=(1, 1, WIDTH), reads=[]),
        op(1, "concat", [0, INPUT], shape=(BATCH, 2, WIDTH), reads=[(BATCH, 1, WIDTH), (BATCH, 1, WIDTH)]),
    ]
    found = said(ops, {"t": Normal(0.02)}, gradients={1: 1.0}, t=(1, 1, WIDTH)).gradients
    assert found[0] == pytest.approx(BATCH, rel=10 * ERROR)


# Width


@pytest.mark.parametrize("name", ["relu", "linear", "tanh"])
def test_bands_are_those_of_a_plain_network(name):
    """One example: the variance of the log-length of `width`, whose ReLU case is Hanin and Nica's theorem."""
    depth, width = 8, 200
    field = MeanField(name, {"relu": 2**0.5, "linear": 1.0, "tanh": 1.5925374197228312}[name])
    ops, shapes, last = [], {}, INPUT
    for layer in range(depth):
        ops.append(op(len(ops), "linear", [last], dense(f"w{layer}"), shape=(1, width)))
        last = len(ops) - 1
        if layer < depth - 1 and name != "linear":
            ops.append(op(len(ops), "activation", [last], nonlinearity=name, shape=(1, width)))
            last = len(ops) - 1
        shapes[f"w{layer}"] = (width, width)
    laws = dict.fromkeys(shapes, Normal(field.sigma_w / math.sqrt(width)))
    found = said(ops, laws, gradients={}, **shapes).scatters[last]
    expected = log_lengths(field, [width] * depth)[-1].variance
    assert found == pytest.approx(expected, rel=0.1)  # kurtosis of a sample: errs by 24 / SAMPLES of 2, times depth
    assert found != pytest.approx(expected * 1.5, rel=0.1)


def test_rows_are_where_they_are_said_to_be():
    assert (HERE, ELSEWHERE, ANOTHER) == (0, 1, 2)
    rows = normal_rows(Likeness(2.0, 1.0, -0.5), "x")
    found = likeness(rows)
    assert (found.here, found.elsewhere, found.another) == pytest.approx((2.0, 1.0, -0.5), abs=2 * 2 * ERROR)
    assert likeness(np.zeros((3, SAMPLES))) == Likeness(0.0, 0.0, 0.0)


def test_zeros_stay_zeros():
    ops = [op(0, "linear", [INPUT], dense("v")), op(1, "norm", [0], name="layer_norm")]
    found = said(ops, {"v": Zeros()}, gradients={1: 1.0}, v=(WIDTH, WIDTH))
    assert found.second_moments == (0.0, 0.0)
    assert math.isnan(found.gradients[0])


@pytest.mark.parametrize(("window", "step"), [(4, 2), (2, 2), (3, 1), (6, 3), (5, 2)])
def test_places_of_a_transposed_convolution_share_the_taps_of_their_phase_alone(window, step):
    """A signal of ones through weights of variance 1: what two places have in common is the taps that both read."""
    rng = np.random.default_rng(0)
    places, inits = 60, 4000
    kernels = rng.normal(size=(inits, window))
    out = np.zeros((inits, places))
    for source in range(-window, places // step + window):
        for tap in range(window):
            if 0 <= source * step + tap < places:
                out[:, source * step + tap] += kernels[:, tap]
    detail = Convolution((step,))
    few = places // step
    made = Op(0, OpKind.CONV_TRANSPOSE, "t", "", 0, 0, (-1,), shape=(1, 1, step * few), axis=-2, detail=detail)
    found = padding.forward(made, (1, 1, few), (window,))
    measured = out.mean(1) ** 2 / (out**2).mean(1).mean()
    error = 5 * measured.std() / math.sqrt(inits)
    border = 2 * window / places  # windows that stand over the border, of which the infinite signal has none
    assert found.alike == pytest.approx(measured.mean(), abs=error + border * measured.mean())
    if step > 1:
        assert found.alike * step != pytest.approx(measured.mean(), abs=error + border * measured.mean())  # the mutant
