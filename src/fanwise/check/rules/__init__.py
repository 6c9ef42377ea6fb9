"""What is wrong: the rules, each one decorated function with its page, and the folding of consequences under causes."""
