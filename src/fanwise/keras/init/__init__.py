"""The drop-in for `keras.initializers`: `fanwise.keras.initializers` is its public page."""
