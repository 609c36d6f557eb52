"""Policy hosts: nginx serves /.well-known/mta-sts.txt over HTTPS, each host with a certificate and habits of its own.

A plain policy is a file that nginx serves itself. A host with odd habits (slow, redirect, wrong type, ...) has no file;
nginx passes its requests to a small HTTP server behind it.
"""

import asyncio
import json
import os

import net
import wait

BACK_PORT = 8080
NGINX_CONF = """daemon off; worker_processes 1; user root; pid /lab/web/pid; error_log /lab/web/error.log;
events { worker_connections 8192; }
http {
	log_format lab escape=json '{"at":$msec,"host":"$host","uri":"$request_uri","status":"$status","agent":"$http_user_agent"}';
	access_log /lab/web/access.log lab; default_type text/plain; server_tokens off; client_body_temp_path /lab/web/tmp;
	server {
		listen %(address)s:443 ssl backlog=4096;
		ssl_certificate /lab/web/cert/$ssl_server_name.pem; ssl_certificate_key /lab/web/cert/$ssl_server_name.pem;
		location = /.well-known/mta-sts.txt { root /lab/web/policy; try_files /$host.txt @odd; }
		location / { return 404; }
		location @odd { proxy_pass http://%(address)s:%(port)d; proxy_set_header Host $host; proxy_read_timeout 1h; proxy_buffering off; }
	}
}
"""


def body(mode="enforce", mx=(), max_age=86400):
    """The text of a policy, RFC 8461 section 3.2."""
    lines = ["version: STSv1", "mode: " + mode] + ["mx: " + pattern for pattern in mx] + ["max_age: %d" % max_age]
    return "\r\n".join(lines) + "\r\n"


class PolicyHosts:
    def __init__(self, world, dns, pki):
        self.world, self.dns, self.pki, self.process, self._odd = world, dns, pki, None, {}
        for directory in ("cert", "policy", "tmp"):
            os.makedirs(world.file("/lab/web/" + directory))
        world.put("/lab/web/nginx.conf", NGINX_CONF % {"address": net.WEB_ADDRESS, "port": BACK_PORT})
        self._loop = asyncio.new_event_loop()
        net.thread_in(world, self._loop.run_forever)
        asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._answer, net.WEB_ADDRESS, BACK_PORT, backlog=4096), self._loop).result(10)

    def up(self):
        """Start nginx unless it runs."""
        if self.process is None:
            log = open(self.world.file("/lab/web/stderr"), "a")
            self.process = self.world.popen(["nginx", "-c", "/lab/web/nginx.conf"], stdout=log, stderr=log)
            wait.until("nginx listens", lambda: self.world.listens(net.WEB_ADDRESS, 443), wait.START_S)

    def stop(self):
        """All policy hosts refuse connections."""
        self.process.terminate()
        self.process.wait(10)
        self.process = None

    def requests(self, domain=None):
        """The requests that were answered, oldest first: dicts with at, host, uri, status, agent."""
        path = self.world.file("/lab/web/access.log")
        if not os.path.exists(path):
            return []
        with open(path) as f:
            found = [json.loads(line) for line in f]
        return [r for r in found if domain is None or r["host"] == "mta-sts." + domain]

    # --- one host ---

    def certificate(self, domain, kind="good"):
        """kind: good, wrongname, nosan (CN right), expired, selfsigned."""
        host = "mta-sts." + domain
        pem = {"good": lambda: self.pki.leaf("policy.lab", [host]),
               "wrongname": lambda: self.pki.leaf(host, ["elsewhere." + domain]),
               "nosan": lambda: self.pki.leaf(host),
               "expired": lambda: self.pki.leaf("policy.lab", [host], expired=True),
               "selfsigned": lambda: self.pki.leaf("policy.lab", [host], signer="self")}[kind]()
        self.use_certificate(domain, pem)

    def use_certificate(self, domain, pem):
        link = self.world.file("/lab/web/cert/mta-sts.%s.pem" % domain)
        if os.path.lexists(link):
            os.remove(link)
        os.symlink(pem, link)

    def serve(self, domain, text):
        """nginx serves this text (bytes as UTF-8) at once, with status 200 and type text/plain."""
        path = self.world.file("/lab/web/policy/mta-sts.%s.txt" % domain)
        with open(path + ".new", "w", newline="") as f:
            f.write(text)
        os.rename(path + ".new", path)
        self._odd.pop("mta-sts." + domain, None)

    def odd(self, domain, text="", status=200, delay_s=0, headers=None, media="text/plain"):
        """Answer after delay_s seconds (None: never) with this status, these headers and this text."""
        path = self.world.file("/lab/web/policy/mta-sts.%s.txt" % domain)
        self._odd["mta-sts." + domain] = {"text": text, "status": status, "delay_s": delay_s,
                                          "headers": {"Content-Type": media, **(headers or {})}}
        if os.path.exists(path):
            os.remove(path)

    def address(self, domain, address=net.WEB_ADDRESS):
        self.dns.set("mta-sts." + domain, "A", *([address] if address else []))

    async def _answer(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            host = next(line.split(":", 1)[1].strip() for line in head.split("\r\n") if line.lower().startswith("host:"))
            habits = self._odd.get(host, {"text": "no such policy\n", "status": 404, "delay_s": 0, "headers": {}})
            await asyncio.sleep(habits["delay_s"] if habits["delay_s"] is not None else 86400)
            data = habits["text"].encode()
            lines = ["HTTP/1.0 %d Lab" % habits["status"], "Content-Length: %d" % len(data)]
            lines += ["%s: %s" % item for item in habits["headers"].items()]
            writer.write("\r\n".join(lines + ["", ""]).encode() + data)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, StopIteration):
            pass
        finally:
            writer.close()

