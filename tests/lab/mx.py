"""MX hosts: a real Postfix for the well-behaved ones, a small sink in Python for those that no MTA can be made to play.

Both record what they took, message by message, as Delivery; a lab asks deliveries() and never asks a log of the sender.
"""

import asyncio
import email.parser
import email.policy
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time
from dataclasses import asdict, dataclass

import net
import wait


@dataclass
class Delivery:
    """One message accepted for one recipient by one MX host."""
    msgid: str
    rcpt: str
    mx: str        # the host name that the lab gave this MX
    server: str    # "postfix" or "sink"
    tls: str       # "" without TLS, else the version
    sni: str       # "" when the client sent none (or the server does not know)
    peer: str
    bounce: bool   # null envelope sender
    at: float
    text: str      # the message as received, cut to the first 64 KiB


def message_id(text):
    found = re.search(r"^message-id:\s*(\S+)", text.split("\n\n", 1)[0], re.I | re.M)
    return found.group(1) if found else ""


class Sinks:
    """SMTP servers of every bad habit, one asyncio loop in a thread of the world's network.

    Habits of an address: starttls "yes", "no" (not offered), "refuse" (offered, answered 454), "break" (the handshake
    is cut); rcpt: the reply to RCPT (None = 250); delay_s before the greeting.
    """

    def __init__(self, world):
        self.world, self.received, self.sessions = world, [], []
        self._lock = threading.Lock()
        self._journal = open(world.file("/lab/sink.jsonl"), "a", buffering=1)
        self._loop = asyncio.new_event_loop()
        net.thread_in(world, self._loop.run_forever)

    def open(self, address, name, pem=None, starttls="yes", rcpt=None, delay_s=0):
        """Listen on address:25 as host name; returns the habits, a dict that may be changed while it runs."""
        habits = {"name": name, "pem": pem, "starttls": starttls, "rcpt": rcpt, "delay_s": delay_s}
        context = self._context(pem) if pem else None

        async def start():
            return await asyncio.start_server(lambda r, w: self._session(r, w, habits, context), address, 25, limit=1 << 20)
        habits["server"] = asyncio.run_coroutine_threadsafe(start(), self._loop).result(10)
        return habits

    def close(self, habits):
        """From now on connections to this address are refused."""
        self._loop.call_soon_threadsafe(habits["server"].close)

    def _context(self, pem):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.world.file(pem))

        def note_sni(tls, name, _context):
            tls.lab_sni = name or ""
        context.sni_callback = note_sni
        return context

    async def _session(self, reader, writer, habits, context):
        state = {"peer": writer.get_extra_info("peername")[0], "tls": "", "sni": "", "mx": habits["name"], "mail": False}
        with self._lock:
            self.sessions.append(state)
        try:
            await asyncio.sleep(habits["delay_s"])
            await self._talk(reader, writer, habits, context, state)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass  # a client that goes away or breaks the rules ends its own session only
        finally:
            writer.close()

    async def _talk(self, reader, writer, habits, context, state):
        async def say(text):
            writer.write(text.encode() + b"\r\n")
            await writer.drain()
        await say("220 %s ESMTP sink" % habits["name"])
        sender, rcpts = None, []
        while True:
            line = (await reader.readline()).decode("latin-1")
            verb = line.strip().upper()
            if not line or verb.startswith("QUIT"):
                await say("221 bye")
                return
            if verb.startswith("EHLO"):
                offer = context is not None and not state["tls"] and habits["starttls"] != "no"
                await say("250-%s\r\n%s250 8BITMIME" % (habits["name"], "250-STARTTLS\r\n" if offer else ""))
            elif verb == "STARTTLS" and habits["starttls"] == "refuse":
                await say("454 4.7.0 TLS not available")
            elif verb == "STARTTLS":
                await say("220 go ahead")
                if habits["starttls"] == "break":
                    await reader.readexactly(3)
                    writer.transport.abort()
                    return
                await writer.start_tls(context) if hasattr(writer, "start_tls") else await self._start_tls(reader, writer, context)
                tls = writer.get_extra_info("ssl_object")
                state["tls"], state["sni"] = tls.version(), getattr(tls, "lab_sni", "")
            elif verb.startswith("MAIL"):
                state["mail"] = True
                sender, rcpts = line[line.index("<") + 1:line.index(">")], []
                await say("250 2.1.0 ok")
            elif verb.startswith("RCPT"):
                if habits["rcpt"] is None:
                    rcpts.append(line[line.index("<") + 1:line.index(">")])
                await say(habits["rcpt"] or "250 2.1.5 ok")
            elif verb == "DATA" and not rcpts:
                await say("503 5.5.1 no recipients")
            elif verb == "DATA":
                await say("354 go ahead")
                text = (await reader.readuntil(b"\r\n.\r\n"))[:-3].decode("utf-8", "replace").replace("\r\n", "\n")
                self._record(state, sender, rcpts, text)
                await say("250 2.0.0 taken")
            else:
                await say("250 2.0.0 ok")

    async def _start_tls(self, reader, writer, context):
        """StreamWriter.start_tls for Python 3.9 and 3.10 (Debian 12 has 3.11)."""
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(writer.transport, writer.transport.get_protocol(), context, server_side=True)
        writer._transport = transport
        reader._transport = transport

    def _record(self, state, sender, rcpts, text):
        for rcpt in rcpts:
            delivery = Delivery(message_id(text), rcpt, state["mx"], "sink", state["tls"], state["sni"], state["peer"],
                                sender == "", time.time(), text[:65536])
            with self._lock:
                self.received.append(delivery)
            facts = asdict(delivery)
            del facts["text"]
            self._journal.write(json.dumps(facts) + "\n")

    def used(self):
        """Names of the hosts that somebody has sent MAIL to: more than a connection."""
        with self._lock:
            return {state["mx"] for state in self.sessions if state["mail"]}

    def connected(self, action):
        """Names of the hosts that somebody connected to while action() ran."""
        with self._lock:
            before = len(self.sessions)
        action()
        with self._lock:
            return {state["mx"] for state in self.sessions[before:]}

    def deliveries(self):
        with self._lock:
            return list(self.received)


