"""A real federation on this machine, to watch: `fedsight demo`.

A server and twenty client processes train a digit classifier by federated averaging over
loopback sockets. Some clients misbehave, each in its own way, so that there is something to see.
"""
