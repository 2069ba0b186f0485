"""Databases that a site already runs, kept in step with the collector's journals: each mirror is a follower."""
