"""DAGs of nodes, run by DAGMan at an HTCondor access point."""
