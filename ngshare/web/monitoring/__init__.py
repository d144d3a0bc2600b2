"""Monitoring for operators: metrics, readiness, the access log."""
