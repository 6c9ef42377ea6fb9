"""Settings for the whole suite."""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # matrices here are small: BLAS threads that wait for each other cost up to 100 x
