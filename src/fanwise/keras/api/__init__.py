"""The verbs for Keras: plan, check, calibrate, fix, assert_healthy."""
