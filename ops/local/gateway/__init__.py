"""The HTTP side: the front door, AWS's JSON protocols, and the services that only keep state.

What every service needs to be reached or to reach another one may come in. It imports `errors` and
`settings` only, no service room.
"""
