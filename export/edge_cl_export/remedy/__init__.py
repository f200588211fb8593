"""What is done when int8 is too far from the float network."""
