"""The report of a check as SARIF 2.1.0, for tools that show findings beside the sources.

References:
    OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", 2020; section numbers below are its.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from urllib.parse import quote

from fanwise._version import __version__
from fanwise.check.findings import Finding, Severity
from fanwise.check.report_data import ReportData
from fanwise.check.rules.rule import Rule
from fanwise.measure.observation import Place
from fanwise.report.jsonable import Json

LEVELS: Mapping[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
"""Section 3.27.10."""

ROOT = "%SRCROOT%"
"""What relative paths are relative to, by the name that section 3.14.14 suggests."""

FINGERPRINT = "codeAndPlace/v1"


def to_sarif(report: ReportData, rules: Mapping[str, Rule], *, root: str | PurePath = "") -> dict[str, Json]:
    """The report as a SARIF log.

    Args:
        report: what a check found.
        rules: all rules, by their codes.
        root: folder to which the paths of files below it are told relatively; "" tells paths as they are.
    """
    order = {code: index for index, code in enumerate(rules)}
    driver: dict[str, Json] = {
        "name": "fanwise",
        "version": __version__,
        "rules": [_rule(rule) for rule in rules.values()],
    }
    run: dict[str, Json] = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True}],
        "results": [_result(report, finding, order, root) for finding in report.findings],
    }
    if root:
        run["originalUriBaseIds"] = {ROOT: {"uri": _folder_uri(root)}}
    return {"version": "2.1.0", "runs": [run]}


def fingerprint(finding: Finding) -> str:
    """A name for a finding that stays while its code and place do.

    Example:
        >>> fingerprint(Finding("LOS001", "error", "loss 37.9", "head.fc"))
        '32901774b29bb8c1'
    """
    return hashlib.sha256(f"{finding.code}\0{finding.place}".encode()).hexdigest()[:16]


def _rule(rule: Rule) -> Json:
    page = rule.page
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": page.says},
        "help": {"text": "\n\n".join((page.says, page.why, page.measured, page.remedy))},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
    }


def _result(report: ReportData, finding: Finding, order: Mapping[str, int], root: str | PurePath) -> Json:
    result: dict[str, Json] = {
        "ruleId": finding.code,
        "level": LEVELS[finding.severity],
        "message": {"text": _message(finding)},
        "locations": [_location(report, finding, root)],
        "partialFingerprints": {FINGERPRINT: fingerprint(finding)},
        "properties": {"design": finding.design, "parameters": list(finding.paths)},
    }
    if finding.code in order:
        result["ruleIndex"] = order[finding.code]
    related = list(_related(report, finding, root))
    return result | {"relatedLocations": related} if related else result


def _message(finding: Finding) -> str:
    """Message, cause and fix as sentences."""
    fix = finding.fix
    parts = (
        finding.message,
        f"Cause: {finding.cause}" if finding.cause else "",
        f"Fix{'' if fix.safe else ' (unsafe)'}: {fix.text}" if fix else "",
        "This is by design." if finding.design else "",
    )
    return " ".join(part.rstrip(".") + "." for part in parts if part)


def _related(report: ReportData, finding: Finding, root: str | PurePath) -> Iterator[Json]:
    """Places of what follows from a finding, each with its message."""
    following = (other for child in finding.follows for other in child.walk())
    for number, other in enumerate(following, 1):
        location: dict[str, Json] = {"id": number, "message": {"text": f"{other.code}: {other.message}"}}
        yield location | _location(report, other, root)


def _location(report: ReportData, finding: Finding, root: str | PurePath) -> dict[str, Json]:
    """The place in the model and, where it is known, the line that constructs it."""
    logical: list[Json] = [{"fullyQualifiedName": finding.place or report.model or "model"}]
    source = report.constructed(finding.place)
    location: dict[str, Json] = {} if source is None else {"physicalLocation": _physical(source, root)}
    return location | {"logicalLocations": logical}


def _physical(source: Place, root: str | PurePath) -> Json:
    return {"artifactLocation": _artifact(source.file, root), "region": {"startLine": max(source.line, 1)}}


def _artifact(file: str, root: str | PurePath) -> Json:
    """A file as a URI: relative to the root where it lies below it."""
    path = PurePath(file)
    if root and path.is_relative_to(root):
        return {"uri": quote(path.relative_to(root).as_posix()), "uriBaseId": ROOT}
    return {"uri": path.as_uri() if path.is_absolute() else quote(path.as_posix())}


def _folder_uri(root: str | PurePath) -> str:
    return Path(root).absolute().as_uri().rstrip("/") + "/"
