"""What the command line is told to look at: a model, a batch, a loss, by their names in the user's files."""
