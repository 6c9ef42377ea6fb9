"""Trainings that people reported to fail at the start, rebuilt small, and the same models mended."""
