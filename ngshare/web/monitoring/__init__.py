"""What operators see of the service: metrics, readiness, the log of requests."""
