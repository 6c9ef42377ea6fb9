"""What measures speed, truth and rates: `python -m bench` lists the benchmarks, `python -m bench NAME ...` runs one.

They print tables that the docs quote, and are run from a checkout: the models are those of `zoo`.
"""
