"""First losses that people met: a detector without its prior, a target that broadcasts, spikes, pictures of 0 to 255.

Each rule is held against short trainings: what is an error trains worse, what is mended is silent.
"""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanwise.torch as fwt


def walked(report):
    return [finding for root in report.findings for finding in root.walk()]


def codes(report):
    return [finding.code for finding in walked(report) if finding.severity != "info"]


# A dense detector with focal loss: Lin et al., "Focal loss for dense object detection", 2017, sections 3.3 and 4.1


def detector(bias=0.0, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 45, 3, 2, 1)]
    model = nn.Sequential(*layers, nn.Flatten(2))
    nn.init.kaiming_normal_(model[0].weight, nonlinearity="relu")
    nn.init.normal_(model[3].weight, std=0.01)
    nn.init.constant_(model[3].bias, bias)
    return model


def scene(count=12):
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(4 * 45 * 64)
    target[torch.randperm(len(target), generator=generator)[:count]] = 1
    return torch.randn(4, 3, 32, 32, generator=generator), target.reshape(4, 45, 64)


def focal(output, target):
    shares = torch.sigmoid(output)
    entropy = functional.binary_cross_entropy_with_logits(output, target, reduction="none")
    right = shares * target + (1 - shares) * (1 - target)
    weight = 0.25 * target + 0.75 * (1 - target)
    return (weight * (1 - right) ** 2 * entropy).sum() / target.sum().clamp(min=1)


def summed(output, target):
    """Plain cross-entropy, summed over all anchors and divided by the number of objects."""
    return functional.binary_cross_entropy_with_logits(output, target, reduction="sum") / target.sum()


def dice(output, target):
    shares = torch.sigmoid(output)
    return 1 - 2 * (shares * target).sum() / (shares.sum() + target.sum())


def steps(model, loss, batch, goal, *, most=400):
    """Steps of Adam until the loss is below a goal; `most` where it never is, or is not a number."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(most):
        value = loss(model(batch[0]), batch[1])
        if value.item() < goal:
            return step
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return most


@pytest.mark.parametrize(("loss", "count"), [(focal, 12), (summed, 6)])
def test_a_detector_without_its_prior(loss, count):
    model, batch = detector(), scene(count)
    report = fwt.check(model, batch, loss)
    (finding,) = [each for each in walked(report) if each.code == "LOS001"]
    assert (finding.severity, finding.kind, finding.place) == ("error", "prior", "3.bias")
    mending = fwt.fix(model, report, batch, loss=loss, apply=True)
    assert [row.path for row in mending.rows] == ["3.bias"]
    after = fwt.check(model, batch, loss)
    assert "LOS001" not in codes(after)
    constant = after.observations[0].loss.constant
    assert after.observations[0].loss.value < 1.5 * constant
    goal = 1.2 * constant
    assert steps(detector(), loss, batch, goal) > 2 * max(steps(model, loss, batch, goal), 5)


def test_the_constant_of_a_plain_detector_is_its_prior():
    """Summed cross-entropy: log(p / (1 - p)) of the share of objects."""
    batch = scene()
    share = batch[1].mean().item()
    (bias,) = fwt.check(detector(), batch, summed).observations[0].loss.best
    assert bias == pytest.approx(math.log(share / (1 - share)), abs=0.05)


@pytest.mark.parametrize("loss", [focal, summed])
def test_a_detector_with_the_published_prior_is_healthy(loss):
    """0.01 for a share of 0.001: it need not be the best one."""
    assert "LOS001" not in codes(fwt.check(detector(-math.log(99)), scene(), loss))


def test_a_loss_between_0_and_1_is_no_trouble():
    assert "LOS001" not in codes(fwt.check(detector(), scene(), dice))


def test_code_for_the_prior_can_be_pasted():
    model, batch = detector(), scene()
    report = fwt.check(model, batch, focal)
    mending = fwt.fix(model, report, batch, loss=focal)
    exec(mending.code, {"model": model})  # what a user would do with it
    assert model[3].bias.detach().unique().tolist() == [pytest.approx(report.observations[0].loss.best[0], rel=1e-6)]


# A target that broadcasts


def regression():
    x = torch.rand(256, 3, generator=torch.Generator().manual_seed(0))
    return x, x.sum(1)


def zeros():
    model = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


OWN = {
    "mse_loss": "mse_loss",
    "F.mse_loss": functional.mse_loss,
    "nn.MSELoss": nn.MSELoss(),
    "F.l1_loss": functional.l1_loss,
    "nn.HuberLoss": nn.HuberLoss(),
    "own": lambda output, target: ((output - target) ** 2).mean(),
    "inside": lambda output, target: functional.mse_loss(output, target) + 1.0,
}


@pytest.mark.parametrize("loss", OWN)
@pytest.mark.parametrize("build", [zeros, lambda: nn.Linear(3, 1)])
def test_a_target_that_broadcasts(loss, build):
    """Nothing warns: torch's own warning would point into fanwise."""
    torch.manual_seed(0)
    x, target = regression()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = fwt.check(build(), (x, target), OWN[loss])
    assert report.findings[0].code == "LOS002"
    assert "(256, 1) against (256,)" in report.findings[0].message
    assert "LOS002" not in codes(fwt.check(build(), (x, target[:, None]), OWN[loss]))


