"""A session of libvirt's Python binding with a daemon: lists, lifecycle with events, XML, errors,
keepalive. Takes the URI; prints what it saw, or fails."""
import sys
import time

import libvirt

import heard

uri = sys.argv[1]
heard.prepare()

connection = libvirt.open(uri)
assert connection.isAlive()
print("lib", connection.getLibVersion())
print("host", connection.getHostname() != "")
print("domains", sorted(domain.name() for domain in connection.listAllDomains()))

lifecycle = heard.Lifecycle(connection)
domain = connection.defineXML(
    "<domain type='test'><name>py</name><memory unit='MiB'>8</memory><os><type>hvm</type></os></domain>"
)
domain.create()
assert domain.isActive()
domain.suspend()
domain.resume()
domain.destroy()
domain.undefine()
seen = lifecycle.until(lambda seen: len(seen) >= 6)
print("events", [(name, event) for name, event, _ in seen])
lifecycle.end()

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
