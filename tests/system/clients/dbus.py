"""A session with libvirt-dbus on the bus of DBUS_SESSION_BUS_ADDRESS: properties, calls, signals. Prints what it saw,
which is the same with every daemon behind it."""
import json
import time

from gi.repository import Gio, GLib

SERVICE, ROOT = "org.libvirt", "/org/libvirt/QEMU"
UUID = "11111111-2222-3333-4444-555555555501"
XML = """<domain type='qemu'><name>bus</name><uuid>%s</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><serial type='pty'/>
<interface type='user'><mac address='52:54:00:11:22:33'/></interface></devices></domain>""" % UUID
UNDEFINED, SHUTDOWN = 1, 6
# The errors that clients know by their texts. All others are said in each daemon's own words.
KNOWN = "Domain not found", "Requested operation is not valid"

bus = Gio.bus_get_sync(Gio.BusType.SESSION)
signals = []


def heard(connection, sender, path, interface, member, parameters):
    about, event, detail = parameters.unpack()
    # Whether an emulator still says that it shuts down when it is ended is its own affair.
    if event != SHUTDOWN:
        signals.append((about, event, detail))


bus.signal_subscribe(SERVICE, SERVICE + ".Connect", "DomainEvent", ROOT, None, Gio.DBusSignalFlags.NONE, heard)


def pump(enough, patience):
    end = time.time() + patience
    while not enough() and time.time() < end:
        while GLib.MainContext.default().iteration(False):
            pass
        time.sleep(0.01)


def ask(path, interface, member, types="()", values=(), show=lambda answer: answer):
    """Prints the answer, or what kind of error it is; 3 is what libvirt calls a function that is not supported."""
    what = "%s %s" % (member, values)
    try:
        answer = bus.call_sync(SERVICE, path, interface, member, GLib.Variant(types, values), None, 0, 60000, None)
    except GLib.Error as error:
        said = error.message.split("org.libvirt.Error: ")[-1]
        kind = said.split(":")[0]
        kind = 3 if said.startswith("this function is not supported") else kind if kind in KNOWN else "of its own"
        print(what, "error", kind)
        return None
    answer = answer.unpack()
    answer = answer[0] if len(answer) == 1 else answer
    print(what, json.dumps(show(answer), sort_keys=True))
    return answer


def there():
    reply = bus.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner",
                          GLib.Variant("(s)", (SERVICE,)), None, 0, 60000, None)
    return reply.unpack()[0]


def host(member, *rest, **more):
    return ask(ROOT, SERVICE + ".Connect", member, *rest, **more)


def properties(path, interface):
    ask(path, "org.freedesktop.DBus.Properties", "GetAll", "(s)", (SERVICE + "." + interface,),
        show=lambda all: {name: value for name, value in all.items() if name not in ("Id", "SchedulerType", "Version")})


pump(there, 30)
properties(ROOT, "Connect")
host("ListDomains", "(u)", (0,))
host("NodeGetCPUMap", "(u)", (0,))
host("NodeGetCPUStats", "(iu)", (-1, 0), show=sorted)
host("NodeGetCPUStats", "(iu)", (9999, 0), show=sorted)
host("NodeGetMemoryStats", "(iu)", (-1, 0), show=sorted)
host("NodeGetFreeMemory", show=lambda free: free > 0)
host("GetCapabilities", show=lambda text: text.startswith("<capabilities>"))
host("DomainLookupByName", "(s)", ("nobody",))
host("DomainDefineXML", "(s)", ("<domain",), show=len)
guest = host("DomainDefineXML", "(s)", (XML,))


def domain(member, *rest, **more):
    return ask(guest, SERVICE + ".Domain", member, *rest, **more)


properties(guest, "Domain")
domain("GetState", "(u)", (0,))
domain("Suspend")
domain("Create", "(u)", (0,))
domain("Create", "(u)", (0,))
properties(guest, "Domain")
domain("GetState", "(u)", (0,))
host("ListDomains", "(u)", (1,))
domain("GetXMLDesc", "(u)", (0,), show=lambda text: "<name>bus</name>" in text)
domain("MemoryStats", "(u)", (0,), show=lambda stats: "6" in map(str, stats))
domain("GetVcpus", "(u)", (0,))
for source in 0, 2:
    domain("InterfaceAddresses", "(uu)", (source, 0))
domain("Suspend")
domain("GetState", "(u)", (0,))
domain("Resume")
domain("GetStats", "(uu)", (0, 0), show=len)
domain("Destroy", "(u)", (0,))
domain("GetState", "(u)", (0,))
domain("Undefine", "(u)", (0,))
domain("GetState", "(u)", (0,))
pump(lambda: any(event == UNDEFINED for _, event, _ in signals), 20)
for signal in signals:
    print("signal", *signal)