def test_a_loss_that_refuses_the_shapes_says_what_to_write():
    x, target = regression()
    with pytest.raises(fwt.ModelError, match=r"\(256, 1\) .*, \(256,\) .* could not be computed.*squeeze\(-1\)"):
        fwt.check(zeros(), (x, (target > 1.5).float()), "bce_with_logits")


def test_the_other_way_round():
    x, target = regression()
    report = fwt.check(nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), (x, target[:, None]), OWN["own"])
    assert "target.squeeze(-1)" in next(each.fix.text for each in walked(report) if each.code == "LOS002")


def test_it_trains_to_the_mean_alone():
    """The squared error against its own target ends at the target's variance, 0.25, where the shapes fit at 1e-3."""
    x, target = regression()
    ends = []
    for aim in (target, target[:, None]):
        model = zeros()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(200):
            optimizer.zero_grad()
            (model(x) - aim).square().mean().backward()
            optimizer.step()
        ends.append((model(x)[:, 0] - target).square().mean().item())
    assert ends[0] > 50 * ends[1]


# Errors, warnings and trainings


def digits(scale, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    nn.init.kaiming_normal_(model[0].weight, nonlinearity="relu")
    nn.init.normal_(model[2].weight, std=scale / 8)
    nn.init.zeros_(model[2].bias)
    return model


def clusters():
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(10).repeat(50)
    middles = torch.randn(10, 64, generator=generator)
    return 0.5 * middles[classes] + torch.randn(500, 64, generator=generator), classes


@pytest.mark.parametrize(("scale", "severity"), [(0.1, None), (4.0, "warning"), (100.0, "error")])
def test_an_error_trains_worse_and_a_warning_hardly(scale, severity):
    """Adam at 1e-3 to a loss of 0.5: a loss of 4 times ln 10 takes the same steps, one of 100 times more than twice."""
    x, classes = clusters()
    found = [each for each in walked(fwt.check(digits(scale), (x, classes), "cross_entropy")) if each.code == "LOS001"]
    assert [each.severity for each in found] == ([] if severity is None else [severity])
    ratio = _adam_steps(digits(scale), x, classes) / _adam_steps(digits(0.1), x, classes)
    assert (ratio > 2) == (severity == "error")


def _adam_steps(model, x, classes):
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(1000):
        value = functional.cross_entropy(model(x), classes)
        if value.item() < 0.5:
            return step
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return 1000


def test_pictures_of_0_to_255_for_a_sigmoid():
    pictures = 255 * torch.rand(64, 32, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32), nn.Sigmoid())
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    assert "LOS003" in codes(fwt.check(model, (x, pictures), "mse"))
    assert "LOS003" not in codes(fwt.check(model, (x, pictures / 255), "mse"))


def test_a_policy_behind_a_tuple_and_a_loss_of_several_terms():
    """The head of the actions is 3000 times too large."""

    class Agent(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.body, self.actions, self.value = nn.Linear(16, 64), nn.Linear(64, 4), nn.Linear(64, 1)
            nn.init.normal_(self.actions.weight, std=0.01 * scale / 8)

        def forward(self, x):
            hidden = torch.tanh(self.body(x))
            return self.actions(hidden), self.value(hidden)[:, 0]

    def loss(outputs, target):
        actions, value = outputs
        entropy = functional.cross_entropy(actions, target.long())
        return entropy + 0.5 * (value - 1.0).square().mean()

    x, target = torch.randn(64, 16), torch.arange(64) % 4
    torch.manual_seed(0)
    assert "LOS001" in codes(fwt.check(Agent(300_000.0), (x, target), loss))
    assert "LOS001" not in codes(fwt.check(Agent(1.0), (x, target), loss))
