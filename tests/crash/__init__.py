"""A laboratory for power cuts: what is on the disk if the plug is pulled at any moment.

A workload runs once, traced; every change it makes to a folder is written down in order
(`tracer`, `recorder`, `ptrace`). From that log the folder is built as a power cut could have left
it, after every change and in seven kinds of damage (`disk`, `damage`), and each such state is
checked (`explore`). The same tracer kills the real process or makes its calls fail. `blocks` goes
one layer down: a real ext4 on a device that remembers every block written.
"""
