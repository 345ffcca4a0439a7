// A session of go-libvirt, which speaks the protocol without libvirt's library: lists, lifecycle, events. Takes the
// socket; prints what it saw, or fails.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sort"
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
	l := libvirt.New(socket)
	must("connect", l.ConnectToURI(libvirt.TestDefault))
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
	domain, err := l.DomainDefineXML("<domain type='test'><name>go</name><memory unit='MiB'>8</memory><os><type>hvm</type></os></domain>")
	must("define", err)
	must("start", l.DomainCreate(domain))
	state, _, err := l.DomainGetState(domain, 0)
	must("state", err)
	fmt.Println("state", state)
	must("destroy", l.DomainDestroy(domain))
	must("undefine", l.DomainUndefine(domain))
	heard := []int32{}
	timeout := time.After(20 * time.Second)
	for len(heard) < 4 {
		select {
		case event := <-events:
			heard = append(heard, event.(*libvirt.DomainEventCallbackLifecycleMsg).Msg.Event)
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
