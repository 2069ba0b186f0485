"""Fedsight: observability for federated learning."""
