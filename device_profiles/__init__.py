"""One TOML file a board; read through `edge_cl.device`."""
