"""Residual streams: where branches join them, how many, and what is no residual at all."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from zoo.registry import models  # noqa: E402

from ..traced import Wrapped, normal, traced, traced_specimen  # noqa: E402

ZOO = models("torch", "structure")

X = normal(4, 6)


def by_stream(trace):
    """How many joins each stream has, in the order in which the streams begin."""
    return tuple({join.first: join.total for join in trace.joins}.values())


def count(names, *streams):
    return dict.fromkeys(names.split(), streams)


# What the forward of each model says, for the depth and the configuration of its specimen.
JOINS = {
    **count("bert bert_classifier roberta albert distilbert electra deberta_v2 xlnet fnet convbert", 4),  # 2 a layer
    **count("gpt2 gpt_neo opt bloom mpt phi3 llama mistral qwen2 qwen3 gemma2 olmo2 stablelm", 4),
    **count("mixtral qwen2_moe olmoe rwkv", 4),
    **count("gpt_neox gptj falcon phi mamba mamba2", 2),  # attention and perceptron are added to each other first
    **count("cohere", 4),  # parallel as well, but added to the stream one after the other
    **count("t5 t5_gated bart mbart pegasus whisper nn_transformer", 4, 6),  # encoder 2, decoder 3 a layer
    **count("time_series_transformer informer", 4, 6),
    **count("perceiver", 6, 1),  # cross-attention to the latents and two layers; the decoder keeps no query
    **count("vit deit beit dinov2 dinov2_swiglu patchtst", 4),
    **count("clip", 4, 4),  # images, text
    **count("swin swinv2 segformer cvt poolformer", 2, 4),  # stages of 1 and 2 layers
    **count("convnext convnextv2 resnet resnet_bottleneck regnet bit", 1, 2),
    **count("mobilenet_v2", 1, 2, 3, 2, 2),  # blocks that keep the width and the size
    **count("mobilevit", 1, 2, 4, 8, 6),  # as before, and transformers of 2, 4 and 3 layers
    **count("efficientnet", 1, 1),
    **count("detr", 1, 1, 4, 5),  # the decoder's first sum adds to zeros
    **count("wav2vec2 hubert", 5),  # 2 a layer and the convolutional positions
    **count("wav2vec2_conformer", 8),
    **count("nn_encoder_post_norm nn_encoder_pre_norm swiglu_lm tied_lm post_norm_lm mixer", 4),
    **count(
        "nn_attention nn_cross_attention residual_mlp rezero skip_init layer_scale stacked_experts residual_conv", 2
    ),
    **count("in_place", 1),
    **count("nn_rnn nn_rnn_relu nn_gru nn_lstm nn_lstm_bidirectional nn_lstm_projected nn_lstm_cell highway"),
    **count("mlp mlp_deep mlp_batch_norm mlp_layer_norm shared_twice functional weight_norm spectral_norm positive"),
    **count("glu scaled low_rank bilinear with_unused siren embedding_bag conv_separable conv_grouped squeeze_excite"),
    **count("inception densenet unet generator fourier conv_1d conv_3d"),
}


def test_the_table_has_every_specimen():
    assert set(ZOO) <= set(JOINS)


@pytest.mark.parametrize("specimen", ZOO.values(), ids=ZOO)
def test_streams_of_the_zoo(specimen):
    trace = traced_specimen(specimen)
    assert by_stream(trace) == JOINS[specimen.name]
    for join in trace.joins:
        peers = [other for other in trace.joins if other.first == join.first]
        assert join.depth == peers.index(join)
        assert join.stream < join.op > join.branch
        assert {join.stream, join.branch} == set(trace.ops[join.op].inputs)


def linears(*names, width=6):
    return {name: nn.Linear(width, width) for name in names}


def blocks(function, depth=3):
    """A stack of blocks `x = function(branch, x)`, each with its own perceptron."""

    def forward(m, x):
        for i in range(depth):
            x = function(lambda y, i=i: m.b[i](torch.relu(m.a[i](y))), x)
        return x

    held = {name: nn.ModuleList(nn.Linear(6, 6) for _ in range(depth)) for name in "ab"}
    return Wrapped(forward, **held)


def norm(x):
    return F.layer_norm(x, (6,))


def joined(f, x):
    return x + f(x)


def doubled(x):
    return x + x


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(x + 0.04 * x**3))


STREAMS = [
    ("pre-norm", lambda f, x: x + f(norm(x)), (3,)),
    ("post-norm", lambda f, x: norm(f(x) + x), (3,)),
    ("sandwich", lambda f, x: x + norm(f(norm(x))), (3,)),
    ("in place", lambda f, x: f(x).add_(x), (3,)),
    ("activation after the sum", lambda f, x: torch.relu(x + f(x)), (3,)),
    ("two parallel branches", lambda f, x: (x + f(norm(x))) + f(norm(x).tanh()), (6,)),
    ("added to each other first", lambda f, x: x + (f(norm(x)) + f(x.tanh())), (3,)),
    ("scaled branch", lambda f, x: x + 0.1 * f(x), (3,)),
    ("scaled stream", lambda f, x: 2.0 * x + f(x), (3,)),
    ("subtracted branch", lambda f, x: x - f(x), (3,)),
    ("nested", lambda f, x: x + joined(f, torch.tanh(f(x))), (3, 1, 1, 1)),
    ("pooled branch", lambda f, x: x + F.avg_pool1d(x, 3, 1, 1), (3,)),
    ("plain", lambda f, x: f(x), ()),
    ("subtracted stream", lambda f, x: f(x) - x, ()),
    ("doubled", lambda f, x: f(x) + f(x), ()),
    ("the same twice", lambda f, x: doubled(f(x)), ()),
    ("concatenated", lambda f, x: torch.cat([x[:, :3], f(x)[:, 3:]], -1), ()),
    ("gated", lambda f, x: f(x) * x, ()),
    ("GELU by hand", lambda f, x: gelu(f(x)), ()),
    ("elementwise sum", lambda f, x: joined(torch.sin, f(x)), ()),
]


@pytest.mark.parametrize(("function", "streams"), [case[1:] for case in STREAMS], ids=[case[0] for case in STREAMS])
def test_streams_by_hand(function, streams):
    found = by_stream(traced(Wrapped(lambda m, x: m.s(m.e(x)), e=nn.Linear(6, 6), s=blocks(function)), X))
    assert sorted(found) == sorted(streams)


def test_a_projected_shortcut_begins_a_stream():
    def forward(m, x):
        x = m.short(x) + m.b(torch.relu(m.a(x)))
        return x + m.d(torch.relu(m.c(x)))

    trace = traced(Wrapped(forward, **linears("short", "a", "b", "c", "d")), X)
    assert by_stream(trace) == (2,)
    assert [trace.ops[join.stream].module for join in trace.joins][:1] == ["short"]


def test_a_low_rank_update_is_no_residual():
    model = Wrapped(lambda m, x: m.w(x) + m.b(m.a(x)), **linears("w", "a", "b"))
    assert traced(model, X).joins == ()


def test_an_additive_mask_is_no_residual():
    def forward(m, x, mask):
        scores = m.q(x) @ m.k(x).T + mask
        return scores.softmax(-1) @ m.v(x)

    assert traced(Wrapped(forward, **linears("q", "k", "v")), X, torch.zeros(4, 4)).joins == ()


def test_a_learned_state_is_a_stream():
    def forward(m, x):
        return m.latents + m.o(torch.softmax(m.q(m.latents) @ m.k(x).T, -1) @ x)

    trace = traced(Wrapped(forward, latents=normal(3, 6), **linears("q", "k", "o")), X)
    assert by_stream(trace) == (1,)
    assert trace.ops[trace.joins[0].stream].kind == "parameter"


def test_a_position_table_is_no_stream():
    trace = traced(Wrapped(lambda m, x: m.a(x + m.p), p=normal(4, 6), **linears("a")), X)
    assert trace.joins == ()
    assert trace.ops[0].used("shift")[0].path == "p"
