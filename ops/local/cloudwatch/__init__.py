"""CloudWatch: metric data as it arrives, and alarms that are evaluated from it.

Data from endpoints, functions' logs and PutMetricData may come in; changes of an alarm's state go
out as events and to its actions. moto keeps the alarms and what clients read. It imports
`events.bus_event`, `gateway.protocol` and the modules at the top.
"""
