"""The published recipes and profiles on torch models: what they plan, and what the planned models then do."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from fanwise.laws.elementwise import Normal, Zeros  # noqa: E402
from fanwise.plan.recipes.recipe import Feed  # noqa: E402
from fanwise.plan.recipes.registry import RECIPES  # noqa: E402
from fanwise.plan.roles import cases  # noqa: E402
from fanwise.plan.row import Row  # noqa: E402
from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.trace.run import Inputs, run  # noqa: E402
from fanwise.torch.weights.apply import apply  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import Wrapped, made, normal, traced_specimen  # noqa: E402

ZOO = models("torch", "structure")


def planned(model, inputs, name):
    return {row.path: row for row in plan(model, inputs, RECIPES[name]).rows}


def applied(model, inputs, name, key=0):
    return apply(model, plan(model, inputs, RECIPES[name]), key)


# Every recipe on every specimen


@pytest.mark.parametrize("specimen", ZOO.values(), ids=ZOO)
def test_every_recipe_plans_every_specimen(specimen):
    """Every choice makes a row: its law fits the parameter's shape and layout. What no op uses is left alone."""
    found = cases(traced_specimen(specimen))
    for recipe in RECIPES.values():
        rows = {path: row_of(case, recipe.choose(case, Feed())) for path, case in found.items()}
        assert all(row.reason for row in rows.values())
        assert all(row.std is None or math.isfinite(row.std) for row in rows.values())
        assert all(row.law is None for row in rows.values() if row.role == "unused")


def row_of(case, choice):
    parameter = case.parameter
    kind = "" if case.op is None else case.op.kind
    return Row(
        parameter.path, parameter.shape, parameter.dtype, choice.law, case.layout, case.role, kind, choice.reason
    )


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("specimen", ["nn_transformer", "nn_lstm_projected", "residual_conv", "swiglu_lm", "unet"])
def test_a_planned_model_runs(name, specimen):
    model = made(ZOO[specimen])
    args, kwargs = ZOO[specimen].batch()
    applied(model, Inputs(args, kwargs), name)
    with torch.no_grad():
        assert ZOO[specimen].traits.logits(model(*args, **kwargs)).isfinite().all()


# torch's own layers


class Picked(nn.Module):
    """A layer in a model that gives it what it needs and returns its first output."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, x):
        found = self.call(self.layer, x)
        return found[0] if isinstance(found, tuple) else found


def itself(layer, x):
    return layer(x)


def thrice(layer, x):
    return layer(x, x, x)


def twice(layer, x):
    return layer(x, x)


def other_widths(layer, x):
    return layer(x, x[..., :80], x[..., :48])


def tokens(high):
    return torch.arange(12).reshape(3, 4) % high


LAYERS = {
    "linear": (lambda: nn.Linear(500, 300), itself, (2, 500)),
    "conv": (lambda: nn.Conv2d(24, 60, 5, stride=2), itself, (2, 24, 9, 9)),
    "conv grouped": (lambda: nn.Conv2d(64, 128, 3, groups=4), itself, (2, 64, 5, 5)),
    "conv depthwise": (lambda: nn.Conv1d(4000, 4000, 5, groups=4000), itself, (2, 4000, 7)),
    "conv 3d": (lambda: nn.Conv3d(16, 40, 3), itself, (2, 16, 4, 4, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(100, 20, 4, stride=2), itself, (2, 100, 3, 3)),
    "transposed grouped": (lambda: nn.ConvTranspose1d(400, 100, 8, stride=4, groups=4), itself, (2, 400, 5)),
    "bilinear": (lambda: nn.Bilinear(50, 50, 40), twice, (3, 50)),
    "lstm": (lambda: nn.LSTM(70, 90, 2), itself, (3, 2, 70)),
    "lstm projected": (lambda: nn.LSTM(70, 90, proj_size=40), itself, (3, 2, 70)),
    "gru": (lambda: nn.GRU(70, 90, bidirectional=True), itself, (3, 2, 70)),
    "rnn": (lambda: nn.RNN(70, 90), itself, (3, 2, 70)),
    "lstm cell": (lambda: nn.LSTMCell(70, 90), itself, (3, 70)),
    "gru cell": (lambda: nn.GRUCell(70, 90), itself, (3, 70)),
    "attention": (lambda: nn.MultiheadAttention(160, 4, add_bias_kv=True), thrice, (3, 2, 160)),
    "attention of three widths": (
        lambda: nn.MultiheadAttention(160, 4, kdim=80, vdim=48),
        other_widths,
        (3, 2, 160),
    ),
    "layer norm": (lambda: nn.LayerNorm(40), itself, (3, 40)),
    "batch norm": (lambda: nn.BatchNorm1d(40), itself, (3, 40)),
    "group norm": (lambda: nn.GroupNorm(4, 40), itself, (3, 40, 5)),
    "rms norm": (lambda: nn.RMSNorm(40), itself, (3, 40)),
    "prelu": (lambda: nn.PReLU(40), itself, (3, 40)),
}


def agrees(row, tensor):
    """Whether a tensor can be a draw of a row's law: std to 5 standard errors, nothing outside the bounds."""
    moments = row.law.moments(row.shape, layout=row.layout)
    numbers = tensor.detach().double().flatten()
    if moments.std == 0:
        return bool((numbers == moments.mean).all())
    uniform = moments.high < 1.8 * moments.std
    kurtosis, spread = (1.8, 0.98) if uniform else (3.0, 0.0)
    error = 5 * math.sqrt((kurtosis - 1) / (4 * len(numbers)))
    largest = float(numbers.abs().max())
    reaches = spread * moments.high <= largest <= moments.high * (1 + 1e-6) or len(numbers) < 500
    return reaches and abs(float((numbers**2).mean()) ** 0.5 / moments.std - 1) <= error


