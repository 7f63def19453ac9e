"""Training a weight generator: on the weights of a zoo, then on through the pictures that they make."""
