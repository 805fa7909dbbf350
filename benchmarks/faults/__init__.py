"""`make faults`: every process of a cluster is killed under load, and the books are compared with the simulator's."""
