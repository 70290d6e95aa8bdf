# The engine and what stands beside it: everything above the machines, still without I/O.
