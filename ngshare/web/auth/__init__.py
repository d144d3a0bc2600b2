"""Authentication: who sent a request, according to the Hub or, stand-alone, to the request."""
