"""Plans: a law for every parameter of a model (`row`, `plan`), and what keeps them (`render/toml`, `manifest`).

This room knows names, shapes and laws; it has never seen a framework or a model.
"""
