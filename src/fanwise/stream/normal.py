"""The inverse normal CDF in integers: a word in, a fixed-point normal value out.

Integers only: no compiler can contract or reassociate them, so every implementation gives the same bits.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

U32: TypeAlias = NDArray[np.uint32]
I64: TypeAlias = NDArray[np.int64]

FRACTION_BITS = 28
"""z = 1.0 is the integer 2**28."""

# Row r holds the coefficients c0..c7 (times 2**28) of z(y), y in [-1/2, 1/2), for the tail index u with r leading
# zeros, u = 2**(31 - r) * (3/2 + y): minimax polynomials fitted by python -m bench normal_table. Frozen with stream v1.
TABLE = (
    (85534084, -176976975, 18591788, -15428627, 5075314, -3269739, 1870327, -1182281),
    (238141573, -124663896, 25683048, -11538681, 5365266, -2759465, 1797061, -1060121),
    (353800840, -100236846, 24668481, -10426248, 4951654, -2544215, 1663911, -983449),
    (449881628, -85644002, 22899252, -9618574, 4593579, -2366739, 1552434, -919266),
    (533496096, -75762222, 21250366, -8954888, 4293081, -2217582, 1458325, -864926),
    (608335613, -68539466, 19831477, -8397172, 4038700, -2090800, 1377973, -818392),
    (676592149, -62981199, 18624290, -7922590, 3820936, -1981809, 1308595, -778100),
    (739687006, -58542215, 17592101, -7514135, 3632458, -1887098, 1248065, -742855),
    (798601034, -54896538, 16701351, -7158825, 3467650, -1803980, 1194749, -711739),
    (854043393, -51836249, 15924993, -6846705, 3322196, -1730381, 1147385, -684040),
    (906545690, -49221915, 15241904, -6570092, 3192746, -1664689, 1104986, -659197),
    (956518127, -46956214, 14635654, -6322995, 3076675, -1605634, 1066770, -636769),
    (1004284801, -44968953, 14093390, -6100695, 2971904, -1552203, 1032113, -616399),
    (1050106876, -43208112, 13604961, -5899431, 2876765, -1503582, 1000511, -597799),
    (1094198345, -41634232, 13162265, -5716170, 2789904, -1459110, 971549, -580734),
    (1136737076, -40216792, 12758761, -5548446, 2710217, -1418242, 944889, -565007),
    (1177872753, -38931770, 12389120, -5394230, 2636789, -1380525, 920247, -550457),
    (1217732716, -37759977, 12048953, -5251838, 2568858, -1345584, 897386, -536945),
    (1256426339, -36685876, 11734616, -5119861, 2505783, -1313100, 876105, -524358),
    (1294048369, -35696745, 11443053, -4997110, 2447023, -1282803, 856233, -512595),
    (1330681504, -34782050, 11171687, -4882578, 2392115, -1254462, 837624, -501571),
    (1366398430, -33932989, 10918323, -4775399, 2340661, -1227878, 820151, -491214),
    (1401263422, -33142141, 10681085, -4674831, 2292321, -1202880, 803705, -481460),
    (1435333643, -32403206, 10458355, -4580230, 2246796, -1179318, 788191, -472253),
    (1468660193, -31710790, 10248730, -4491037, 2203827, -1157062, 773524, -463545),
    (1501288966, -31060250, 10050991, -4406761, 2163187, -1135997, 759632, -455293),
    (1533261362, -30447563, 9864067, -4326973, 2124674, -1116021, 746449, -447459),
    (1564614873, -29869224, 9687019, -4251292, 2088112, -1097045, 733918, -440009),
    (1595383583, -29322165, 9519016, -4179382, 2053343, -1078989, 721987, -432912),
    (1625598580, -28803685, 9359321, -4110942, 2020227, -1061782, 710610, -426143),
    (1655288313, -28311398, 9207278, -4045705, 1988638, -1045359, 699747, -419677),
    (1684478893, -27843186, 9062301, -3983432, 1958464, -1029665, 689359, -413493),
)

_COEFFICIENTS = np.array(TABLE, np.int64).T.copy()


def normal_fixed(words: U32) -> I64:
    """Standard normal values of the words, in units of 2**-28.

    The top bit of a word is the sign (set: negative). The other 31 bits t name the tail index u = 2 t + 1,
    odd, which stands for the tail probability u / 2**33: the middle of cell t out of 2**32 equal cells.
    z = -Phi^-1(u / 2**33) comes from one polynomial of degree 7 for each octave of u.

    Args:
        words: any shape, uint32.

    Returns:
        The same shape, int64, |value| < 2**31. Largest error of z over all words: 8.1e-8
        (printed by ``python -m bench normal_error``); largest |z|: 6.3380.
    """
    tail = (words.astype(np.uint64) << np.uint64(1) & np.uint64(0xFFFFFFFF)) | np.uint64(1)
    bits = tail.astype(np.float64).view(np.uint64)  # exact: exponent and mantissa of the integer
    row = (np.uint64(1023 + 31) - (bits >> np.uint64(52))).astype(np.intp)
    y = ((bits >> np.uint64(20)) & np.uint64(0xFFFFFFFF)).astype(np.int64) - (1 << 31)
    value: I64 = _COEFFICIENTS[7][row]
    for coefficients in _COEFFICIENTS[6::-1]:
        value = ((value * y) >> 32) + coefficients[row]
    return np.where(words >> np.uint32(31) == 1, -value, value)


Z_MAX = int(normal_fixed(np.zeros(1, np.uint32))[0])
"""The largest value of `normal_fixed`; the smallest is its negative."""


def cell_to_word(cells: NDArray[np.uint64]) -> U32:
    """The word whose normal value has cell v of 2**32, v = 0 the lowest: normal values in increasing order.

    Args:
        cells: any shape, uint64, below 2**32.
    """
    low = cells.astype(np.uint32)
    return np.where(low >> np.uint32(31) == 1, ~low, low ^ np.uint32(1 << 31))


def first_cell_at_least(bound: int) -> int:
    """The cell where the values reach `bound` (in units of 2**-28): 0..2**32, by bisection.

    Neighbouring values may be out of order by one unit, so the bisection itself, started with
    [0, 2**32], is part of the definition.
    """
    low, high = 0, 1 << 32
    while low < high:
        middle = (low + high) // 2
        if int(normal_fixed(cell_to_word(np.array([middle], np.uint64)))[0]) >= bound:
            high = middle
        else:
            low = middle + 1
    return low
