"""The verbs for PyTorch: plan, check, calibrate, fix, assert_healthy."""
