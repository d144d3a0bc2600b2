"""The Jupyter server extension of users' servers."""
