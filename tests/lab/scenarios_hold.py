"""Rungs of the milter for messages whose domains are not settled in time: refused for now."""

import smtplib

from scenario import scenario
from steps import compare, tried
import wait


@scenario(ours="hold = tempfail: a message with a domain that is not known in time is refused 451 as a whole, the MSP keeps it, and it passes when the "
               "domain is known; with mtastsd away nothing is refused", seconds=90)
def tempfail(lab, setup):
    setup.settings = 'milter { wait = "1s" hold = tempfail }\n'
    setup.start(lab)
    good, slow = lab.domain("good.test", server="sink"), lab.domain("slow.test", server="sink")
    setup.enforce(lab, good)
    lab.policy(slow, delay_s=5)
    try:
        lab.sender.send("u@good.test", "u@slow.test")
        raise AssertionError("accepted")
    except smtplib.SMTPDataError as error:
        assert error.smtp_code == 451 and error.smtp_error == b"4.7.0 mtasts: policy of slow.test not known yet, try again soon", error
    kept = lab.sender.submit("u@slow.test")
    compare({(item.queue, item.rcpts[0]): "policy of slow.test not known yet" in item.reason for item in lab.sender.queue()},
            {("mqueue-client", "u@slow.test"): True})
    assert not lab.sinks.used(), "nobody has got any of it: %s" % lab.sinks.used()
    lab.log.wait(r"mtasts-milter.*qid=\w+ hold=tempfail domain=slow.test")
    lab.ours.wait_verdict("slow.test", "enforce")
    both = tried(lab, "u@good.test", "u@slow.test")
    lab.sender_machine.run(["/usr/sbin/sendmail", "-Ac", "-qf"])
    wait.until("delivered", lambda: not lab.sender.queue(), 10)
    compare(lab.fate(both) | lab.fate(kept), {"u@good.test": "delivered", "u@slow.test": "delivered"})
    lab.ours.stop(lab.ours.daemon, kill=True)
    lab.forgiven.append(r"mtastsq")
    lab.domain("new.test", server="sink")
    compare(lab.fate(tried(lab, "u@good.test", "u@new.test")), {"u@good.test": "delivered", "u@new.test": "queued"})
