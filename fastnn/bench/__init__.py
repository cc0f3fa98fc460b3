"""The race: fastnn against other trainers on one core, and against the machine's limits.

Nothing is compared that did not learn the same thing: every contender gets the same rows, initial
weights, orders and hyper-parameters, and the losses of what it trained must agree before its time
is shown (`tasks.py`).  All run in one process, in turns (`timing.py`); how the others are written
is in `peers/`, a file for each.
"""
