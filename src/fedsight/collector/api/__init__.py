"""The HTTP API that docs/api.md describes: thin handlers over `fedsight.store.queries`."""
