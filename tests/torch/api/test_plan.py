"""The plan of every model of the zoo: complete, repeatable, and good at step zero at any depth."""

import hashlib
import math
from contextlib import contextmanager

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import fanwise as fw  # noqa: E402
import fanwise.torch as fwt  # noqa: E402
from fanwise.plan.roles import ROLES  # noqa: E402
from fanwise.torch import Inputs  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import block_names  # noqa: E402

ZOO = models("torch", "structure")

SPECIMENS = list(ZOO.values())
DEEPEST = 64
GROWS_ONCE = {"xlnet"}
"""Post-norm models whose tied table enters their first norm as it is: a norm sets the level whatever entered."""
UNSCALABLE = {"bit"}
"""Models that standardise their weights: no law makes their branches smaller."""
UNKNOWN = {"positive"}
"""Models that make their weights from parameters in a way of their own, so the plan leaves those as they are."""

every = pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda s: s.name)
deep = pytest.mark.parametrize("specimen", [s for s in SPECIMENS if s.traits.deep], ids=lambda s: s.name)
with_logits = pytest.mark.parametrize("specimen", [s for s in SPECIMENS if s.traits.logits], ids=lambda s: s.name)


def built(specimen, depth=None, seed=0):
    torch.manual_seed(seed)
    return specimen.build(depth or specimen.traits.depth)


def inputs_of(specimen):
    args, kwargs = specimen.batch()
    return Inputs(args, kwargs)


def planned(specimen, depth=None, recipe="unit"):
    model = built(specimen, depth)
    return model, fwt.plan(model, inputs_of(specimen), recipe)


@contextmanager
def evaluating(model):
    """Dropout off, batch norms on the batch's own statistics."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    with torch.no_grad():
        yield


def guessing_loss(specimen, model):
    """The expected cross-entropy of labels that are drawn evenly, over ln C."""
    inputs = inputs_of(specimen)
    with evaluating(model):
        logits = specimen.traits.logits(model(*inputs.args, **inputs.kwargs)).float()
    loss = (logits.logsumexp(-1) - logits.mean(-1)).mean().item()
    return loss / math.log(logits.shape[-1])


def second_moment(value):
    tensor = value[0] if isinstance(value, (tuple, list)) else value
    return tensor.float().square().mean().item()


def block_ratios(specimen, model):
    """Second moment of each block's output over that of its input."""
    found = []

    def hook(module, args, kwargs, output):
        entered = second_moment(args[0] if args else next(iter(kwargs.values())))
        found.append(
            second_moment(output) / entered if entered else 1.0
        )  # learned queries that start at 0 grow at will

    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_hook(hook, with_kwargs=True) for name in block_names(specimen, model)]
    inputs = inputs_of(specimen)
    with evaluating(model):
        model(*inputs.args, **inputs.kwargs)
    for handle in handles:
        handle.remove()
    return found


@every
def test_every_parameter_has_a_law_or_a_reason_to_be_left(specimen):
    model, plan = planned(specimen)
    assert [row.path for row in plan] == [path for path, _ in model.named_parameters()]
    for row in plan:
        assert row.role in ROLES
        assert row.reason
        assert row.op or row.role == "unused"
        if row.role in ("weight", "branch_end", "head", "recurrent") and row.law is not None and len(row.shape) > 1:
            assert row.layout is not None or row.guess or row.dtype.startswith("complex"), row
    assert {row.path for row in plan if row.role == "unused"} <= set(specimen.traits.unused)


@every
def test_planning_leaves_nothing_behind(specimen):
    model = built(specimen)
    before = fingerprint(model)
    fwt.plan(model, inputs_of(specimen))
    assert fingerprint(model) == before


def fingerprint(model):
    digest = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
        digest.update(name.encode() + real.numpy().tobytes())
    digest.update(repr([module.training for module in model.modules()]).encode())
    return digest.hexdigest()


@every
def test_the_plan_does_not_depend_on_the_weights_found(specimen):
    """What feeds an op is measured on the values of the plan, not on those that the model came with."""
    first, second = (fwt.plan(built(specimen, seed=seed), inputs_of(specimen)) for seed in (0, 1))
    found = [row for row in first if (row.law is None and row.role != "unused") or "normalises these" in row.reason]
    if found:
        return  # what is left as it is differs, and so does what it feeds
    assert first.to_toml() == second.to_toml()


@with_logits
def test_the_loss_starts_at_a_guess(specimen):
    model, plan = planned(specimen)
    if specimen.name not in UNKNOWN:
        fwt.apply(model, plan, key=0)
        assert abs(guessing_loss(specimen, model) - 1) < 0.06


