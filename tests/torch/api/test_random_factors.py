"""Factors that a model's author draws at random: the signal behind them has unit second moment, or their own spread."""

import pytest
import torch
from torch import nn

import fanwise.torch as fw


class Factor(nn.Module):
    """A factor between two maps."""

    def __init__(self, factor, act=lambda x, f: x * f):
        super().__init__()
        self.enter, self.factor, self.act, self.out = nn.Linear(16, 24), nn.Parameter(factor), act, nn.Linear(24, 10)

    def forward(self, x):
        self.product = self.act(3 * torch.tanh(self.enter(x)), self.factor)
        return self.out(torch.relu(self.product))


def row_of(net):
    plan = fw.plan(net, fw.Inputs((torch.randn(256, 16, generator=torch.Generator().manual_seed(1)),)))
    return plan, next(row for row in plan if row.path == "factor")


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("std", [0.02, 0.5, 1.0])
def test_random_factors_keep_unit_second_moment(std):
    """E (3 tanh z)^2 = 9 * 0.394 for unit z, so that the factor has std 1 / 1.883."""
    _, row = row_of(Factor(normal(24) * std))
    assert not row.guess
    assert row.law.std == pytest.approx(1 / 1.883, rel=0.06)


def test_complex_factors_in_two_reals():
    def spectrum(x, f):
        return torch.fft.irfft(torch.fft.rfft(x, norm="ortho") * torch.view_as_complex(f), n=24, norm="ortho")

    _, row = row_of(Factor(normal(13, 2) * 0.02, spectrum))
    assert not row.guess
    assert row.law.std == pytest.approx(1 / (1.883 * 2**0.5), rel=0.08)


@pytest.mark.parametrize(("mean", "std"), [(1.0, 0.02), (4.0, 0.5), (-2.0, 0.3)])
def test_values_around_another_mean_keep_mean_and_spread(mean, std):
    values = normal(64) * std + mean
    net = Factor(values[:24])
    _, row = row_of(net)
    moments = row.law.moments((24,))
    assert not row.guess
    assert moments.mean == pytest.approx(float(values[:24].mean()), rel=0.01)
    assert moments.std == pytest.approx(float(values[:24].std(correction=0)), rel=0.05)


def test_random_signs_keep_their_size():
    signs = torch.randint(0, 2, (4, 24), generator=torch.Generator().manual_seed(3)) * 2.0 - 1

    def members(x, f):
        return x.unsqueeze(1) * f

    _, row = row_of(Factor(signs, members))
    assert not row.guess
    assert row.law.std == 1


def test_frequencies_keep_the_spread_of_their_author():
    _, row = row_of(Factor(normal(24) * 0.5, lambda x, f: torch.sin(6.28 * f * x)))
    assert not row.guess
    assert row.law.std == pytest.approx(0.5, rel=0.3)


class Sigma(nn.Module):
    """A mean, and a scale by softplus."""

    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(16, 24), nn.Linear(24, 8)

    def forward(self, x):
        mean, scale = self.out(torch.relu(self.enter(x))).chunk(2, -1)
        return mean, 0.1 + 0.9 * nn.functional.softplus(scale)


def test_a_bias_of_softplus_that_is_no_time_step_is_0():
    torch.manual_seed(0)
    plan = fw.plan(Sigma(), fw.Inputs((torch.randn(64, 16),)))
    row = next(row for row in plan if row.path == "out.bias")
    assert not row.guess
    assert row.law.moments((8,)).std == 0


def test_a_bias_of_softplus_that_was_written_is_kept():
    torch.manual_seed(0)
    net = Sigma()
    nn.init.constant_(net.out.bias, -3.0)
    plan = fw.plan(net, fw.Inputs((torch.randn(64, 16),)))
    fw.apply(net, plan, key=0)
    assert bool((net.out.bias == -3.0).all())


class Averages(nn.Module):
    """Weights of an average that a model learns without queries."""

    def __init__(self, weights):
        super().__init__()
        self.enter, self.out = nn.Linear(16, 24), nn.Linear(24, 10)
        self.u, self.v, self.weights = nn.Parameter(normal(12, 6)), nn.Parameter(normal(6, 12)), weights

    def forward(self, x):
        values = self.enter(x)
        return self.out(self.weights(self, values).mean(1))


def softmax(net, values):
    return torch.softmax(net.u @ net.v, -1) @ values


def quotient(net, values):
    weight = torch.exp(net.u @ net.v)
    key = torch.exp(values)
    return torch.einsum("ts,bsd->btd", weight, key * values) / torch.einsum("ts,bsd->btd", weight, key)


@pytest.mark.parametrize("weights", [softmax, quotient])
def test_scores_of_a_learned_average_start_near_0(weights):
    net = Averages(weights)
    plan = fw.plan(net, fw.Inputs((torch.randn(8, 12, 16, generator=torch.Generator().manual_seed(1)),)))
    rows = [row for row in plan if row.path in ("u", "v")]
    assert all(not row.guess and row.role == "relative" for row in rows)
    fw.apply(net, plan, key=0)
    assert (net.u @ net.v).detach().std().item() < 0.1
