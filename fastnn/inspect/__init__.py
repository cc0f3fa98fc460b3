"""Look inside a network: the chain rule number by number, checked gradients, pictures."""
