"""A lab: one sender and one world of MX hosts, DNS and policy hosts, with an account of every message.

Make it inside isolate.run(); everything ends with the process. See README for how scenarios use it.
"""

import itertools
import time
from dataclasses import dataclass

import account
import dns
import mx
import net
import ours
import pki
import policyhost
import sender


@dataclass
class Domain:
    """A mail domain of the lab: its MX host names, in order of preference, and the patterns its policy would list."""
    name: str
    mx: list
    patterns: list

    def __str__(self):
        return self.name


class Lab:
    def __init__(self, layers=None):
        """layers: other ones than the lab's for the sender's root, see net.Machine."""
        self.sender_machine, self.world = net.make_instance(layers)
        self.dns = dns.Dns(self.world)
        self.pki = pki.Pki(self.world)
        self.sinks = mx.Sinks(self.world)
        self.postfix = mx.Postfix(self.world)
        self.web = policyhost.PolicyHosts(self.world, self.dns, self.pki)
        self.sender = sender.Sender(self.sender_machine, self.pki.ca_file)
        self.log = self.sender.log
        self.ours = None
        self.hosts = {}  # MX host name -> habits (sink) or None (Postfix)
        self.kinds = {}  # MX host name, lower case -> kind
        self.forbidden = []  # (since, domain, MX host): no delivery of that domain may arrive there from then on; host None: nowhere without TLS
        self.forgiven = []  # patterns of log lines that a scenario provokes on purpose
        self.refused = []   # patterns of recipients that bounce on purpose
        self._addresses = ("10.99.%d.%d" % (10 + n // 250, 1 + n % 250) for n in itertools.count())
        self._ids = itertools.count(1)
        self.world.put("/etc/resolv.conf", "nameserver %s\n" % net.DNS_ADDRESS)
        self.dns.update("add mail.sender.test. 1 A " + net.SENDER, "add sender.test. 1 MX 10 mail.sender.test.")

    # --- MX hosts and mail domains ---

    def mx_host(self, name, kind="good", server=None, sans=None, **habits):
        """Make an MX host with an address record; returns its address.

        kind: good, wildcard, wrongsan, nosan, wildcn (no SAN either, CN a wildcard), selfsigned, expired, expiring (in ten days), notls, refuse, break.
        server: "postfix" or "sink"; by default Postfix for good and wildcard, the sink for the rest.
        sans: other subjectAltNames than the kind's own. habits: see Sinks.open.
        """
        address = next(self._addresses)
        self.kinds[name.lower()] = kind
        pem = self._mx_certificate(name, kind, sans)
        if (server or ("postfix" if kind in ("good", "wildcard") and not habits else "sink")) == "postfix":
            self.postfix.open(address, name.lower(), pem, "no" if kind == "notls" else "yes")
            self.postfix.up()
            self.hosts[name] = None
        else:
            starttls = {"notls": "no", "refuse": "refuse", "break": "break"}.get(kind, "yes")
            self.hosts[name] = self.sinks.open(address, name, pem, starttls=starttls, **habits)
        self.dns.set(name, "A", address)
        return address

    def _mx_certificate(self, name, kind, sans):
        parent = name.split(".", 1)[1]
        if kind == "wildcard":
            return self.pki.leaf("mx.lab", sans or ["*." + parent])
        if kind == "wrongsan":
            return self.pki.leaf(name, sans or ["other." + parent])
        if kind in ("nosan", "wildcn"):
            return self.pki.leaf(name if kind == "nosan" else "*." + parent)
        return self.pki.leaf("mx.lab", sans or [name], signer="self" if kind == "selfsigned" else "ca", expired=kind == "expired",
                             days=10 if kind == "expiring" else 3650)

    def point(self, domain, *hosts):
        """The domain's MX records, preference 10, 20, ... (trailing dots are added)."""
        self.dns.set(domain, "MX", *("%d %s." % (10 * (n + 1), host) for n, host in enumerate(hosts)))

    def domain(self, name, kind="good", server=None):
        """A mail domain with MX hosts of one kind; returns Domain.

        Besides the kinds of mx_host: notlisted (MX outside the policy), multi (MX two labels under the pattern), case (MX name,
        pattern and SAN differ in case), ip (MX record holds an address), cname (MX is a CNAME), two (10 self-signed, 20 good), twosan,
        twolist (10 with the wrong SAN, or not listed, 20 good).
        """
        build = getattr(self, "_domain_" + kind, None)
        if build is not None:
            return build(name, server)
        host = "mx1." + name
        self.mx_host(host, kind, server)
        self.point(name, host)
        return Domain(name, [host], [host])

    def _domain_notlisted(self, name, server):
        host = "mx.elsewhere." + name
        self.mx_host(host, "good", server)
        self.point(name, host)
        return Domain(name, [host], ["mx.notlisted." + name])

    def _domain_multi(self, name, server):
        host = "a.b." + name
        self.mx_host(host, "good", server)
        self.point(name, host)
        return Domain(name, [host], ["*." + name])

    def _domain_case(self, name, server):
        host = "MxA." + name.capitalize()
        self.mx_host(host, "good", server, sans=["mXa." + name.upper()])
        self.point(name, host)
        return Domain(name, [host], ["mXA." + name.title()])

    def _domain_ip(self, name, _server):
        address = next(self._addresses)
        host = "mx." + name
        self.hosts[host] = self.sinks.open(address, host, self.pki.leaf("mx.lab", [address, host]))
        self.dns.set(address, "A", address)  # Sendmail looks the text up as a name, as some resolvers would answer it
        self.point(name, address)
        return Domain(name, [address], [address])

    def _domain_cname(self, name, server):
        host, real = "mx." + name, "real." + name
        self.mx_host(real, "good", server or "sink", sans=[host])
        self.dns.set(host, "CNAME", real + ".")
        self.point(name, host)
        return Domain(name, [host], [host])

    def _domain_two(self, name, server, first="selfsigned", listed=True):
        bad, good = "bad." + name, "ok." + name
        self.mx_host(bad, first, "sink")
        self.mx_host(good, "good", server)
        self.point(name, bad, good)
        return Domain(name, [bad, good], [bad, good] if listed else [good])

    def _domain_twosan(self, name, server):
        return self._domain_two(name, server, "wrongsan")

    def _domain_twolist(self, name, server):
        return self._domain_two(name, server, "good", listed=False)

    def shared(self, host, *domains):
        """Domains whose MX is one host that exists already."""
        for domain in domains:
            self.point(domain, host)
        return [Domain(domain, [host], [host]) for domain in domains]

    # --- policies ---

    def policy(self, domain, mode="enforce", mx=None, max_age=86400, id=None, text=None, certificate="good", **odd):
        """Publish a policy: TXT record, policy host, body, at once; returns the id.

        domain: a name, or a Domain (whose patterns are the default for mx). text: another body than mode, mx and max_age make.
        odd: delay_s (None: for ever), status, headers, media: see PolicyHosts.odd.
        """
        name = str(domain)
        mx = mx if mx is not None else getattr(domain, "patterns", [])
        text = text if text is not None else policyhost.body(mode, mx, max_age)
        id = id or "id%d" % next(self._ids)
        self.web.certificate(name, certificate)
        self.web.odd(name, text, **odd) if odd else self.web.serve(name, text)
        self.web.up()
        self.dns.update("delete mta-sts.%s. A" % name, "add mta-sts.%s. 1 A %s" % (name, net.WEB_ADDRESS),
                        "delete _mta-sts.%s. TXT" % name, 'add _mta-sts.%s. 1 TXT "v=STSv1; id=%s;"' % (name, id))
        return id

    def policies(self, domains, mode="enforce", mx=None, max_age=86400):
        """Publish for many domains at once, with one certificate for all of them."""
        names, lines = [str(domain) for domain in domains], []
        pem = self.pki.leaf("many.lab", ["mta-sts." + name for name in names])
        for domain, name in zip(domains, names):
            self.web.use_certificate(name, pem)
            self.web.serve(name, policyhost.body(mode, mx if mx is not None else domain.patterns, max_age))
            lines += ["add mta-sts.%s. 1 A %s" % (name, net.WEB_ADDRESS),
                      'add _mta-sts.%s. 1 TXT "v=STSv1; id=id%d;"' % (name, next(self._ids))]
        self.web.up()
        for start in range(0, len(lines), 1000):
            self.dns.update(*lines[start:start + 1000])

    def no_txt(self, domain):
        """Strip the domain's TXT record."""
        self.dns.set("_mta-sts.%s" % domain, "TXT")

    # --- our programs ---

    def install(self, tree, is_build=True):
        """Install ours into the sender: from a build directory by make install, or from a staged tree."""
        self.ours = ours.Ours(self.sender_machine, tree, is_build)
        return self.ours

    # --- what became of the mail ---

    def forbid(self, domain, *hosts):
        """From now on no mail of the domain may arrive at these MX hosts; checked after every scenario but a stock one."""
        self.forbidden += [(time.time(), str(domain), host.lower()) for host in hosts]

    def forbid_bad(self, domain):
        """Forbid every MX host of the domain that its enforce policy excludes: a bad certificate, or not listed; and any host without TLS."""
        self.forbidden.append((time.time(), domain.name, None))
        for host in domain.mx:
            listed = any(p.lower() == host.lower() or (p[:2] == "*." and host.lower().split(".", 1)[1] == p[2:].lower())
                         for p in domain.patterns)
            if self.kinds.get(host.lower(), "good") not in ("good", "wildcard", "expiring") or not listed:
                self.forbid(domain, host)

    def allow(self, domain):
        """The domain's policy no longer rules: forget what was forbidden."""
        self.forbidden = [entry for entry in self.forbidden if entry[1] != str(domain)]

    def against_policy(self):
        """Deliveries to hosts that were forbidden for the recipient's domain at that time, or without TLS."""
        return ["%s %s at %s tls=%s" % (d.msgid, d.rcpt, d.mx, d.tls) for d in self.deliveries() for since, domain, host in self.forbidden
                if d.rcpt.lower().endswith("@" + domain) and (d.mx.lower() == host if host else not d.tls) and d.at >= since]

    def deliveries(self, msgid=None):
        """What all MX hosts took, of one message or of all."""
        return [d for d in self.sinks.deliveries() + self.postfix.deliveries() if msgid is None or d.msgid == msgid]

    def mailboxes(self):
        return [(user, text) for user in sender.USERS for text in self.sender.mailbox(user)]

    def account(self, msgid=None, seconds=10):
        """Assert that accepted = delivered + queued + bounced, nothing twice; returns {rcpt: Fate} of msgid, or of all mail."""
        fates = account.balance(self, seconds)
        if msgid is None:
            return fates
        return {rcpt: fate for (mid, rcpt), fate in fates.items() if mid == msgid}

    def fate(self, msgid):
        """{rcpt: "delivered" | "queued" | "bounced"} of one message, from a balanced account."""
        return {rcpt: fate.state for rcpt, fate in self.account(msgid).items()}

    def problems(self):
        return self.ours.problems() if self.ours else []
