"""What users can do, one plain function each, and every rule about it.

A function takes a connection, which is its transaction, and the caller; returns
plain data; and raises from :mod:`ngshare.errors`, which undoes all it did.
"""
