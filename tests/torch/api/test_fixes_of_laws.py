"""The fixes of findings on laws, factors and sums: applied and checked again, nothing of the kind is left."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from fanwise.torch import apply, check, fix  # noqa: E402
from zoo.torch.breaks import reports  # noqa: E402

CURED = ("mean", "norm_factor", "skipped_init", "drowned", "adapter", "bias")
MODELS = {model.name: model for model in reports.MODELS if model.planted in CURED and "hf_" not in model.name}


@pytest.mark.parametrize("name", MODELS)
def test_a_fix_cures(name):
    torch.manual_seed(0)
    model = MODELS[name]
    broken, batch = model.build(), model.batch()
    report = check(broken, batch, model.loss)
    mending = fix(broken, report, batch, loss=model.loss)
    assert mending, str(report)
    apply(broken, mending.plan, key=0)
    after = check(broken, batch, model.loss)
    code = report.findings[0].code
    assert code not in {one.code for root in after.findings for one in root.walk()}, str(after)