def test_a_loud_head_is_seen():
    """The mutant: a head of std 3 instead of 0.43."""
    specimen = ZOO["llama"]
    model, plan = planned(specimen)
    fwt.apply(model, plan.edit("lm_head.weight", fw.Normal(3.0)), key=0)
    assert guessing_loss(specimen, model) > 1.06


@pytest.mark.parametrize("specimen", [s for s in SPECIMENS if s.traits.blocks], ids=lambda s: s.name)
def test_blocks_keep_their_stream(specimen):
    model, plan = planned(specimen)
    fwt.apply(model, plan, key=0)
    ratios = block_ratios(specimen, model)
    assert len(ratios) >= 1
    assert all(0.2 < ratio < 5 for ratio in ratios[specimen.name in GROWS_ONCE :])


@deep
def test_sixty_four_blocks_keep_their_stream(specimen):
    model, plan = planned(specimen, DEEPEST)
    fwt.apply(model, plan, key=0)
    if specimen.traits.logits is not None:
        assert abs(guessing_loss(specimen, model) - 1) < 0.06
    if specimen.traits.blocks is None:
        return
    ratios = block_ratios(specimen, model)[specimen.name in GROWS_ONCE :]
    assert all(0.2 < ratio < 5 for ratio in ratios)
    assert (
        specimen.name in UNSCALABLE or math.prod(ratios) < 5
    )  # (1 + 1/L)^L, at most e, and the noise of 64 products of finite width


def test_unit_branches_without_their_share_explode():
    """The mutant: every branch at unit second moment doubles the stream of a residual network."""
    specimen = ZOO["residual_mlp"]
    model, plan = planned(specimen, 32)
    ends = {row.path: fw.VarianceScaling(1 / row.fed) for row in plan if row.role == "branch_end"}
    fwt.apply(model, plan.override(ends), key=0)
    assert math.prod(block_ratios(specimen, model)) > 5


def test_a_tied_table_is_planned_once_and_for_the_head():
    _, plan = planned(ZOO["gpt2"])
    row = plan["transformer.wte.weight"]
    assert (row.role, row.aliases) == ("tied_embedding", ("lm_head.weight",))
    assert row.std == pytest.approx(0.5 / math.sqrt(32), rel=0.02)


def test_a_branch_is_a_share_of_its_stream():
    _, plan = planned(ZOO["llama"])
    ends = [row for row in plan if row.role == "branch_end"]
    assert len(ends) == 4
    assert ends[0].gives == pytest.approx(0.25, rel=0.1)
    assert all("1/4 of the second moment" in row.reason for row in ends)


def test_attention_without_its_root_gets_quiet_queries():
    """T5 does not divide its scores by sqrt(d): the queries must."""
    _, plan = planned(ZOO["t5"])
    width = 16
    queries = [row for row in plan if row.path.endswith("SelfAttention.q.weight")]
    keys = [row for row in plan if row.path.endswith("SelfAttention.k.weight")]
    for query, key in zip(queries, keys, strict=True):
        assert key.std / query.std == pytest.approx(math.sqrt(width), rel=0.02)


def test_forget_gates_start_open():
    model, plan = planned(ZOO["nn_lstm"])
    fwt.apply(model, plan, key=0)
    bias = fwt.read(model, "body.bias_ih_l0").reshape(4, -1)
    assert (bias[1] == 1).all()
    assert (bias[[0, 2, 3]] == 0).all()


def test_unknown_recipes_and_inputs_are_refused():
    model = built(ZOO["mlp"])
    with pytest.raises(ValueError, match="recipe = 'units': expected one of unit, "):
        fwt.plan(model, "4,784", "units")
    with pytest.raises(ValueError, match="no transformers configuration"):
        fwt.plan(model)
    with pytest.raises(fwt.ModelError, match=r"could not be run .* in module '0'"):
        fwt.plan(model, "4,783")


def test_a_row_says_what_its_op_should_give_by_theory():
    """Of normal weights of std 0.02, std^2 fan_in of what feeds a map comes out; a table gives its own moment."""
    inner = nn.Linear(64, 128, bias=False), nn.ReLU(), nn.Linear(128, 64)
    rows = fwt.plan(
        nn.Sequential(nn.Embedding(50, 64), *inner, nn.ReLU(), nn.Linear(64, 5)), "8,16:int64[0,50)", "gpt2"
    )
    assert rows["0.weight"].gives == pytest.approx(0.02**2)
    for path, fan_in in (("1.weight", 64), ("3.weight", 128)):
        assert rows[path].gives == pytest.approx(0.02**2 * fan_in * rows[path].fed, rel=0.01)
    assert rows["3.bias"].gives is None
