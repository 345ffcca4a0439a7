"""A session of libvirt's Python binding with a daemon that has real guests: lists, lifecycle with events, statistics, a
stream, a console, a descriptor, errors. Takes the URI; prints what it saw, which is the same with every daemon."""
import os
import sys
import time

import libvirt

import heard

heard.prepare()

XML = """<domain type='qemu'><name>py</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><serial type='pty'/><graphics type='vnc' socket='SOCKET'/><video><model type='vga'/></video></devices>
</domain>""".replace("SOCKET", sys.argv[2])

connection = libvirt.open(sys.argv[1])
print("type", connection.getType(), connection.getLibVersion() >= 11003000)
print("before", [domain.name() for domain in connection.listAllDomains()])

lifecycle = heard.Lifecycle(connection)
domain = connection.defineXML(XML)
print("defined", domain.isPersistent(), domain.isActive(), domain.state(), domain.info()[0:4])
domain.create()
print("started", domain.isActive(), domain.state(), domain.ID() > 0)
print("lists", [d.name() for d in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)],
      connection.numOfDomains(), connection.numOfDefinedDomains(), connection.listDefinedDomains())


def tried(what, call):
    """What the call answers, or the code of its error."""
    try:
        print(what, call())
    except libvirt.libvirtError as error:
        print(what, "error", error.get_error_code())


def refused(what, call):
    try:
        call()
        print(what, "is not refused")
    except libvirt.libvirtError as error:
        print(what, "error", error.get_error_code())


def show():
    """A stream: what the guest shows."""
    stream = connection.newStream()
    picture = bytearray()
    kind = domain.screenshot(stream, 0)
    stream.recvAll(lambda stream, data, opaque: opaque.extend(data), picture)
    stream.finish()
    return kind, len(picture) > 1000


def talk():
    stream, other = connection.newStream(), connection.newStream()
    domain.openConsole(None, stream, 0)
    sent = stream.send(b"hello")
    refused("second console", lambda: domain.openConsole(None, other, 0))
    stream.abort()
    return sent


def graphics():
    """A descriptor that comes with an answer."""
    descriptor = domain.openGraphicsFD(0)
    greeting = os.read(descriptor, 4)
    os.close(descriptor)
    return greeting


tried("stats", lambda: connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)[0][1]["state.state"])
tried("memory", lambda: (domain.maxMemory(), domain.memoryStats()["actual"]))
tried("snapshots", domain.snapshotNum)
tried("checkpoints", domain.listAllCheckpoints)
refused("start", domain.create)
refused("lookup", lambda: connection.lookupByName("nobody"))
refused("id", lambda: connection.lookupByID(987654))
refused("xml", lambda: connection.defineXML("<domain"))
refused("type", lambda: connection.defineXML("<domain type='nothing'><name>x</name></domain>"))
refused("flag", lambda: domain.XMLDesc(1 << 30))
refused("device", lambda: domain.blockStats("nothing"))
refused("agent", lambda: domain.fsFreeze())

time.sleep(1)
tried("picture", show)
tried("console", talk)
tried("graphics", graphics)
domain.suspend()
print("paused", domain.state())
domain.resume()
domain.reset()
domain.destroy()
print("ended", domain.state(), domain.ID())
domain.undefine()
seen = lifecycle.until(lambda seen: ("py", 1, 0) in seen)
# Whether an emulator still says that it shuts down when it is ended is its own affair.
print("events", [what for what in seen if what[1] != libvirt.VIR_DOMAIN_EVENT_SHUTDOWN])
lifecycle.end()
refused("gone", lambda: domain.create())
print("after", [domain.name() for domain in connection.listAllDomains()])
connection.close()
