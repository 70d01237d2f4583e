"""`rssi demo`: the whole way on one machine, in five acts that check themselves."""
