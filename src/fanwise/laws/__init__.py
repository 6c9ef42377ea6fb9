"""How large a weight should be: layouts, fans, gains and initializers."""