@pytest.mark.parametrize("name", LAYERS)
def test_the_torch_profile_is_what_torch_does(name):
    build, call, shape = LAYERS[name]
    torch.manual_seed(1)
    model = Picked(build(), call)
    rows = planned(model, normal(*shape), "torch-2.13")
    for path, tensor in model.named_parameters():
        assert agrees(rows[path], tensor), (path, rows[path].law)
        assert "torch" in rows[path].source
    assert not [path for path, tensor in model.named_parameters() if agrees(rows[path], larger(tensor))]


def larger(tensor):
    """The mutant: 10 % more, or three times as much where there are few numbers."""
    return tensor * (1.1 if tensor.numel() > 2000 else 3) + 1e-3


@pytest.mark.parametrize("padding", [None, 7])
def test_the_torch_profile_of_tables(padding):
    for layer in (nn.Embedding(3000, 40, padding_idx=padding), nn.EmbeddingBag(3000, 40, padding_idx=padding)):
        torch.manual_seed(1)
        layer.reset_parameters()
        row = planned(layer, tokens(3000), "torch-2.13")["weight"]
        assert agrees(row, layer.weight)
        assert not agrees(row, layer.weight * 1.05)


def test_a_bias_of_a_transposed_convolution_has_its_wrong_fan():
    rows = planned(nn.ConvTranspose2d(100, 20, 4, stride=2), normal(2, 100, 3, 3), "torch-2.13")
    assert rows["bias"].law == rows["weight"].law
    assert rows["bias"].law.bound == 1 / math.sqrt(20 * 16)


def test_torch_s_own_network_loses_five_sixths_a_layer():
    """numbers 7: std sqrt(fan_in) = 0.57735, so a ReLU and a map keep 1/6 of the second moment."""
    row = planned(nn.Linear(784, 100), normal(2, 784), "torch-2.13")["weight"]
    assert row.gain == pytest.approx(0.57735, abs=5e-6)
    assert row.gain**2 / 2 == pytest.approx(1 / 6)


# Depth


class Sum(nn.Module):
    """x + W x, again and again."""

    def __init__(self, depth, width=512):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 4)

    def stream(self, x):
        for linear in self.maps:
            x = x + linear(x)
        return x

    def forward(self, x):
        return self.head(self.norm(self.stream(x)))


def growth(depth, name):
    """Second moment of the stream's end over its beginning; the median of three keys."""
    x, found = normal(512, 512), []
    for key in range(3):
        model = applied(Sum(depth), x, name, key)
        with torch.no_grad():
            found.append(float(model.stream(x).square().mean() / x.square().mean()))
    return sorted(found)[1]


