"""Recipes: for each role of a parameter, the rule that gives its law."""
