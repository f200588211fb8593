"""From a network to one flat graph, its embedding, and the float files made of it."""
