"""A check as one line of a test: what each adapter's `assert_healthy` raises."""

from fanwise.check.report import Report


def healthy(report: Report) -> Report:
    """The report, where it is ok.

    Raises:
        AssertionError: it is not; the message is its table.
    """
    if not report.ok:
        raise AssertionError(f"the model is not healthy at step zero\n{report}")
    return report
