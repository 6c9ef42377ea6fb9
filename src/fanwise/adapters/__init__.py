"""What a framework must be for fanwise, and what all adapters share."""
