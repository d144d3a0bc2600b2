"""The handlers of the API, by subject. Each parses, calls one action and replies.

Each file ends with its routes.
"""
