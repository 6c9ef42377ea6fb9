import math

import pytest

from fanwise import Layout, Normal, he_normal, lecun_normal, ones, orthogonal, zeros
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row

DENSE = Layout.dense("in out")
LECUN = 'LeCun et al., "Efficient BackProp", 1998, eq. 16'
GPT = 'Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.3'


def norm(path, width):
    return [
        Row(f"{path}.weight", (width,), "float32", ones, None, "norm_scale", "norm", "A norm's scale starts at 1."),
        Row(f"{path}.bias", (width,), "float32", zeros, None, "bias", "norm", "Biases start at 0."),
    ]


def linear(path, shape, law, *, layout=DENSE, role="weight", reason="Keeps the second moment.", source=LECUN):
    return [
        Row(f"{path}.weight", shape, "float32", law, layout, role, "linear", reason, source),
        Row(f"{path}.bias", shape[1:], "float32", zeros, None, "bias", "linear", "Biases start at 0."),
    ]


def block(path, width, layers):
    end = {"role": "branch_end", "reason": f"Ends one of {2 * layers} residual branches that add up.", "source": GPT}
    small = Normal(0.02 / math.sqrt(2 * layers))
    return [
        *norm(f"{path}.ln_1", width),
        *linear(f"{path}.attn.c_attn", (width, 3 * width), lecun_normal, layout=DENSE.fuse(1, 3)),
        *linear(f"{path}.attn.c_proj", (width, width), small, **end),
        *norm(f"{path}.ln_2", width),
        *linear(f"{path}.mlp.c_fc", (width, 4 * width), he_normal),
        *linear(f"{path}.mlp.c_proj", (4 * width, width), small, **end),
    ]


def transformer(layers=12, width=768):
    """A language model of 12 * layers + 6 parameters, with one of every strange kind."""
    table = Layout.embedding()
    words = "A table that is the head too: its std is that of the logits' weights."
    rows = [
        Row("wte.weight", (50257, width), "float32", Normal(0.02), table, "embedding", "embedding", words, GPT),
        Row("wpe.weight", (1024, width), "float32", Normal(0.01), table, "embedding", "embedding", "Half of it.", GPT),
        *(row for i in range(layers) for row in block(f"h.{i}", width, layers)),
        *norm("ln_f", width),
        Row("probe.weight", (10, width), "float32", None, Layout.dense("out in"), "unused", "", "No op reads it."),
        Row(
            "adapter[0].mix[bold]",
            (width, width),
            "bfloat16",
            orthogonal,
            DENSE,
            "weight",
            "linear",
            "What follows it was not seen.",
            aliases=("adapter[1].mix[bold]",),
            guess=True,
            factor=0.97,
        ),
    ]
    return Plan(rows, "depth", "torch 2.13", "tokens: int64 (4, 128)")


@pytest.fixture(scope="session")
def plan():
    return transformer()


@pytest.fixture(scope="session")
def large():
    return transformer(layers=83)


@pytest.fixture
def convnet():
    """Stages whose first block differs, layers that are numbered with gaps."""
    layout = Layout.conv("out in kernel kernel")

    def conv(path, inputs, outputs):
        return Row(path, (outputs, inputs, 3, 3), "float32", he_normal, layout, "weight", "conv", "He.")

    widths = [(8, 16), (16, 16), (16, 16)]
    stages = [conv(f"layer{s}.{b}.conv1.weight", *widths[b]) for s in (1, 2) for b in range(3)]
    return Plan([*stages, *(conv(f"tail.{i}.weight", 16, 16) for i in (0, 3, 6)), conv("tail.8.weight", 16, 16)])
