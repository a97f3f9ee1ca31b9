"""Submit descriptions: from the spec of a job to HTCondor's commands, and outputs back into the job directory."""
