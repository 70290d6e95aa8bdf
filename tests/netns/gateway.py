# SPDX-License-Identifier: MIT
"""A home gateway that maps ports on request: NAT-PMP, PCP or UPnP, whichever are switched on.

It runs in the test's process with sockets of the NAT box's namespace and puts real rules into the box:
what arrives outside at the mapped port goes to the host that asked, and is let in. Written for the tests
from RFC 6886, RFC 6887 and the UPnP device architecture; nothing more than the tests ask for.

It is as odd as real ones: NAT-PMP answers the question for the address again before it answers the one for a mapping;
UPnP lists a connection that is down before the one that is up, and the first port that is wished is another's.
"""
import http.server
import socket
import struct
import threading
import time

CONTROL = "/ctl"
IGD = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
WAN = "urn:schemas-upnp-org:service:WANIPConnection:1"
DOWN, DOWN_CONTROL = "urn:schemas-upnp-org:service:WANPPPConnection:1", "/down"
CONFLICT = 718
RULES = """
table ip portmap {
  map ports {
    type inet_service : ipv4_addr . inet_service
  }
  chain pre {
    type nat hook prerouting priority -110
    iifname "w0" meta l4proto udp dnat ip to udp dport map @ports
  }
}
"""
DESCRIPTION = """<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">
<specVersion><major>1</major><minor>0</minor></specVersion><device><deviceType>%(igd)s</deviceType>
<friendlyName>gateway</friendlyName><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><serviceList><service>
<serviceType>%(down)s</serviceType><serviceId>urn:upnp-org:serviceId:WANPPPConn1</serviceId>
<controlURL>%(down_control)s</controlURL><eventSubURL>/evt</eventSubURL><SCPDURL>/scpd.xml</SCPDURL>
</service><service>
<serviceType>%(wan)s</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<controlURL>%(control)s</controlURL><eventSubURL>/evt</eventSubURL><SCPDURL>/scpd.xml</SCPDURL>
</service></serviceList></device></deviceList></device></deviceList></device></root>"""
SOAP = ('<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        '<s:Body><u:%sResponse xmlns:u="%s">%s</u:%sResponse></s:Body></s:Envelope>')
FAULT = ('<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
         '<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>'
         '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode></UPnPError>'
         '</detail></s:Fault></s:Body></s:Envelope>')


class Gateway:
    """'kinds': a subset of {"pmp", "pcp", "upnp"}. 'outside': the address it claims to have (default: the
    real one); 'control': the address of its UPnP control point, for one that points elsewhere."""

    def __init__(self, box, kinds, outside=None, life_s=None, control=CONTROL):
        self.box, self.kinds, self.life_s, self.control = box, set(kinds), life_s, control
        self.outside = outside or box.addr
        self.mapped = {}    # outside port -> (inside address, inside port)
        self.asked = []     # one word for each request
        self.soap_from = [] # who called the control point
        self.next_port = 50000
        self.n_conflicts = 1  # to come
        self.lock = threading.Lock()  # mapped and the box's rules, which must agree
        self.booted = time.monotonic() - 1000
        box.nft(RULES)
        # The box drops what comes from outside unasked; mapped flows are asked for.
        box.run("nft", "insert", "rule", "inet", "filter", "fw", "ct", "status", "dnat", "accept")
        self.udp = self._bind(5351)
        threading.Thread(target=self._serve_pmp, daemon=True).start()
        if "upnp" in self.kinds:
            self.ssdp = self._bind(1900)
            group = socket.inet_aton("239.255.255.250") + socket.inet_aton(box.inside)
            self.ssdp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            threading.Thread(target=self._serve_ssdp, daemon=True).start()
            self._start_http()

    def _bind(self, port):
        sock = self.box.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("" if port == 1900 else self.box.inside, port))
        return sock

    def epoch(self):
        return int(time.monotonic() - self.booted)

    def reboot(self):
        """Forgets every mapping, and how old it is."""
        with self.lock:
            self.booted = time.monotonic()
            self.mapped.clear()
            self.box.run("nft", "flush", "map", "ip", "portmap", "ports")
        self.box.forget()

    def map(self, inside, port, wished, life_s):
        """Makes or (life 0) removes a mapping; returns (outside port, lifetime)."""
        with self.lock:
            return self._map(inside, port, wished, life_s)

    def _map(self, inside, port, wished, life_s):
        old = [p for p, to in self.mapped.items() if to == (inside, port)]
        if life_s == 0:
            for p in old:
                del self.mapped[p]
                self.box.run("nft", "delete", "element", "ip", "portmap", "ports", "{ %d }" % p, check=False)
            return 0, 0
        if old:
            return old[0], self.life_s or life_s
        while wished == 0 or wished in self.mapped:
            self.next_port += 1
            wished = self.next_port
        self.mapped[wished] = (inside, port)
        self.box.run("nft", "add", "element", "ip", "portmap", "ports",
                     "{ %d : %s . %d }" % (wished, inside, port))
        return wished, self.life_s or life_s

    # NAT-PMP and PCP share the port.

    def _serve_pmp(self):
        while True:
            data, sender = self.udp.recvfrom(1100)
            answer = None
            if data[:1] == b"\0" and "pmp" in self.kinds:
                answer = self._pmp(data, sender)
            elif data[:1] == b"\2" and "pcp" in self.kinds:
                answer = self._pcp(data, sender)
            if answer:
                self.udp.sendto(answer, sender)

    def _pmp(self, data, sender):
        if len(data) == 2 and data[1] == 0:
            self.asked.append("pmp address")
            return struct.pack("!BBHI", 0, 128, 0, self.epoch()) + socket.inet_aton(self.outside)
        if len(data) != 12 or data[1] != 1:
            return None
        port, wished, life = struct.unpack("!HHI", data[4:])
        self.asked.append("pmp map" if life else "pmp unmap")
        self.udp.sendto(struct.pack("!BBHI", 0, 128, 0, self.epoch()) + socket.inet_aton(self.outside), sender)
        outside, life = self.map(sender[0], port, wished, life)
        return struct.pack("!BBHIHHI", 0, 129, 0, self.epoch(), port, outside, life)

    def _pcp(self, data, sender):
        mapped = b"\0" * 10 + b"\xff\xff"
        op, life = data[1], struct.unpack("!I", data[4:8])[0]
        if data[8:24] != mapped + socket.inet_aton(sender[0]):
            return struct.pack("!BBBBII12x", 2, 128 | op, 0, 12, 0, self.epoch())  # ADDRESS_MISMATCH
        if op == 0:
            self.asked.append("pcp announce")
            return struct.pack("!BBBBII12x", 2, 128, 0, 0, 0, self.epoch())
        if op != 1 or len(data) != 60 or data[36] != 17:
            return None
        port, wished = struct.unpack("!HH", data[40:44])
        self.asked.append("pcp map" if life else "pcp unmap")
        outside, life = self.map(sender[0], port, wished, life)
        return (struct.pack("!BBBBII12x", 2, 129, 0, 0, life, self.epoch()) + data[24:40]
                + struct.pack("!HH", port, outside) + mapped + socket.inet_aton(self.outside))

    # UPnP.

    def _serve_ssdp(self):
        while True:
            data, sender = self.ssdp.recvfrom(2048)
            if not data.startswith(b"M-SEARCH") or IGD.encode() not in data:
                continue
            self.asked.append("upnp search")
            answer = ("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: %s\r\nUSN: uuid:0::%s\r\nEXT:\r\n"
                      "SERVER: Lab/1.0 UPnP/1.1\r\nLOCATION: http://%s:5000/desc.xml\r\n\r\n"
                      % (IGD, IGD, self.box.inside))
            self.ssdp.sendto(answer.encode(), sender)

    def _start_http(self):
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def reply(self, text, code=200):
                body = text.encode()
                self.send_response(code)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.reply(DESCRIPTION % {"igd": IGD, "wan": WAN, "control": gateway.control, "down": DOWN,
                                          "down_control": gateway.control if "//" in gateway.control else DOWN_CONTROL})

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                action = self.headers["SOAPAction"].strip('"').partition("#")[2]
                if action == "AddPortMapping" and gateway.n_conflicts:
                    gateway.n_conflicts -= 1
                    gateway.asked.append("upnp conflict")
                    self.reply(FAULT % CONFLICT, 500)
                    return
                answer = gateway._soap(action, body, self.client_address[0], self.path == DOWN_CONTROL)
                self.reply(SOAP % (action, DOWN if self.path == DOWN_CONTROL else WAN, answer, action))

        listener = self.box.socket(kind=socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.box.inside, 5000))
        listener.listen(8)
        server = http.server.ThreadingHTTPServer((self.box.inside, 5000), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def _soap(self, action, body, sender, is_down):
        def arg(name):
            return body.partition("<%s>" % name)[2].partition("<")[0]

        self.soap_from.append(sender)
        if action == "GetStatusInfo":
            return ("<NewConnectionStatus>%s</NewConnectionStatus><NewLastConnectionError>ERROR_NONE</NewLastConnectionError>"
                    "<NewUptime>1000</NewUptime>" % ("Disconnected" if is_down else "Connected"))
        self.asked.append("upnp " + action + (" of the line that is down" if is_down else ""))
        if action == "GetExternalIPAddress":
            return "<NewExternalIPAddress>%s</NewExternalIPAddress>" % self.outside
        if action == "AddPortMapping":
            self.map(arg("NewInternalClient"), int(arg("NewInternalPort")), int(arg("NewExternalPort")),
                     int(arg("NewLeaseDuration")) or 1)
        elif action == "DeletePortMapping":
            to = self.mapped.get(int(arg("NewExternalPort")))
            if to:
                self.map(*to, 0, 0)
        return ""
