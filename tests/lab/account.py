"""The account of all mail, by Message-ID: what the sender accepted is delivered, queued or bounced, each recipient once."""

import re
from dataclasses import dataclass, field

import wait


@dataclass
class Fate:
    """What became of one recipient of one message."""
    msgid: str
    rcpt: str
    delivered: list = field(default_factory=list)  # of mx.Delivery, or of (user's) mailbox names
    queued: list = field(default_factory=list)     # of sender.Queued
    bounced: int = 0

    @property
    def state(self):
        return "delivered" if self.delivered else "queued" if self.queued else "bounced" if self.bounced else "lost"


class Unbalanced(AssertionError):
    pass


def _address(text):
    text = text.strip("<> ").lower()
    return text if "@" in text else text + "@sender.test"


def _failed_rcpts(dsn):
    """(original Message-ID, recipients) of a delivery status notification; ("", []) when the text is none."""
    if "message/delivery-status" not in dsn:
        return "", []
    ids = re.findall(r"^message-id:\s*(\S+)", dsn, re.I | re.M)
    report = dsn[dsn.index("message/delivery-status"):]
    rcpts = [final for final, action in re.findall(r"^Final-Recipient: rfc822; *(\S+)\n(?:[^\n]+\n)*?Action: *(\w+)", report, re.I | re.M)
             if action.lower() == "failed"]
    return ids[-1] if ids else "", [_address(rcpt) for rcpt in rcpts]


def take(lab):
    """One look at all records; returns ({(msgid, rcpt): Fate}, [what is wrong])."""
    sent = lab.sender.accepted
    fates = {(msgid, _address(rcpt)): Fate(msgid, _address(rcpt)) for msgid, rcpts in sent.items() for rcpt in rcpts}
    wrong, dsns = [], []
    arrived = [(d.msgid, _address(d.rcpt), d) for d in lab.deliveries()]
    for user, text in lab.mailboxes():
        if "message/delivery-status" in text:
            dsns.append(text)
        else:
            found = re.search(r"^message-id:\s*(\S+)", text, re.I | re.M)
            arrived.append((found.group(1) if found else "", _address(user), user))
    for msgid, rcpt, where in arrived:
        if getattr(where, "bounce", False):
            dsns.append(where.text)
        elif (msgid, rcpt) in fates:
            fates[msgid, rcpt].delivered.append(where)
        else:
            wrong.append("delivered, but not accepted for that recipient: %s %s at %s" % (msgid, rcpt, where))
    for item in lab.sender.queue():
        if item.bounce and item.msgid not in sent:
            dsns.append(item.text)
        for rcpt in item.rcpts:
            if (item.msgid, _address(rcpt)) in fates:
                fates[item.msgid, _address(rcpt)].queued.append(item)
    for dsn in dsns:
        msgid, rcpts = _failed_rcpts(dsn)
        for rcpt in rcpts:
            if (msgid, rcpt) in fates:
                fates[msgid, rcpt].bounced += 1
            else:
                wrong.append("bounced, but never accepted: %s %s" % (msgid, rcpt))
    for fate in fates.values():
        places = len(fate.delivered) + len(fate.queued) + fate.bounced
        if places != 1:
            wrong.append("%s %s: delivered %d times, queued %d times, bounced %d times" % (
                fate.msgid, fate.rcpt, len(fate.delivered), len(fate.queued), fate.bounced))
    return fates, wrong


def balance(lab, seconds=10):
    """Look until the account balances (a message in the middle of its delivery may show twice or not at all)."""
    state = {}

    def balanced():
        state["fates"], state["wrong"] = take(lab)
        return not state["wrong"]
    try:
        wait.until("the account of all mail balances", balanced, seconds, every=0.2)
    except wait.TimedOut:
        raise Unbalanced("the account of all mail does not balance:\n  " + "\n  ".join(state["wrong"][:20])) from None
    return state["fates"]
