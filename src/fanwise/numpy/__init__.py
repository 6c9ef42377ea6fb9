"""Networks whose weights are NumPy arrays: read from lists and mappings, run both ways, checked and mended."""
