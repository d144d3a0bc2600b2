"""The wire formats that the service and its clients share: names, paths, times, trees.

Pure functions, which import the standard library only: they run in users' servers too. The
formats are those of ngshare 0.6, which the plugins in students' images expect to the letter.
"""
