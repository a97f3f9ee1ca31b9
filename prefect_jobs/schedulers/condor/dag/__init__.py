"""DAGs: the model and its rules, the files that DAGMan reads and writes, and the job that runs it."""
