"""Lets another terminal see and steer the processes of a running kernel, over a Unix socket."""
