"""What programs in C ask before they ask: how many values a call has, with no room for any and with too much of it. The
Python binding hides these questions. Takes the URI and the kind of its guests; prints answers and codes of errors, which
are the same with every daemon."""
import ctypes
import sys

C = ctypes.CDLL("libvirt.so.0")
for constructor in ("virConnectOpen", "virDomainDefineXML"):
    getattr(C, constructor).restype = ctypes.c_void_p


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int)]


class Stat(ctypes.Structure):
    _fields_ = [("field", ctypes.c_char * 80), ("value", ctypes.c_ulonglong)]


class MemoryStat(ctypes.Structure):
    _fields_ = [("tag", ctypes.c_int), ("value", ctypes.c_ulonglong)]


C.virGetLastError.restype = ctypes.POINTER(Error)
quiet = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(lambda data, error: None)
C.virSetErrorFunc(None, quiet)
connection = ctypes.c_void_p(C.virConnectOpen(sys.argv[1].encode()))


def say(what, result, *values):
    if result < 0:
        values = ("error", C.virGetLastError().contents.code)
    else:
        values = (result,) + values
    print(what, *values)


def host():
    for need_map in (True, False):
        for need_online in (True, False):
            bits, online = ctypes.POINTER(ctypes.c_ubyte)(), ctypes.c_uint(0)
            found = C.virNodeGetCPUMap(connection, ctypes.byref(bits) if need_map else None,
                                       ctypes.byref(online) if need_online else None, 0)
            shown = [bits[byte] for byte in range((found + 7) // 8)] if need_map and found > 0 else None
            say("map %s %s" % (need_map, need_online), found, online.value, shown)
    for call, places in ("virNodeGetCPUStats", (-1, 0, 9999)), ("virNodeGetMemoryStats", (-1, 0, 9999)):
        for place in places:
            for room in (0, 1, 2, 4, 5):
                count, stats = ctypes.c_int(room), (Stat * 8)()
                result = getattr(C, call)(connection, place, stats if room else None, ctypes.byref(count), 0)
                names = [stat.field.decode() for stat in stats[:count.value]] if room and result == 0 else None
                say("%s %d %d" % (call, place, room), result, count.value, names)
    for start in (0, 9999):
        free = (ctypes.c_ulonglong * 64)()
        say("cells %d" % start, C.virNodeGetCellsFreeMemory(connection, free, start, 64), free[0] > 0)
    for start in (-1, 0, 9999):
        for sizes in ((4,), (4, 2048), (7,)):
            free, asked = (ctypes.c_ulonglong * 128)(), (ctypes.c_uint * 2)(*sizes)
            found = C.virNodeGetFreePages(connection, len(sizes), asked, start, 1, free, 0)
            say("pages %d %s" % (start, sizes), found, free[0] > 0)


def guest(domain, state):
    for flags in (0, 1, 2, 3, 64):
        for call, before in (("virDomainGetBlkioParameters", ()), ("virDomainGetMemoryParameters", ()),
                             ("virDomainGetNumaParameters", ()), ("virDomainGetSchedulerParametersFlags", ()),
                             ("virDomainGetInterfaceParameters", (b"vnet7",)),
                             ("virDomainGetInterfaceParameters", (b"nobody",)),
                             ("virDomainGetBlockIoTune", (b"vda",)), ("virDomainGetBlockIoTune", (b"nobody",)),
                             ("virDomainGetBlockIoTune", (None,)), ("virDomainBlockStatsFlags", (b"vda",))):
            count = ctypes.c_int(0)
            result = getattr(C, call)(domain, *before, None, ctypes.byref(count), flags)
            say("%s %s %s %d" % (state, call, before, flags), result, count.value)
        say("%s cpu stats %d" % (state, flags), C.virDomainGetCPUStats(domain, None, 0, 0, 1, flags))
        params, count = ctypes.c_void_p(), ctypes.c_int(0)
        found = C.virDomainGetPerfEvents(domain, ctypes.byref(params), ctypes.byref(count), flags)
        say("%s perf %d" % (state, flags), found, count.value)
        threads = ctypes.c_void_p()
        say("%s threads %d" % (state, flags), C.virDomainGetIOThreadInfo(domain, ctypes.byref(threads), flags))
    stats = (MemoryStat * 32)()
    found = C.virDomainMemoryStats(domain, stats, 32, 0)
    say("%s memory" % state, found, sorted(stat.tag for stat in stats[:max(found, 0)]))


def define(name, kind, more):
    text = """<domain type='%s'><name>%s</name><memory>65536</memory><os><type>hvm</type></os><devices>
    <disk type='file'><source file='/x'/><target dev='vda' bus='virtio'/></disk>
    <interface type='user'><target dev='vnet7'/></interface>%s</devices></domain>""" % (kind, name, more)
    return ctypes.c_void_p(C.virDomainDefineXML(connection, text.encode()))


kind = sys.argv[2]
if kind == "test":
    for name, more in ("plain", ""), ("balloon", "<memballoon model='virtio'/>"), ("none", "<memballoon model='none'/>"):
        domain = define(name, kind, more)
        guest(domain, name + " off")
        say("start", C.virDomainCreate(domain))
        guest(domain, name + " on")
        C.virDomainDestroy(domain)
        C.virDomainUndefine(domain)
else:
    host()
    domain = define("plain", kind, "")
    guest(domain, "plain off")
    C.virDomainUndefine(domain)
