"""What `python -m bench proof` trains: broken models and their mended twins, for every rule of the check."""
