"""The commands of administrators: each parses, calls an action or a job, and prints the result.

They need no environment variable of the Hub, and can run while the service runs.
"""
