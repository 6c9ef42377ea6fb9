"""Weights scaled on real data: which op of a trace gets which scale; adapters measure and write."""