@pytest.mark.parametrize(
    ("depth", "name", "expected", "tolerance"),
    [
        (10, "lecun", 2**10, 0.15),  # 1127 in one measurement: the error grows with the depth
        (10, "unit", 2.5937, 0.05),
        (50, "unit", 2.6916, 0.05),
        (10, "gpt2", (1 + 0.2048 / 10) ** 10, 0.03),  # 512 * 0.02^2 / L of the stream at each join
        (50, "gpt2", (1 + 0.2048 / 50) ** 50, 0.03),
        (10, "fixup", 1, 0),
        (50, "fixup", 1, 0),
    ],
)
def test_growth_of_a_stream(depth, name, expected, tolerance):
    """numbers 12 and 18: 2^L for branches of unit gain, (1 + 1/L)^L for branches with 1/L of the stream."""
    found = growth(depth, name)
    assert found == pytest.approx(expected, rel=tolerance + 1e-12)
    assert found != pytest.approx(expected * 1.4, rel=tolerance + 1e-12)


RESIDUAL = ("residual_mlp", "layer_scale", "rezero", "skip_init", "residual_conv", "swiglu_lm", "post_norm_lm", "mixer")
RESIDUAL += ("nn_encoder_pre_norm", "nn_transformer", "resnet", "vit", "convnext")


def residual_models():
    return [ZOO[name] for name in RESIDUAL if name in ZOO]


def one_stack():
    """Those whose every branch leads to the outputs: an encoder waits for its decoder's branches."""
    return [specimen for specimen in residual_models() if specimen.name != "nn_transformer"]


@pytest.mark.parametrize("specimen", residual_models(), ids=lambda specimen: specimen.name)
def test_after_fixup_every_branch_and_every_logit_is_0(specimen):
    """numbers 12: the loss is ln C."""
    model = made(specimen)
    args, kwargs = specimen.batch()
    inputs = Inputs(args, kwargs)
    applied(model, inputs, "fixup")
    sizes = Sizes()
    trace = run(model, inputs, sizes)
    assert len(trace.joins) >= specimen.traits.depth
    assert [sizes.moments[join.branch] for join in trace.joins] == [0.0] * len(trace.joins)
    with torch.no_grad():
        logits = specimen.traits.logits(model.eval()(*args, **kwargs))
    assert not logits.any()
    loss = nn.functional.cross_entropy(logits.flatten(0, -2), torch.zeros(logits[..., 0].numel(), dtype=torch.long))
    assert float(loss) == pytest.approx(math.log(specimen.traits.classes), rel=1e-6)


@pytest.mark.parametrize("specimen", one_stack(), ids=lambda specimen: specimen.name)
def test_after_fixup_every_branch_can_leave_0(specimen):
    """The last factor of every branch has a gradient once the head has moved."""
    model = made(specimen)
    args, kwargs = specimen.batch()
    rows = applied_rows(model, Inputs(args, kwargs))
    heads = [path for path, row in rows.items() if row.role == "head"]
    with torch.no_grad():
        for path in heads:
            model.get_parameter(path).normal_(generator=torch.Generator().manual_seed(3))
    logits = specimen.traits.logits(model.eval()(*args, **kwargs))
    nn.functional.cross_entropy(logits.flatten(0, -2), torch.ones(logits[..., 0].numel(), dtype=torch.long)).backward()
    stuck = [path for path, row in rows.items() if row.role in ENDS and row.law == Zeros() and not moves(model, path)]
    assert not stuck


ENDS = ("branch_end", "branch_norm", "branch_gate")


def moves(model, path):
    gradient = model.get_parameter(path).grad
    return gradient is not None and bool(gradient.any())


def applied_rows(model, inputs):
    found = plan(model, inputs, RECIPES["fixup"])
    apply(model, found, 0)
    return {row.path: row for row in found.rows}


class Sizes:
    """A visitor that notes the second moment of every output."""

    def __init__(self):
        self.moments = {}

    def before(self, op, moment):
        return {}

    def after(self, op, moment):
        self.moments[op.index] = moment()


# Width and depth of plain networks


def perceptron(depth, width=256):
    layers = [layer for _ in range(depth - 1) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, width))


