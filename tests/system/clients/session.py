"""A session of libvirt's Python binding with a daemon: lists, lifecycle with events, XML, errors,
keepalive. Takes the URI; prints what it saw, or fails."""
import sys
import threading
import time

import libvirt

uri = sys.argv[1]
libvirt.registerErrorHandler(lambda context, error: None, None)
libvirt.virEventRegisterDefaultImpl()


def loop():
    while True:
        libvirt.virEventRunDefaultImpl()


threading.Thread(target=loop, daemon=True).start()

connection = libvirt.open(uri)
assert connection.isAlive()
print("lib", connection.getLibVersion())
print("host", connection.getHostname() != "")
print("domains", sorted(domain.name() for domain in connection.listAllDomains()))

seen = []
heard = threading.Condition()


def lifecycle(connection, domain, event, detail, opaque):
    with heard:
        seen.append((domain.name(), event, detail, opaque))
        heard.notify_all()


callback = connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, "opaque")
domain = connection.defineXML(
    "<domain type='test'><name>py</name><memory unit='MiB'>8</memory><os><type>hvm</type></os></domain>"
)
domain.create()
assert domain.isActive()
domain.suspend()
domain.resume()
domain.destroy()
domain.undefine()
end = time.time() + 20
with heard:
    while len(seen) < 6 and time.time() < end:
        heard.wait(1)
print("events", [(name, event) for name, event, _, _ in seen])
connection.domainEventDeregisterAny(callback)

try:
    connection.lookupByName("nobody")
    print("no error")
except libvirt.libvirtError as error:
    print("error", error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN, error.get_error_message())

running = connection.lookupByName("test")
print("xml", running.XMLDesc(0).startswith("<domain type='test'"))
connection.setKeepAlive(1, 3)
time.sleep(2.5)
print("alive", connection.isAlive() == 1)
connection.close()
