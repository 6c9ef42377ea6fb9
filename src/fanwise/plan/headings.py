"""What a plan says of itself."""

HEADINGS = ("recipe", "framework", "inputs")
"""The fields of a plan besides its rows, each a text."""
