"""A weight beside its peers: the sizes in order give what a comparison with each of them gives."""

import random
from types import SimpleNamespace

import pytest

from fanwise.check.rules.sizes import OUTLIER, PEERS, POWERS, SPARED, _departure, _Peers, _size
from fanwise.graph.op import OpKind


def weight(std, fan_in, role="weight", kind=OpKind.LINEAR, number=1.0):
    return SimpleNamespace(
        values=SimpleNamespace(std=std),
        law=SimpleNamespace(gain=std * fan_in**0.5),
        case=SimpleNamespace(role=role, around=SimpleNamespace(constant_after=lambda op: number)),
        op=SimpleNamespace(kind=kind),
        fan_in=fan_in,
    )


def compared(layer, inner, heads):
    """The factor to nearly all peers, by comparison with each."""
    others = [other for other in inner if other is not layer]
    peers = [other for other in others if (other.case.role, other.op.kind) == (layer.case.role, layer.op.kind)]
    if len(peers) < PEERS - 1:
        peers = [other for other in others if other.case.role == layer.case.role]
    if len(peers) < PEERS - 2:
        peers = [*others, *heads]
    if len(peers) < PEERS - 2:
        return None
    spared = max(len(peers) // SPARED, 1 if len(peers) > PEERS else 0)
    factors = [
        sorted(_size(layer, power, scaled=scaled) / _size(other, power, scaled=scaled) for other in peers)
        for power in POWERS
        for scaled in (False, True)
    ]
    low, high = min(each[spared] for each in factors), max(each[-1 - spared] for each in factors)
    if low > OUTLIER:
        return min(each[len(each) // 2] for each in factors)
    return max(each[len(each) // 2] for each in factors) if high < 1 / OUTLIER else None


@pytest.mark.parametrize("seed", range(40))
def test_departures_are_those_of_a_comparison_with_each(seed):
    draw = random.Random(seed)
    count = draw.choice((1, 2, 3, 4, 5, 8, 30))
    stds = [draw.choice((0.1, 0.1, 0.12, 0.08, 2.0, 0.004)) for _ in range(count)]
    inner = [
        weight(
            std,
            draw.choice((16, 64, 256)),
            draw.choice(("weight", "branch_end")),
            draw.choice((OpKind.LINEAR, OpKind.CONV)),
            draw.choice((1.0, 1.0, 30.0)),
        )
        for std in stds
    ]
    heads = [weight(0.1, 64, "head") for _ in range(draw.randrange(3))]
    peers = _Peers(inner, heads)
    assert [_departure(layer, peers) for layer in inner] == [compared(layer, inner, heads) for layer in inner]


def test_some_of_them_depart():
    inner = [*(weight(0.1, 64) for _ in range(9)), weight(2.0, 64)]
    assert [_departure(layer, _Peers(inner, [])) for layer in inner][-1] == pytest.approx(20)
