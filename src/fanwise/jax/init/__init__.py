"""The drop-in for `jax.nn.initializers`: `fanwise.jax.initializers` is its public page."""
