"""Bad and edge inputs of the drop-in, by their number among those tried on other libraries."""

import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")

import torch.nn.init as theirs  # noqa: E402
from torch import nn  # noqa: E402
from torch_init import REQUIRED, called, drawn, every_filler, every_random, shape_for  # noqa: E402

from fanwise.torch import init  # noqa: E402

INF, NAN = math.inf, math.nan


def weights(*shape, **options):
    return torch.full(shape or (4, 4), 0.5, **options)


def inference():
    with torch.inference_mode():
        return weights()


REFUSED = {
    "S1": (lambda w: init.xavier_normal_(w), weights(1)[0], ValueError, "fans need 2 or more axes"),
    "S2": (lambda w: init.kaiming_normal_(w), weights(5), ValueError, "fans need 2 or more axes"),
    "S11": (lambda w: init.orthogonal_(w), weights(5), ValueError, "expected 2 or more axes"),
    "S13": (lambda w: init.eye_(w), weights(3, 4, 5), ValueError, "expected 2 axes"),
    "S14": (lambda w: init.dirac_(w), weights(4, 4), ValueError, "expected 3 to 5 axes"),
    "S14 many": (lambda w: init.dirac_(w), weights(1, 1, 1, 1, 1, 1), ValueError, "expected 3 to 5 axes"),
    "S15": (lambda w: init.dirac_(w, 3), weights(8, 2, 3), ValueError, "groups = 3 do not divide the 8 outputs"),
    "S15 zero": (lambda w: init.dirac_(w, 0), weights(8, 2, 3), ValueError, "groups = 0"),
    "S15 part": (lambda w: init.dirac_(w, 2.0), weights(8, 2, 3), TypeError, "groups = 2.0"),
    "sparse axes": (lambda w: init.sparse_(w, 0.5), weights(4, 4, 4), ValueError, "expected 2 axes"),
    "N1": (lambda w: init.normal_(w, std=-1.0), None, ValueError, "std = -1.0"),
    "N2": (lambda w: init.normal_(w, std=NAN), None, ValueError, "std = nan"),
    "N3": (lambda w: init.normal_(w, std=INF), None, ValueError, "std = inf"),
    "N5": (lambda w: init.normal_(w, mean=NAN), None, ValueError, "mean = nan"),
    "N6": (lambda w: init.xavier_normal_(w, NAN), None, ValueError, "gain = nan"),
    "N7": (lambda w: init.xavier_normal_(w, -1.0), None, ValueError, "gain = -1.0"),
    "N8": (lambda w: init.xavier_uniform_(w, -1.0), None, ValueError, "gain = -1.0"),
    "N8 orthogonal": (lambda w: init.orthogonal_(w, INF), None, ValueError, "gain = inf"),
    "N10": (lambda w: init.xavier_uniform_(w, INF), None, ValueError, "gain = inf"),
    "N11": (lambda w: init.uniform_(w, 2.0, 1.0), None, ValueError, "a = 2.0, b = 1.0: expected a <= b"),
    "N14": (lambda w: init.uniform_(w, NAN, 1.0), None, ValueError, "a = nan"),
    "N15": (lambda w: init.uniform_(w, 0.0, INF), None, ValueError, "b = inf"),
    "N16": (lambda w: init.trunc_normal_(w, a=2.0, b=1.0), None, ValueError, "a = 2.0, b = 1.0"),
    "N22": (lambda w: init.trunc_normal_(w, std=0.0, mean=5.0), None, ValueError, "no normal number lies in"),
    "N23": (lambda w: init.trunc_normal_(w, std=-1.0), None, ValueError, "std = -1.0"),
    "N24": (lambda w: init.trunc_normal_(w, std=NAN), None, ValueError, "std = nan"),
    "N25": (lambda w: init.trunc_normal_(w, a=NAN), None, ValueError, "a = nan"),
    "beyond 37": (lambda w: init.trunc_normal_(w, a=40.0, b=41.0), None, ValueError, "beyond 37"),
    "N31": (lambda w: init.constant_(w, 1e40), None, ValueError, "torch.float32 cannot hold it"),
    "N31 small": (lambda w: init.constant_(w, 1e-50), None, ValueError, "torch.float32 cannot hold it"),
    "N32 integers": (lambda w: init.constant_(w, -INF), weights(3).int(), ValueError, "torch.int32 cannot hold it"),
    "N32": (lambda w: init.constant_(w, "abc"), None, TypeError, "val = 'abc'"),
    "N33": (lambda w: init.constant_(w, torch.ones(3)), None, TypeError, "expected a number"),
    "N34": (lambda w: init.normal_(w, std=1e39), None, ValueError, "more than float32 can hold"),
    "N35": (lambda w: init.normal_(w, std=7e4), weights(dtype=torch.float16), ValueError, "more than float16 can hold"),
    "N36": (lambda w: init.normal_(w, std=1e-9), weights(dtype=torch.float16), ValueError, "too small for float16"),
    "N38": (lambda w: init.normal_(w, std="0.02"), None, TypeError, "std = '0.02'"),
    "N39": (lambda w: init.normal_(w, std=None), None, TypeError, "std = None"),
    "N40": (lambda w: init.normal_(w, std=1j), None, TypeError, "std = 1j"),
    "N41": (lambda w: init.normal_(w, std=torch.ones(3)), None, TypeError, "expected a number"),
    "N42": (lambda w: init.kaiming_normal_(w, nonlinearity="rellu"), None, ValueError, "expected one of linear"),
    "N44": (lambda w: init.kaiming_normal_(w, mode="fan_sum"), None, ValueError, "expected one of fan_in, fan_out"),
    "N45": (lambda w: init.kaiming_normal_(w, mode=3), None, TypeError, "mode = 3"),
    "N46": (lambda w: init.kaiming_normal_(w, nonlinearity=["relu"]), None, ValueError, "expected one of linear"),
    "N47": (lambda w: init.kaiming_normal_(w, a=NAN), None, ValueError, "negative_slope = nan"),
    "N49": (lambda w: init.sparse_(w, 1.5), None, ValueError, "sparsity = 1.5"),
    "N50": (lambda w: init.sparse_(w, -0.5), None, ValueError, "sparsity = -0.5"),
    "N51": (lambda w: init.sparse_(w, NAN), None, ValueError, "sparsity = nan"),
    "N52": (lambda w: init.constant_(w, NAN), None, ValueError, "val = nan"),
    "N53": (lambda w: init.trunc_normal_(w, mean=NAN), None, ValueError, "mean = nan"),
    "D1": (lambda w: init.kaiming_normal_(w), weights(dtype=torch.int32), TypeError, "torch.int32"),
    "D2": (lambda w: init.uniform_(w, -1, 1), weights(dtype=torch.int32), TypeError, "torch.int32"),
    "D3": (lambda w: init.normal_(w), weights(dtype=torch.bool), TypeError, "torch.bool"),
    "D12": (lambda w: init.constant_(w, 1000), weights(dtype=torch.float8_e4m3fn), ValueError, "-448 to 448"),
    "D19": (lambda w: init.constant_(w, 300), weights(dtype=torch.uint8), ValueError, "0 to 255"),
    "D20": (lambda w: init.constant_(w, 0.5), weights(dtype=torch.int32), ValueError, "torch.int32 cannot hold it"),
    "D20 int64": (lambda w: init.constant_(w, 2**63), weights(dtype=torch.int64), ValueError, "torch.int64 cannot"),
    "complex val": (lambda w: init.constant_(w, 1j), None, TypeError, "val = 1j"),
    "M3": (lambda w: init.normal_(w), weights(1).expand(4), ValueError, "share memory"),
    "M3 zeros": (lambda w: init.zeros_(w), weights(1).expand(4), ValueError, "share memory"),
    "M4": (lambda w: init.normal_(w), weights(7).as_strided((4, 4), (1, 1)), ValueError, "share memory"),
    "M12": (lambda w: init.normal_(w), inference(), ValueError, "inference mode"),
    "M12 zeros": (lambda w: init.zeros_(w), inference(), ValueError, "inference mode"),
    "M23": (lambda w: init.orthogonal_(w, NAN), None, ValueError, "gain = nan"),
    "E1": (lambda w: init.normal_(w, key=NAN), None, TypeError, "seed = nan"),
    "E2": (lambda w: init.normal_(w, key=1.5), None, TypeError, "seed = 1.5"),
    "E3": (lambda w: init.normal_(w, key="42"), None, TypeError, "seed = '42'"),
    "E4": (lambda w: init.normal_(w, key=True), None, TypeError, "seed = True"),
    "E6": (lambda w: init.normal_(w, key=-1), None, ValueError, "seed = -1"),
    "E25": (lambda w: init.normal_(w, generator=3), None, TypeError, "expected a torch.Generator"),
    "E26": (lambda w: init.normal_(w, generator=np.random.default_rng()), None, TypeError, "expected a torch.Gen"),
    "E26 key": (lambda w: init.normal_(w, key=torch.Generator()), None, TypeError, "is not an integer"),
    "both": (lambda w: init.normal_(w, generator=torch.Generator(), key=0), None, TypeError, "expected one of them"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_unchanged(case):
    call, tensor, error, message = REFUSED[case]
    target = weights() if tensor is None else tensor
    before = target.clone()
    with pytest.raises(error, match=message):
        call(target)
    assert torch.equal(target.double(), before.double())


KINDS = {
    "M15": (lambda: nn.LazyLinear(3).weight, ValueError, "run a forward first"),
    "M16": (lambda: torch.eye(8).to_sparse(), TypeError, "layout torch.sparse_coo"),
    "M19": (lambda: np.zeros((8, 6)), TypeError, "expected a torch.Tensor"),
    "M20": (lambda: [[1.0]], TypeError, "expected a torch.Tensor"),
    "M21": (lambda: None, TypeError, "bias=False"),
}


@every_filler
@pytest.mark.parametrize("case", KINDS)
def test_every_function_refuses_what_is_no_dense_tensor(name, case):
    make, error, message = KINDS[case]
    with pytest.raises(error, match=message):
        called(name, make())


@every_random
def test_what_is_wrong_is_told_on_meta_too(name):
    meta = torch.empty(shape_for(name), device="meta")
    for options in ({"key": 1.5}, {"generator": 3}, {"key": 0, "generator": torch.Generator()}):
        with pytest.raises(TypeError):
            called(name, meta, **options)
    with pytest.raises(TypeError, match="int32"):
        called(name, meta.to(torch.int32))


@every_filler
def test_misuse_that_torch_tells_has_the_same_kind(name):
    """Errors that torch.nn.init raises itself: too few axes, and too many."""
    for shape in ((), (3,), (2, 2, 2, 2, 2, 2)):
        try:
            getattr(theirs, name)(torch.zeros(shape), **REQUIRED.get(name, {}))
        except ValueError:
            with pytest.raises(ValueError):
                called(name, torch.zeros(shape))
        else:
            called(name, torch.zeros(shape))


ALLOWED = {
    "N4": (lambda w: init.normal_(w, std=0.0), lambda w: not w.any()),
    "N9": (lambda w: init.xavier_uniform_(w, 0.0), lambda w: not w.any()),
    "N9 orthogonal": (lambda w: init.orthogonal_(w, 0.0), lambda w: not w.any()),
    "N12": (lambda w: init.uniform_(w, 0.3, 0.3), lambda w: (w == torch.tensor(0.3)).all()),
    "N13": (lambda w: init.uniform_(w, -3e38, 3e38), lambda w: w.isfinite().all() and w.abs().max() > 1e38),
    "N17": (lambda w: init.trunc_normal_(w, a=0.5, b=0.5), lambda w: (w == 0.5).all()),
    "N22": (lambda w: init.trunc_normal_(w, mean=0.25, std=0.0), lambda w: (w == 0.25).all()),
    "N48": (lambda w: init.kaiming_normal_(w, a=0.3, nonlinearity="relu"), lambda w: w.all()),
    "N54": (lambda w: init.uniform_(w, 1000, 1000.001), lambda w: (w >= 1000).all() and (w.double() < 1000.001).all()),
    "std tensor": (lambda w: init.normal_(w, std=torch.tensor(0.0)), lambda w: not w.any()),
    "infinite bounds": (lambda w: init.trunc_normal_(w, a=-INF, b=INF), lambda w: w.all()),
    "infinite tensor": (lambda w: init.trunc_normal_(w, a=torch.tensor(-INF)), lambda w: w.all()),
    "E8": (lambda w: init.normal_(w, key=2**64), lambda w: w.all()),
    "a mask": (lambda w: init.constant_(w, -INF), lambda w: (w == -INF).all()),
    "a negative gain": (
        lambda w: init.orthogonal_(w, -2.0, key=0),
        lambda w: torch.equal(w, -init.orthogonal_(torch.empty(32, 32), 2.0, key=0)),
    ),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_edge_values_work(case):
    call, holds = ALLOWED[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert holds(call(weights(32, 32)))


def test_a_million_values_stay_within_the_default_bounds():
    sample = drawn("trunc_normal_", (4_000_000,))
    assert sample.abs().max() <= 2
    assert sample.abs().max() > 1.9999


def test_inference_mode_works_inside():
    with torch.inference_mode():
        weight = init.normal_(torch.zeros(4, 4), key=0)
    assert torch.equal(weight, drawn("normal_", (4, 4)))
