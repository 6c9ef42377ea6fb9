"""Tiny models of any depth, on which the tests trace, plan, draw and measure."""
