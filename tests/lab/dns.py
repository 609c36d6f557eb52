"""The lab's DNS: one BIND that is the root, answers for every name of the lab, and misbehaves on demand.

All names live in one dynamic zone, the root. A name that shall time out is dropped by a response policy zone; one that
shall give SERVFAIL is a zone of its own whose file does not exist; signed names are in a zone of their own as well, and a second
BIND, which asks the first one, knows its key and validates.
"""

import glob
import os
import re
import signal
import subprocess

import net
import wait

NAMED_CONF = """
key lab { algorithm hmac-sha256; secret "bGFi"; };
controls { inet %(address)s port 953 allow { any; } keys { lab; }; };
options {
	directory "/lab/dns"; pid-file none; session-keyfile "/lab/dns/session.key"; lock-file none;
	listen-on { %(address)s; }; listen-on-v6 { none; };
	recursion yes; allow-recursion { any; }; allow-query { any; }; dnssec-validation no;
	empty-zones-enable no; minimal-responses yes; notify no; max-journal-size 4m;
	response-policy { zone "rpz.lab"; } qname-wait-recurse no min-update-interval 0;
};
zone "." { type primary; file "root.zone"; allow-update { any; };
	check-names ignore; check-mx ignore; check-mx-cname ignore; check-integrity no; };
zone "rpz.lab" { type primary; file "rpz.zone"; allow-update { any; }; };
dnssec-policy lab { keys { csk lifetime unlimited algorithm ecdsap256sha256; }; };
include "/lab/dns/zones.conf";
"""
RESOLVER_CONF = """
options {
	directory "/lab/dns"; pid-file none; session-keyfile none; lock-file none; listen-on { %(address)s; }; listen-on-v6 { none; };
	recursion yes; allow-recursion { any; }; allow-query { any; }; forward only; forwarders { %(forwarder)s; };
	dnssec-validation yes; synth-from-dnssec no; empty-zones-enable no; max-cache-ttl 1; max-ncache-ttl 1; servfail-ttl 0; resolver-query-timeout 1000;
};
controls { };
trust-anchors { %(anchors)s };
"""
ZONE = "$TTL 1\n@ SOA ns.lab. hostmaster.lab. 1 3600 600 86400 1\n@ NS ns.lab.\n"


class Dns:
    def __init__(self, world):
        self.world, self.process, self._servfail, self._signed = world, None, set(), set()
        world.put("/lab/dns/root.zone", ZONE + "ns.lab. A %s\n" % net.DNS_ADDRESS)
        world.put("/lab/dns/rpz.zone", ZONE)
        world.put("/lab/dns/zones.conf", "")
        world.put("/lab/dns/named.conf", NAMED_CONF % {"address": net.DNS_ADDRESS})
        world.put("/lab/dns/rndc.conf", 'key lab { algorithm hmac-sha256; secret "bGFi"; };\n'
                  'options { default-key lab; default-server %s; default-port 953; };\n' % net.DNS_ADDRESS)
        self.start()

    def start(self):
        with open(self.world.file("/lab/dns/named.log"), "a") as log:
            self.process = self.world.popen(["named", "-g", "-n", "1", "-c", "/lab/dns/named.conf"], stdout=log, stderr=log)
        wait.until("named answers", lambda: self.world.run(
            ["dig", "+short", "+tries=1", "+time=1", "@" + net.DNS_ADDRESS, "ns.lab", "A"], check=False).stdout.strip() == net.DNS_ADDRESS, wait.START_S)

    def stop(self):
        """No server at all: clients get no answer (ICMP port unreachable)."""
        self.process.terminate()
        self.process.wait(10)

    def freeze(self):
        """The server takes questions and never answers."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def update(self, *lines):
        """Lines of nsupdate(1): "add NAME TTL TYPE DATA", "delete NAME [TYPE]"; one transaction for each zone."""
        zones = {}
        for line in lines:
            name = "." + line.split()[1].lower().rstrip(".")
            zones.setdefault(next((zone for zone in self._signed if name.endswith("." + zone)), ""), []).append(line)
        for zone, of_zone in zones.items():
            self._nsupdate(zone, of_zone)

    def _nsupdate(self, zone, lines):
        script = ["server " + net.DNS_ADDRESS, "zone " + (zone or ".")] + ["update " + line for line in lines] + ["send", ""]
        self.world.run(["nsupdate", "-v"], stdin="\n".join(script))

    def set(self, name, rtype, *data):
        """Replace all records of this name and type; with no data the records are removed."""
        self.update("delete %s. %s" % (name, rtype), *("add %s. 1 %s %s" % (name, rtype, item) for item in data))

    def txt(self, name, *texts):
        """Replace the TXT records: one record for each text, cut into strings of 255 bytes."""
        self.set(name, "TXT", *(" ".join('"%s"' % text[i:i + 255] for i in range(0, max(len(text), 1), 255)) for text in texts))

    def drop(self, name, on=True):
        """Questions for this name are never answered (or are again)."""
        self._nsupdate("rpz.lab", ["delete %s.rpz.lab. CNAME" % name] + (["add %s.rpz.lab. 1 CNAME rpz-drop." % name] if on else []))

    def servfail(self, name, on=True):
        """Questions for this name and all below it are answered SERVFAIL (or no longer)."""
        (self._servfail.add if on else self._servfail.discard)(name)
        self._reconfigure()

    def _reconfigure(self):
        self.world.put("/lab/dns/zones.conf", "".join(
            'zone "%s" { type primary; file "absent"; };\n' % zone for zone in sorted(self._servfail)) + "".join(
            'zone "%s" { type primary; file "%s.zone"; allow-update { any; }; dnssec-policy lab; check-names ignore; };\n' % (zone, zone)
            for zone in sorted(self._signed)))
        self.world.run(["rndc", "-c", "/lab/dns/rndc.conf", "reconfig"])

    def sign(self, *zones):
        """From now on these names and all below them are in signed zones; returns the address of a resolver that validates them."""
        for zone in zones:
            self.world.put("/lab/dns/%s.zone" % zone, ZONE)
        self._signed.update(zones)
        self._reconfigure()
        anchors = ""
        for zone in zones:
            wait.until("%s is signed" % zone, lambda: "DNSKEY" in self.ask(zone, "DNSKEY", "+dnssec") and
                       "RRSIG" in self.ask(zone, "SOA", "+dnssec"), wait.START_S)
            key = glob.glob(self.world.file("/lab/dns/K%s.+*.key" % zone))[0]
            with open(key) as f:
                anchors += '"%s" static-key %s "%s"; ' % ((zone,) + re.search(r"DNSKEY\s+(\d+ \d+ \d+) (.*)", f.read()).groups())
        self.world.put("/lab/dns/resolver.conf", RESOLVER_CONF % {
            "address": net.RESOLVER_ADDRESS, "forwarder": net.DNS_ADDRESS, "anchors": anchors})
        with open(self.world.file("/lab/dns/resolver.log"), "a") as log:
            self.world.popen(["named", "-g", "-n", "1", "-c", "/lab/dns/resolver.conf"], stdout=log, stderr=log)
        wait.until("the resolver validates", lambda: " ad" in self.ask(zones[0], "SOA", "+adflag", server=net.RESOLVER_ADDRESS), wait.START_S)
        return net.RESOLVER_ADDRESS

    def ask(self, name, rtype, *options, server=net.DNS_ADDRESS):
        """What dig prints, for checks of the lab itself."""
        return self.world.run(["dig", "+tries=1", "+time=1", "@" + server, name, rtype, *options], check=False).stdout
