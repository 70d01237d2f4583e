"""The server: worker processes, their sockets, and HTTP/1.1 on each connection.

What comes in is bytes from clients and signals from the system. It may import all of ``serving``.
"""
