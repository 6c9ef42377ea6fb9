"""The verbs for JAX: plan, check, calibrate, fix, assert_healthy."""
