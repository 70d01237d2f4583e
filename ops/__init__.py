"""The operator's desk: the `rssi` command line, the demonstration, and the embedded cloud."""
