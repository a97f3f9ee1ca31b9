"""The jobs' faces in Prefect: flow runs, their states, tags, labels and logs. Knows no scheduler and no web."""
