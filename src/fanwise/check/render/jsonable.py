"""The report of a check as JSON: a versioned form that `report.schema.json` describes."""

import math

from fanwise._version import __version__
from fanwise.check.findings import Finding, Fix
from fanwise.check.render.words import tally
from fanwise.check.report_data import Layer, ReportData
from fanwise.report.jsonable import Json
from fanwise.report.jsonable import to_jsonable as plain_values

SCHEMA = 1
"""Version of the form. Under one version, names are added and never changed or taken away."""


def to_jsonable(report: ReportData) -> dict[str, Json]:
    """The report in the types that JSON has.

    What was not measured is null; what is infinite is the text "inf" or "-inf".
    """
    total, used = report.weights
    return {
        "schema": SCHEMA,
        "tool": {"name": "fanwise", "version": __version__},
        "model": report.model,
        "framework": report.framework,
        "batch": report.batch,
        "parameters": report.parameters,
        "coverage": {"weights": total, "used": used},
        "seeds": [run.seed for run in report.observations],
        "ok": report.ok,
        "fail_on": report.fail_on,
        "counts": dict(tally(report).items()),
        "suppressed": report.suppressed,
        "loss": _loss(report),
        "findings": [_finding(report, finding) for finding in report.findings],
        "layers": [_layer(layer) for layer in report.layers],
        "notes": list(report.notes),
    }


def _loss(report: ReportData) -> Json:
    """The loss of every run, beside what chance gives; None where no run had one."""
    losses = [run.loss for run in report.observations if run.loss is not None]
    if not losses:
        return None
    first = losses[0]
    return {
        "name": first.name,
        "values": [_number(loss.value) for loss in losses],
        "chance": _number(first.chance),
        "constant": _number(first.constant),
        "classes": first.classes,
        "drawn": first.drawn,
        "probe": first.probe,
    }


def _finding(report: ReportData, finding: Finding) -> Json:
    source = report.constructed(finding.place)
    return {
        "code": finding.code,
        "severity": finding.severity,
        "message": finding.message,
        "place": finding.place,
        "op": finding.op,
        "source": None if source is None else {"file": source.file, "line": source.line},
        "cause": finding.cause,
        "kind": finding.kind,
        "design": finding.design,
        "paths": list(finding.paths),
        "evidence": {name: _number(value) for name, value in finding.evidence.items()},
        "fix": _fix(finding.fix),
        "follows": [_finding(report, other) for other in finding.follows],
    }


def _fix(fix: Fix | None) -> Json:
    return None if fix is None else {"text": fix.text, "safe": fix.safe, "paths": list(fix.paths)}


def _layer(layer: Layer) -> Json:
    return {
        "number": layer.number,
        "op": layer.op,
        "name": layer.name,
        "kind": layer.kind,
        "law": layer.law,
        "rms": _number(layer.rms),
        "expected": _number(layer.expected),
        "gradient": _number(layer.gradient),
        "predicted": _number(layer.predicted),
        "band": [_number(end) for end in layer.band],
        "predicted_gradient": _number(layer.predicted_gradient),
        "dead": _number(layer.dead),
        "saturated": _number(layer.saturated),
        "severity": layer.severity,
        "codes": list(layer.codes),
        "design": layer.design,
    }


def _number(value: object) -> Json:
    """The value; None for what is not a number."""
    return None if isinstance(value, float) and math.isnan(value) else plain_values(value)
