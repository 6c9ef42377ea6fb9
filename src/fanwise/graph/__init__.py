"""What a model does: its ops in order, what they mean together, and the parts of its weights."""
