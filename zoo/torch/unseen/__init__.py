"""Healthy models that were written, and committed, before the rules that first judged them were looked at again."""
