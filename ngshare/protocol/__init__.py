"""The wire formats that the service and its clients share: names, paths, times, trees.

The modules import the standard library only, because they also run in users' servers. The
formats are those of ngshare 0.6, which the plugins in users' images expect to the letter.
"""
