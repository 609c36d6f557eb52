"""Our programs as services of a host: the first start, privileges, what systemd hears, sockets and a map elsewhere."""

import os

from scenario import scenario
from steps import compare, states, tags, tried, tried_each, wait_sent

DIRECTORIES = ["/var/lib/mtasts", "/run/mtasts"]


def identity(lab, process):
    """What the kernel knows of a process: the four uids and gids, all groups, what it is or ever can be capable of."""
    with open("/proc/%d/status" % process.pid) as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    return {"uid": set(status["Uid"].split()), "gid": set(status["Gid"].split()), "groups": set(status["Groups"].split()),
            "capabilities": {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}}


@scenario(ours="first start by root, with groups of his own, on a host with none of our directories: both programs make what they need and are user "
               "mtasts for good, in uid, gid, groups and capabilities; Sendmail reads the map")
def first_start(lab, setup):
    machine = lab.sender_machine
    lab.install(os.environ["MTASTS_LAB_TREE"], is_build=False)
    machine.run(["usermod", "-a", "-G", "adm", "mtasts"])
    assert not [path for path in DIRECTORIES if os.path.exists(machine.file(path))]
    setup.prefix = ["setpriv", "--groups", "0,6,100"]
    setup.start(lab)
    ids = {option: machine.run(["id", option, "mtasts"]).stdout.split() for option in ("-u", "-g", "-G")}
    want = {"uid": set(ids["-u"]), "gid": set(ids["-g"]), "groups": set(ids["-G"]), "capabilities": {0}}
    assert "0" not in ids["-u"] and len(ids["-G"]) == 2, ids
    for process in (lab.ours.daemon, lab.ours.milter):
        compare(identity(lab, process), want)
    good, bad = lab.domain("good.test"), lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, good, bad)
    compare(states(lab, tried_each(lab, [good, bad])), {"good.test": "delivered", "bad.test": "queued"})
