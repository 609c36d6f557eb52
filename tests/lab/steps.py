"""Steps that several scenario files share."""

import re
import threading


def tried(lab, *rcpts, **options):
    """Send one message and wait until delivery to each recipient has been tried; the Message-ID."""
    msgid = lab.sender.send(*rcpts, **options)
    lab.sender.wait_tried(msgid)
    return msgid


def in_parallel(function, items):
    """Call function(item) for all items at once; {item: result}. The first exception is raised."""
    results, failed = {}, []

    def one(item):
        try:
            results[item] = function(item)
        except BaseException as error:
            failed.append(error)
    threads = [threading.Thread(target=one, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return results


def tried_each(lab, names):
    """One message to u@NAME for each name, all at once, each tried: {name: Message-ID}."""
    return in_parallel(lambda name: tried(lab, "u@" + name), [str(name) for name in names])


def states(lab, sent):
    """{name: state} of messages sent by tried_each, from one balanced account."""
    fates = lab.account()
    return {name: fates[msgid, "u@" + name].state for name, msgid in sent.items()}


def reasons(lab, sent):
    """{name: why its message waits}, empty for those that do not."""
    by_id = {item.msgid: item.reason for item in lab.sender.queue()}
    return {name: by_id.get(msgid, "") for name, msgid in sent.items()}


def compare(have, want):
    """Both are dicts; the assertion shows the items that differ only."""
    wrong = {key: (want.get(key), have.get(key)) for key in set(want) | set(have) if want.get(key) != have.get(key)}
    assert not wrong, "differs (want, have): %s" % wrong


def wait_sent(lab, rcpt, seconds=20, since=0):
    return lab.log.wait(r"to=<?%s>?[,>].*stat=Sent" % re.escape(rcpt), seconds, since)


def tags(lab, msgid, name="X-MTA-STS"):
    """The values of the tag header that arrived, a list for each recipient: {rcpt: [value, ...]}."""
    found = {}
    for delivery in lab.deliveries(msgid):
        head = delivery.text.split("\n\n", 1)[0]
        found[delivery.rcpt] = re.findall(r"(?im)^%s:[ \t]*(.*)$" % re.escape(name), head)
    return found
