"""Submit descriptions: from what people ask for to what HTCondor takes, and outputs back into the job's directory."""
