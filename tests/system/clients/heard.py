"""What sessions of libvirt's Python binding share: errors as exceptions alone, an event loop in a thread, and what is
heard of guests."""
import threading
import time

import libvirt


def prepare():
    """Before the first connection."""
    libvirt.registerErrorHandler(lambda context, error: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def loop():
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=loop, daemon=True).start()


class Lifecycle:
    """The turns in the lives of a connection's guests: name, event, detail."""

    def __init__(self, connection):
        self.connection = connection
        self.seen = []
        self.news = threading.Condition()
        self.callback = connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self.hear, "opaque")

    def hear(self, connection, domain, event, detail, opaque):
        assert opaque == "opaque"
        with self.news:
            self.seen.append((domain.name(), event, detail))
            self.news.notify_all()

    def until(self, enough):
        """What was seen when that is enough, or after 20 seconds."""
        end = time.time() + 20
        with self.news:
            while not enough(self.seen) and time.time() < end:
                self.news.wait(1)
            return list(self.seen)

    def end(self):
        self.connection.domainEventDeregisterAny(self.callback)
