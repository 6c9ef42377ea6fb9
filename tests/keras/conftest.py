"""Keras computes with one backend a process: PyTorch here, where nothing else is asked for.

`test_backends.py` runs these tests again on the others.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
