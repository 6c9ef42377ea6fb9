"""Calibrations as plain values, for JSON."""

from typing import Any

from fanwise.calibrate.result import Calibration, Line


def jsonable(result: Calibration) -> dict[str, Any]:
    """A calibration as plain values."""
    return {
        "model": result.name,
        "batch": result.batch,
        "mode": result.mode,
        "statistic": result.statistic,
        "forwards": result.forwards,
        "ops": [_values(line) for line in result.lines],
    }


def _values(line: Line) -> dict[str, Any]:
    return {
        "paths": list(line.paths),
        "module": line.module,
        "kind": line.kind,
        "role": line.role,
        "before": _finite(line.before),
        "target": _finite(line.target),
        "factors": list(line.factors),
        "left": line.left,
        "note": line.note,
    }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
