"""Retention rules: what a file is matched against, what that decides, and the revisions of the rule set."""
