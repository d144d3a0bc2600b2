"""The plugin for nbgrader, and the commands of users' servers."""
