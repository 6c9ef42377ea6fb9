"""Writes stream-v1.json: run once, when the stream was defined. The file is frozen; a change of it is a new stream.

python tests/vectors/make.py > tests/vectors/stream-v1.json
"""

import hashlib
import json

from fanwise.stream.fill import normal, truncated_normal, uniform, uniform_between, words
from fanwise.stream.formats import FORMATS
from fanwise.stream.key import Key

COUNT = 1 << 20
LAWS = {
    "words": (words, {}),
    "uniform": (uniform, {"bound": 0.05}),
    "uniform_between": (uniform_between, {"low": -1.0, "high": 3.0}),
    "normal": (normal, {"std": 0.02}),
    "normal_mean": (normal, {"std": 0.02, "mean": 1.5}),
    "truncated_normal": (truncated_normal, {"std": 0.02, "low": -2.0, "high": 2.0}),
    "truncated_normal_one_sided": (truncated_normal, {"std": 1.0, "low": -1.0, "high": float("inf")}),
}
KEYS = [Key(0), Key(1), Key(0, "encoder.0.weight"), Key(2**128 - 1, "größe"), Key(7, "w", "sparse positions")]


def digest(array):
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def vector(name, dtype):
    function, arguments = LAWS[name]
    options = {} if name == "words" else {"dtype": dtype}
    drawn = function(Key(2026, "vectors"), (COUNT,), **arguments, **options)
    first = [int(w) for w in drawn[:8]] if name == "words" else [float(x).hex() for x in drawn[:8]]
    return {
        "law": name,
        "arguments": {k: str(v) for k, v in arguments.items()},
        "dtype": str(drawn.dtype),
        "first": first,
        "sha256": digest(drawn),
    }


def main():
    keys = [
        {
            "seed": str(k.seed),
            "path": k.path,
            "domain": k.domain,
            "words": [f"{w:08x}" for w in (*k.philox().key, *k.philox().stream)],
        }
        for k in KEYS
    ]
    vectors = [vector(name, dtype) for name in LAWS for dtype in (["uint32"] if name == "words" else FORMATS)]
    print(
        json.dumps(
            {
                "stream": "v1",
                "key": {"seed": 2026, "path": "vectors"},
                "count": COUNT,
                "keys": keys,
                "vectors": vectors,
            },
            indent=1,
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
