"""The handlers of the API, by subject: each parses the request, runs one action and replies.

Each file ends with its routes.
"""
