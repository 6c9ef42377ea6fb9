"""The report of a check as a table, a page, JSON and SARIF: functions of its data."""
