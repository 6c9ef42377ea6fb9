"""State beside normalised weights, after their parameters were drawn."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from fanwise.torch.weights.weight_norm import refresh_  # noqa: E402


def spectral():
    torch.manual_seed(0)
    return parametrizations.spectral_norm(nn.Linear(8, 6, bias=False)).eval()


def draw(tensor):
    torch.manual_seed(1)
    with torch.no_grad():
        tensor.copy_(torch.randn(tensor.shape))
    return tensor


def test_a_spectral_norm_sees_the_new_matrix():
    module = spectral()
    original = draw(module.parametrizations.weight.original)
    refresh_(nn.Sequential(module), [original])
    assert torch.linalg.matrix_norm(module.weight, 2).item() == pytest.approx(1.0, abs=0.005)


def test_a_matrix_that_was_not_drawn_keeps_its_vectors():
    module = spectral()
    vectors = module.parametrizations.weight[0]._u.clone()
    draw(module.parametrizations.weight.original)
    refresh_(module, [])
    refresh_(module, [torch.ones(8, 6)])
    assert torch.equal(module.parametrizations.weight[0]._u, vectors)


def test_flags_random_states_and_parameters_stay():
    module = nn.Sequential(spectral(), nn.Dropout())
    module[1].train()
    original = draw(module[0].parametrizations.weight.original)
    before, state = original.clone(), torch.get_rng_state()
    refresh_(module, [original])
    assert [part.training for part in module.modules()][:2] == [True, False]
    assert module[1].training
    assert not module[0].parametrizations.weight[0].training
    assert torch.equal(original, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_an_old_weight_norm_computes_its_weight_anew():
    module = nn.utils.weight_norm(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        module.weight_v.copy_(torch.tensor([[3.0, 4.0]]))
        module.weight_g.fill_(10.0)
    refresh_(module, [module.weight_g])
    assert module.weight.ravel().tolist() == pytest.approx([6.0, 8.0])


def test_an_old_spectral_norm_iterates_too():
    torch.manual_seed(0)
    module = nn.utils.spectral_norm(nn.Linear(8, 6, bias=False)).eval()
    refresh_(module, [draw(module.weight_orig)])
    assert torch.linalg.matrix_norm(module.weight.detach(), 2).item() == pytest.approx(1.0, abs=0.005)
    assert not module.training


def test_modules_on_the_meta_device_are_left():
    module = spectral().to("meta")
    refresh_(module, [module.parametrizations.weight.original])
    assert module.parametrizations.weight[0]._u.is_meta
