"""Waiting with a limit: nothing in the lab waits for ever, and nothing sleeps longer than it must."""

import time

START_S = 30  # for a program to be up, on a slow machine

class TimedOut(AssertionError):
    pass


def until(what, condition, seconds=10, every=0.02):
    """Call condition() until it returns something true, and return that; TimedOut names what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise TimedOut("not within %g s: %s" % (seconds, what))
        time.sleep(every)
