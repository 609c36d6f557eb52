"""Our programs as services of a host: the first start, privileges, what systemd hears, sockets and a map elsewhere."""

import configparser
import fcntl
import os
import re
import signal
import socket
import time

import wait
from scenario import scenario
from sender import TRUST
from setups import MAP
from steps import compare, states, tags, tried, tried_each, wait_sent

AGREE = "The maps agree with the store."
DIRECTORIES = ["/var/lib/mtasts", "/run/mtasts"]


def identity(lab, process):
    """What the kernel knows of a process: the four uids and gids, all groups, what it is or ever can be capable of."""
    with open("/proc/%d/status" % process.pid) as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    return {"uid": set(status["Uid"].split()), "gid": set(status["Gid"].split()), "groups": set(status["Groups"].split()),
            "capabilities": {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}}


@scenario(chosen=True, ours="first start by root, with groups and a umask of his own, on a host with none of our directories: both programs make what they need and are user "
               "mtasts for good, in uid, gid, groups and capabilities; Sendmail reads the map")
def first_start(lab, setup):
    machine = lab.sender_machine
    lab.install(os.environ["MTASTS_LAB_TREE"], is_build=False)
    machine.run(["usermod", "-a", "-G", "adm", "mtasts"])
    assert not [path for path in DIRECTORIES if os.path.exists(machine.file(path))]
    setup.prefix = ["sh", "-c", 'umask 077; exec setpriv --groups 0,6,100 "$@"', "sh"]
    setup.start(lab)
    ids = {option: machine.run(["id", option, "mtasts"]).stdout.split() for option in ("-u", "-g", "-G")}
    want = {"uid": set(ids["-u"]), "gid": set(ids["-g"]), "groups": set(ids["-G"]), "capabilities": {0}}
    assert "0" not in ids["-u"] and len(ids["-G"]) == 2, ids
    for process in (lab.ours.daemon, lab.ours.milter):
        compare(identity(lab, process), want)
    good, bad = lab.domain("good.test"), lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, good, bad)
    compare(states(lab, tried_each(lab, [good, bad])), {"good.test": "delivered", "bad.test": "queued"})


class Systemd:
    """What systemd would hear from the programs that start from now on."""

    def __init__(self, lab):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(lab.sender_machine.file("/run/notify"))
        os.chmod(lab.sender_machine.file("/run/notify"), 0o666)
        lab.ours.environment = {"NOTIFY_SOCKET": "/run/notify"}

    def hear(self, seconds):
        """The variables of the next datagram; {} when none comes."""
        self._socket.settimeout(seconds)
        try:
            text = self._socket.recv(4096).decode()
        except TimeoutError:
            return {}
        return dict(line.split("=", 1) for line in text.splitlines())


@scenario(ours="systemd: mtastsd is ready when the maps agree with the store, or after 10 s when they cannot; it says when it reloads and stops, mtasts-milter when "
               "it listens and stops")
