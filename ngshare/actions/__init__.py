"""The rules of the exchange: one plain function for each operation of a user.

Each function takes a connection, which is in a transaction that the function neither commits
nor rolls back, and most take the caller. It returns plain data, or raises an error from
:mod:`ngshare.errors`, which rolls the transaction back.
"""
