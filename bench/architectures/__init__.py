"""Every architecture of the installed transformers, made small and judged: the parts of `python -m bench sweep`."""