def notified(lab, setup):
    setup.start(lab)
    setup.enforce(lab, lab.domain("good.test"))
    for process in (lab.ours.daemon, lab.ours.milter):
        lab.ours.stop(process)
    systemd = Systemd(lab)
    for lets_go in (True, False):
        with open(lab.sender_machine.file(MAP + ".db"), "rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX)  # no commit can be made
            began = time.monotonic()
            lab.ours.mtastsd()
            assert set(systemd.hear(30)) == {"STATUS"}
            if lets_go:
                assert systemd.hear(2) == {} or time.monotonic() - began >= 10, "ready too early"
                fcntl.flock(f, fcntl.LOCK_UN)
            heard = systemd.hear(30)
            assert heard["READY"] == "1" and (heard["STATUS"] == AGREE or time.monotonic() - began >= 10), heard
            ready = lab.ours.ctl("status")["ready"]
            assert (ready or heard["STATUS"] != AGREE) if lets_go else not ready, heard
        if heard["STATUS"] != AGREE:
            assert systemd.hear(60) == {"READY": "1", "STATUS": AGREE}
        for text in ("", "nosuch = 1\n"):
            lab.ours.configure(text)
            lab.ours.daemon.send_signal(signal.SIGHUP)
            assert [systemd.hear(30), systemd.hear(30)] == [{"RELOADING": "1"}, {"READY": "1"}], text
        lab.ours.configure()
        lab.ours.stop(lab.ours.daemon)
        assert systemd.hear(30) == {"STOPPING": "1"}
    lab.ours.mtasts_milter()
    assert systemd.hear(30) == {"READY": "1"}
    lab.ours.stop(lab.ours.milter)
    assert systemd.hear(30) == {"STOPPING": "1"}
    assert systemd.hear(0.5) == {}


@scenario(ours="systemd: the installed units name programs and manual pages that are installed, and start ours before Sendmail")
def units(lab, setup):
    setup.prepare(lab)
    for program in ("mtastsd", "mtasts-milter"):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str
        unit.read_string(lab.sender_machine.read("/usr/lib/systemd/system/%s.service" % program))
        service = unit["Service"]
        assert os.access(lab.sender_machine.file(service["ExecStart"]), os.X_OK) and service["ExecStart"].endswith("/" + program), dict(service)
        assert service["Type"] == "notify" and service["Restart"] == "on-failure", dict(service)
        assert unit["Unit"]["Before"] == "sendmail.service" and unit["Install"]["WantedBy"] == "multi-user.target"
        page, section = re.fullmatch(r"man:(\S+)\((\d)\)", unit["Unit"]["Documentation"]).groups()
        assert os.path.exists(lab.sender_machine.file("/usr/share/man/man%s/%s.%s" % (section, page, section)))


ELSEWHERE = """socketmap { listen = {"inet:127.0.0.1:5461"} }
control { listen = "unix:/srv/policies/control.sock" }
sendmail_map { path = "/srv/policies/sts.db" }
milter { socket = "unix:/run/elsewhere/filter.sock" }
"""


@scenario(ours="live lookups on TCP, the other sockets and the map elsewhere, as FEATURE(`mtasts')'s arguments and mtasts.conf tell: first messages are "
               "tagged and enforced, also behind an alias; doctor finds all")
def elsewhere(lab, setup):
    setup.settings, setup.milter_socket = ELSEWHERE, "/run/elsewhere/filter.sock"
    setup.feature = "FEATURE(`mtasts', `map=/srv/policies/sts', `live=inet:5461@127.0.0.1', `milter=/run/elsewhere/filter.sock')dnl"
    lab.sender.aliases({"ext": "u@late.test"})
    setup.start(lab)
    assert lab.sender_machine.listens("127.0.0.1", 5461)
    assert not [path for path in DIRECTORIES + [MAP + ".db"] if path != "/var/lib/mtasts" and os.path.exists(lab.sender_machine.file(path))]
    good, bad, late = lab.domain("good.test"), lab.domain("bad.test", "selfsigned"), lab.domain("late.test")
    lab.policies([good, bad])
    lab.policy(late, delay_s=3)
    lab.forbid_bad(bad)
    sent = tried_each(lab, [good, bad])
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued"})
    compare(tags(lab, sent["good.test"]), {"u@good.test": ["enforce"]})
    behind = lab.sender.send("ext@sender.test", becomes={"ext@sender.test": ["u@late.test"]})
    lab.log.wait("451 4.4.3 mtasts: policy of late.test not known yet", 20)  # only a live lookup that is answered says so
    wait_sent(lab, "u@late.test", 30)
    assert lab.fate(behind) == {"u@late.test": "delivered"}
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "doctor"], check=False)
    assert done.returncode == 0, done.stdout


def mail_files(lab):
    """All files of /etc/mail: {name: checksum}, but for the time that m4 writes into a .cf."""
    done = lab.sender_machine.run(["sh", "-c", "cd /etc/mail && for f in *; do test -d $f || echo $f $(grep -av '^##### built by' $f | cksum); done"])
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@scenario(ours="backed out as sendmail/README says: both lines out of the .mc files, Sendmail restarted, both programs stopped: what waited is delivered by the next queue run, "
               "and nothing of ours is left at work")
def backed_out(lab, setup):
    lab.sender.configure(TRUST)
    before = mail_files(lab)
    lab.sender.configure()
    setup.start(lab)
    bad, late = lab.domain("bad.test", "selfsigned"), lab.domain("late.test", "selfsigned")
    setup.enforce(lab, bad)
    lab.policy(late, delay_s=None)
    sent = tried_each(lab, [bad, late])
    compare(states(lab, sent), {"bad.test": "queued", "late.test": "queued"})
    lab.allow(bad)
    lab.sender.configure(TRUST)
    lab.sender.stop()
    lab.sender.start()
    for process in (lab.ours.daemon, lab.ours.milter):
        assert lab.ours.stop(process) == 0
    compare(mail_files(lab), before)
    lab.sender.run_queue()
    compare(states(lab, sent), {"bad.test": "delivered", "late.test": "delivered"})
    sent = tried_each(lab, [bad, late])
    compare(states(lab, sent), {"bad.test": "delivered", "late.test": "delivered"})
    compare(tags(lab, sent["bad.test"]), {"u@bad.test": []})
    assert "mtasts" not in lab.sender_machine.run(["ps", "-e", "-o", "comm="]).stdout
