"""The pages for people with a browser: handlers, templates, static files."""
