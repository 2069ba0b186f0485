"""The parts of `bench/load.py`: what writes to a collector, what listens, what asks, and what it asks itself."""
