"""The lab's certificates: one private CA that the sender trusts, one that nobody trusts, and leaves of every kind."""

import os
import re

DIRECTORY = "/lab/pki"
CONF = """
[ req ]
distinguished_name = dn
[ dn ]
[ ca ]
default_ca = lab
[ lab ]
new_certs_dir = %(d)s
database = %(d)s/index
serial = %(d)s/serial
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[ any ]
commonName = supplied
""" % {"d": DIRECTORY}


class Pki:
    """Lives in the world's root (its openssl makes everything); all leaves share one key, since making keys takes time."""

    def __init__(self, world):
        self.world, self._made = world, {}
        world.put(DIRECTORY + "/openssl.cnf", CONF)
        world.put(DIRECTORY + "/index", "")
        world.put(DIRECTORY + "/serial", "1000\n")
        for key in ("key", "ca.key"):
            self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "%s/%s" % (DIRECTORY, key))
        self._req("ca", "ca.key", "/CN=Lab CA", ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"])
        os.chmod(world.file(DIRECTORY + "/key"), 0o644)

    def _openssl(self, *args):
        return self.world.run(["openssl"] + list(args), env={"OPENSSL_CONF": DIRECTORY + "/openssl.cnf"}).stdout

    def _req(self, name, key, subject, extensions, *more):
        args = ["req", "-x509", "-new", "-key", "%s/%s" % (DIRECTORY, key), "-subj", subject, "-days", "3650",
                "-sha256", "-out", "%s/%s.crt" % (DIRECTORY, name)]
        for extension in extensions:
            args += ["-addext", extension]
        self._openssl(*args, *more)

    @property
    def ca_file(self):
        return self.world.file(DIRECTORY + "/ca.crt")

    def leaf(self, cn, sans=(), signer="ca", expired=False, days=3650):
        """Make (once) a certificate and return the path, inside the world, of a file with key and certificate.

        signer "ca" is the trusted one; "self" makes the certificate its own issuer. Without sans there is no SAN at all.
        """
        wanted = (cn, tuple(sans), signer, expired, days)
        if wanted not in self._made:
            name = "%03d-%s" % (len(self._made), re.sub("[^A-Za-z0-9.-]", "_", cn)[:60])
            san = ["subjectAltName=" + ",".join(self._san(s) for s in sans)] if sans else []
            if expired:
                self._expired(name, cn, san)
            else:
                issuer = [] if signer == "self" else ["-CA", DIRECTORY + "/ca.crt", "-CAkey", DIRECTORY + "/ca.key"]
                self._req(name, "key", "/CN=" + cn, san + ["basicConstraints=CA:FALSE"], *issuer, "-days", str(days))
            pem = "%s/%s.pem" % (DIRECTORY, name)
            self.world.put(pem, self.world.read(DIRECTORY + "/key") + self.world.read("%s/%s.crt" % (DIRECTORY, name)))
            self._made[wanted] = pem
        return self._made[wanted]

    def tlsa(self):
        """TLSA data for every leaf: end entity, public key, SHA-256 (RFC 6698 section 2.1)."""
        return "3 1 1 " + self.world.run(["sh", "-c", "openssl pkey -in %s/key -pubout -outform DER | openssl dgst -sha256 -r" % DIRECTORY]).stdout.split()[0]

    @staticmethod
    def _san(name):
        return ("IP:" if re.fullmatch(r"[0-9.]+", name) else "DNS:") + name

    def _expired(self, name, cn, san):
        request = "%s/%s.csr" % (DIRECTORY, name)
        self._openssl("req", "-new", "-key", DIRECTORY + "/key", "-subj", "/CN=" + cn, "-out", request,
                      *(arg for extension in san for arg in ("-addext", extension)))
        self._openssl("ca", "-batch", "-notext", "-cert", DIRECTORY + "/ca.crt", "-keyfile", DIRECTORY + "/ca.key", "-in",
                      request, "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-out", "%s/%s.crt" % (DIRECTORY, name))
