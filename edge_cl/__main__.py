"""`python -m edge_cl` is the command line."""

from edge_cl.cli import main

if __name__ == "__main__":
    main()
