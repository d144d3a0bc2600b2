"""The tests mirror the code: ``tests/actions`` for ``ngshare/actions``, and so on."""
