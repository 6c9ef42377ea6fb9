import numpy as np
import pytest
import stream_reference

from fanwise import Key
from fanwise.stream.philox import philox4x32, words_at

# counter, key, result: Random123's known answers for philox4x32, 10 rounds
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def hexadecimal(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_known_answers(counter, key, result):
    c0, c1, c2, c3 = hexadecimal(counter)
    blocks = np.array([c0 | c1 << 32], np.uint64)
    assert philox4x32(blocks, tuple(hexadecimal(key)), (c2, c3))[0].tolist() == hexadecimal(result)


def test_against_numpys_own_philox():
    """NumPy's Philox is the 64-bit variant, so only the structure agrees; the plain Python reference is the judge."""
    rng = np.random.default_rng(1)
    words = stream_reference.key_words(5, "x")
    for start in [0, 1, 2, 3, 2**32 - 1, 2**34 - 3, 2**62 + 1, *rng.integers(0, 2**62, 20).tolist()]:
        drawn = words_at(Key(5, "x").philox(), np.array([start], np.uint64), 9)[0]
        assert drawn.tolist() == [stream_reference.word(words, start + i) for i in range(9)]


def test_runs_of_every_phase_and_length():
    philox = Key(3).philox()
    whole = words_at(philox, np.zeros(1, np.uint64), 64)[0]
    for run in range(1, 20):
        starts = np.arange(0, 64 - run, dtype=np.uint64)
        assert (words_at(philox, starts, run) == whole[starts[:, None] + np.arange(run, dtype=np.uint64)]).all()
