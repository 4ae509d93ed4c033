"""ZEGO's wire and nothing else: callbacks read, calls signed and sent, answers read. Only `client` imports requests."""
