"""Bridges to federated-learning frameworks, one a framework, each imported only by who uses that framework."""
