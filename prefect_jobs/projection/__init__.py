"""Shows jobs in Prefect: flow runs, their states, tags, labels and logs. Uses no scheduler and no web app."""
