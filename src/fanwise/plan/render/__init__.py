"""A plan as a table, TOML and JSON: functions of its rows and headings."""
