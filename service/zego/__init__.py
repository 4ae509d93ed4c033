"""All that is known of ZEGO's wire, and nothing else."""
