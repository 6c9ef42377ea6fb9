"""Transformers, and what replaces attention in them."""
