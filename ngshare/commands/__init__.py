"""The commands of an administrator, one file each: parse, call an action, print.

They need no variable of the Hub, and can run beside the service.
"""