def log_second_moments(name, depth=30, seeds=8):
    x = normal(64, 256)
    with torch.no_grad():
        outputs = [applied(perceptron(depth), x, name, key)(x) for key in range(seeds)]
    return [math.log(float(y.square().mean() / x.square().mean())) for y in outputs]


def test_glorot_loses_half_a_layer_and_he_nothing():
    """numbers 6: 2^-L of the second moment after L maps; the logarithm varies by 5 L / width."""
    variance = 5 * 30 / 256
    error = 5 * math.sqrt(variance / 8) + variance / 2
    halvings = {"glorot": 29, "he": -1}  # the first map sees no ReLU; he has a factor 2 there all the same
    for name, expected in halvings.items():
        logs = log_second_moments(name)
        assert abs(sum(logs) / 8 + expected * math.log(2)) < error, name
    assert abs(sum(log_second_moments("glorot")) / 8 + 27 * math.log(2)) > error / 3


def test_he_is_lecun_with_a_factor_for_each_relu():
    """The same numbers, times sqrt(2) for each of 30 maps: 2^15, the 3.05e-5 of numbers 6."""
    pairs = zip(log_second_moments("he", seeds=2), log_second_moments("lecun", seeds=2), strict=True)
    for he, lecun in pairs:
        assert math.exp((lecun - he) / 2) == pytest.approx(3.0517578e-5, rel=1e-4)


# GPT-2


@pytest.fixture(scope="module")
def small_gpt2():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.GPT2Config(n_layer=2, n_positions=64)
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config).eval()


@pytest.mark.slow
def test_the_loss_of_gpt2_at_the_start(small_gpt2):
    """numbers 18: ln V + s^2 / 2 = 10.9785 for V = 50257, with s^2 = 768 * 0.0004 = 0.3072 (1 %)."""
    ids = torch.randint(0, 50257, (4, 64), generator=torch.Generator().manual_seed(4))
    found = plan(small_gpt2, Inputs((ids,)), RECIPES["gpt2"])
    apply(small_gpt2, found, 0)
    variance, loss = logits_of(small_gpt2, ids)
    assert variance == pytest.approx(0.3072, rel=0.01)
    assert loss == pytest.approx(10.9785, rel=0.01)
    (table,) = (row.path for row in found.rows if row.role == "tied_embedding")
    apply(small_gpt2, found.edit(table, Normal(0.0206)), 0)
    assert logits_of(small_gpt2, ids)[0] != pytest.approx(0.3072, rel=0.01)


def logits_of(model, ids):
    with torch.no_grad():
        logits = model(ids).logits.flatten(0, 1)
    targets = torch.randint(0, 50257, (len(logits),), generator=torch.Generator().manual_seed(5))
    return float(logits.var()), float(nn.functional.cross_entropy(logits, targets))


def test_gpt2_names_no_module():
    """The ends of the branches are found by what they do, whatever their names: nanoGPT's usual bug."""
    specimen = ZOO["swiglu_lm"]
    rows = planned(made(specimen), Inputs(*specimen.batch()), "gpt2")
    ends = {path for path, row in rows.items() if row.std == pytest.approx(0.02 / math.sqrt(2 * specimen.traits.depth))}
    assert len(ends) == 2 * specimen.traits.depth
    assert {row.std for path, row in rows.items() if row.role in ("weight", "head", "embedding")} == {0.02}


# Fused projections


def test_deepnorm_leaves_queries_and_keys_alone():
    """In a packed matrix of a real attention the thirds differ by beta; 5 standard errors."""
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(64, 2, 128, batch_first=True), 3, enable_nested_tensor=False
    )
    held = Wrapped(lambda self, x: self.head(self.body(x)), body=model, head=nn.Linear(64, 5))
    applied(held, normal(2, 7, 64), "deepnorm")
    packed = model.layers[1].self_attn.in_proj_weight.detach()
    xavier, beta, error = math.sqrt(1 / 64), (8 * 3) ** -0.25, 5 / math.sqrt(2 * 64 * 64)
    stds = [float(part.std()) / xavier for part in packed.chunk(3)]
    assert stds == pytest.approx([1, 1, beta], rel=error)
    assert stds != pytest.approx([beta] * 3, rel=error)
    assert stds != pytest.approx([1, 1, beta * 1.1], rel=error)