MAIN_CF = """compatibility_level = 3.6
maillog_file = /var/log/postfix.log
myhostname = postfix.lab
mydestination =
mynetworks =
inet_interfaces = all
inet_protocols = ipv4
smtpd_relay_restrictions = reject_unauth_destination
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
smtpd_tls_session_cache_database =
smtpd_tls_chain_files = %(default)s
tls_server_sni_maps = texthash:/etc/postfix/sni
virtual_mailbox_domains = static:all
virtual_mailbox_base = /lab/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:8
virtual_gid_maps = static:8
virtual_minimum_uid = 1
mailbox_size_limit = 0
virtual_mailbox_limit = 0
in_flow_delay = 0
"""
MASTER_CF = """cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
"""


class Postfix:
    """Debian's Postfix as MX for any number of host names, each with an address and a certificate of its own."""

    def __init__(self, world):
        self.world, self.hosts, self._seen, self._running = world, {}, {}, False
        os.makedirs(world.file("/lab/mail/inbox/new"))
        os.chown(world.file("/lab/mail"), 8, 8)
        for directory in ("inbox", "inbox/new"):
            os.chown(world.file("/lab/mail/" + directory), 8, 8)
        for name in ("tmp", "cur"):
            os.makedirs(world.file("/lab/mail/inbox/" + name))
            os.chown(world.file("/lab/mail/inbox/" + name), 8, 8)

    def open(self, address, name, pem, starttls="yes"):
        """Serve address:25 as host name (now, or with the next call of up())."""
        self.hosts[name] = (address, pem, starttls)
        if self._running:
            self._write()
            os.kill(self._master.pid, signal.SIGHUP)  # what "postfix reload" does, less its two seconds of checks
            self._wait_for(address)

    def _write(self):
        services = []
        for name, (address, pem, starttls) in self.hosts.items():
            services.append("%s:25 inet n - n - - smtpd\n -o myhostname=%s\n -o smtpd_tls_chain_files=%s\n"
                            " -o smtpd_tls_security_level=%s\n" % (address, name, pem, "may" if starttls == "yes" else "none"))
        self.world.put("/etc/postfix/master.cf", MASTER_CF + "".join(services))
        first = next(iter(self.hosts.values()))[1]
        self.world.put("/etc/postfix/sni", "".join("%s %s\n" % (name, pem) for name, (_a, pem, _s) in self.hosts.items()))
        self.world.put("/etc/postfix/main.cf", MAIN_CF % {"default": first})
        for name in ("main.cf", "master.cf", "sni"):  # Postfix waits until a changed file is two seconds old
            os.utime(self.world.file("/etc/postfix/" + name), (0, time.time() - 60))

    def up(self):
        """Start once; afterwards every host opened is served."""
        if not self._running and self.hosts:
            self._running = True
            self._write()
            self.world.put("/etc/aliases", "")
            self._master = self.world.popen(["/usr/lib/postfix/sbin/master", "-c", "/etc/postfix"],
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            for address, _pem, _starttls in self.hosts.values():
                self._wait_for(address)

    def _wait_for(self, address):
        wait.until("postfix listens on " + address, lambda: self.world.listens(address, 25), wait.START_S)

    def settle(self, seconds=20):
        """Wait until nothing is on its way from Postfix's queue to the mailbox."""
        if self._running:
            queues = [self.world.file("/var/spool/postfix/" + q) for q in ("incoming", "active", "maildrop")]
            wait.until("postfix has delivered what it took", lambda: not any(
                files for queue in queues for _path, _dirs, files in os.walk(queue)), seconds)

    def _sni(self):
        """Queue id -> the name asked for by SNI, from smtpd's log (it names only hosts that are in its SNI map)."""
        names, by_pid = {}, {}
        for line in self.world.read("/var/log/postfix.log").splitlines() if self._running else []:
            tls = re.search(r"smtpd\[(\d+)\]: \w+ TLS connection established from \S+?(?: to (\S+))?: TLS", line)
            if tls:
                by_pid[tls.group(1)] = tls.group(2) or ""
            if re.search(r"smtpd\[\d+\]: connect from", line):
                by_pid.pop(re.search(r"smtpd\[(\d+)\]", line).group(1), None)
            taken = re.search(r"smtpd\[(\d+)\]: (\w+): client=", line)
            if taken:
                names[taken.group(2)] = by_pid.get(taken.group(1), "")
        return names

    def deliveries(self):
        self.settle()
        sni = None
        new = self.world.file("/lab/mail/inbox/new")
        for name in os.listdir(new):
            if name not in self._seen:
                sni = self._sni() if sni is None else sni
                self._seen[name] = self._read(os.path.join(new, name), sni)
        return list(self._seen.values())

    def forget(self):
        """Empty the mailbox: for scenarios that try the account itself."""
        for name in list(self._seen):
            os.remove(os.path.join(self.world.file("/lab/mail/inbox/new"), name))
        self._seen.clear()

    def _read(self, path, sni):
        with open(path, errors="replace") as f:
            text = f.read(65536)
        message = email.parser.HeaderParser(policy=email.policy.compat32).parsestr(text)
        received = " ".join((message.get_all("Received") or [""])[0].split())
        tls = re.search(r"using (TLSv[0-9.]+) with", received)
        by = re.search(r" by (\S+) \(Postfix\)", received)
        peer = re.search(r"\[([0-9.]+)\]", received)
        qid = re.search(r" id (\w+)", received)
        return Delivery((message["Message-ID"] or "").strip(), message["X-Original-To"], by.group(1) if by else "", "postfix",
                        tls.group(1) if tls else "", sni.get(qid.group(1), "") if qid else "", peer.group(1) if peer else "",
                        message["Return-Path"].strip() == "<>", os.path.getmtime(path), text)
