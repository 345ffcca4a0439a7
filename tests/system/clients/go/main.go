// A session of go-libvirt, which speaks the protocol without libvirt's library: lists, lifecycle, events, errors. Takes
// the socket and the URI behind it; prints what it saw, which is the same with every daemon, or fails.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"time"

	libvirt "github.com/digitalocean/go-libvirt"
)

func must(what string, err error) {
	if err != nil {
		fmt.Println(what, "failed:", err)
		os.Exit(1)
	}
}

func main() {
	socket, err := net.DialTimeout("unix", os.Args[1], 5*time.Second)
	must("dial", err)
	kind := strings.Split(os.Args[2], ":")[0]
	l := libvirt.New(socket)
	must("connect", l.ConnectToURI(libvirt.ConnectURI(os.Args[2])))
	version, err := l.Version()
	must("version", err)
	fmt.Println("version", version)
	domains, _, err := l.ConnectListAllDomains(1, 0)
	must("list", err)
	names := []string{}
	for _, domain := range domains {
		names = append(names, domain.Name)
	}
	sort.Strings(names)
	fmt.Println("domains", names)

	ctx, cancel := context.WithCancel(context.Background())
	events, err := l.SubscribeEvents(ctx, libvirt.DomainEventIDLifecycle, libvirt.OptDomain{})
	must("subscribe", err)
	domain, err := l.DomainDefineXML("<domain type='" + kind + "'><name>go</name><memory unit='MiB'>32</memory>" +
		"<os><type>hvm</type></os><devices><graphics type='vnc'/><video><model type='vga'/></video></devices></domain>")
	must("define", err)
	must("start", l.DomainCreate(domain))
	state, _, err := l.DomainGetState(domain, 0)
	must("state", err)
	fmt.Println("state", state)
	must("suspend", l.DomainSuspend(domain))
	state, reason, err := l.DomainGetState(domain, 0)
	must("state", err)
	fmt.Println("suspended", state, reason)
	must("destroy", l.DomainDestroy(domain))
	fmt.Println("again", l.DomainDestroy(domain) != nil)
	must("undefine", l.DomainUndefine(domain))
	heard := []int32{}
	timeout := time.After(20 * time.Second)
	for len(heard) == 0 || heard[len(heard)-1] != int32(libvirt.DomainEventUndefined) {
		select {
		case event := <-events:
			what := event.(*libvirt.DomainEventCallbackLifecycleMsg).Msg.Event
			// Whether an emulator still says that it shuts down when it is ended is its own affair.
			if what != int32(libvirt.DomainEventShutdown) {
				heard = append(heard, what)
			}
		case <-timeout:
			fmt.Println("no more events after", heard)
			os.Exit(1)
		}
	}
	fmt.Println("events", heard)
	cancel()
	_, err = l.DomainLookupByName("nobody")
	fmt.Println("missing", libvirt.IsNotFound(err))
	must("disconnect", l.Disconnect())
}
