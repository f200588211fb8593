"""How close a file is to the float network, as a device would run it."""
