// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"tailscale.com/control/controlclient"
	_ "tailscale.com/feature/c2n"
	_ "tailscale.com/feature/condregister/portmapper"
	_ "tailscale.com/feature/debugportmapper"
	_ "tailscale.com/feature/relayserver"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnlocal"
	"tailscale.com/ipn/ipnserver"
	"tailscale.com/ipn/store"
	"tailscale.com/net/dns"
	"tailscale.com/net/netmon"
	"tailscale.com/net/netns"
	"tailscale.com/net/tsdial"
	"tailscale.com/net/tstun"
	"tailscale.com/safesocket"
	"tailscale.com/tsd"
	"tailscale.com/types/logid"
	"tailscale.com/wgengine"
	"tailscale.com/wgengine/router"
	_ "tailscale.com/wgengine/router/osrouter"
)

func init() {
	register("node", "a node with a TUN device, the relay server feature and a LocalAPI socket", runNode)
}

type nodeOptions struct {
	dir, socket, tun string
	port             uint
}

func runNode(args []string) error {
	var o nodeOptions
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	flags.StringVar(&o.dir, "dir", "", "state directory")
	flags.StringVar(&o.socket, "socket", "", "path of the LocalAPI socket")
	flags.StringVar(&o.tun, "tun", "mesh0", "name of the interface")
	flags.UintVar(&o.port, "port", 41641, "UDP port")
	flags.Parse(args)
	if o.dir == "" || o.socket == "" || flags.NArg() != 0 {
		return errors.New("--dir and --socket are needed, and nothing else")
	}
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return serveNode(ctx, o)
}

// serveNode joins the parts of a node as its daemon does and serves the LocalAPI until ctx is done.
func serveNode(ctx context.Context, o nodeOptions) error {
	sys := tsd.NewSystem()
	mon, err := netmon.New(sys.Bus.Get(), log.Printf)
	if err != nil {
		return fmt.Errorf("network monitor: %w", err)
	}
	sys.Set(mon)
	listener, err := safesocket.Listen(o.socket)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := startEngine(sys, o); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	backend, err := startBackend(sys, o)
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	server := ipnserver.New(log.Printf, logid.PublicID{}, sys.Bus.Get(), mon)
	server.SetLocalBackend(backend)
	err = serveLocalAPI(ctx, server, listener)
	backend.Shutdown()
	select {
	case <-sys.Engine.Get().Done():
	case <-time.After(5 * time.Second):
		return errors.New("the engine does not end")
	}
	return err
}

func serveLocalAPI(ctx context.Context, server *ipnserver.Server, listener net.Listener) error {
	if err := server.Run(ctx, listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("LocalAPI: %w", err)
	}
	return nil
}

// startEngine makes the TUN device and the packet engine. The resolver of the machine stays as it is.
func startEngine(sys *tsd.System, o nodeOptions) error {
	dialer := &tsdial.Dialer{Logf: log.Printf}
	dialer.SetBus(sys.Bus.Get())
	sys.Set(dialer)
	health := sys.HealthTracker.Get()
	health.SetMetricsRegistry(sys.UserMetricsRegistry())
	netns.SetEnabled(true)
	device, _, err := tstun.New(log.Printf, o.tun)
	if err != nil {
		return err
	}
	routes, err := router.New(log.Printf, device, sys.NetMon.Get(), health, sys.Bus.Get())
	if err != nil {
		return err
	}
	resolver, err := dns.NewNoopManager()
	if err != nil {
		return err
	}
	sys.Set(routes)
	engine, err := wgengine.NewUserspaceEngine(log.Printf, wgengine.Config{
		Tun: device, Router: routes, DNS: resolver, ListenPort: uint16(o.port), NetMon: sys.NetMon.Get(),
		HealthTracker: health, ExtraRootCAs: sys.ExtraRootCAs, Metrics: sys.UserMetricsRegistry(), Dialer: dialer,
		SetSubsystem: sys.Set, ControlKnobs: sys.ControlKnobs(), EventBus: sys.Bus.Get(),
	})
	if err != nil {
		return err
	}
	sys.Set(engine)
	sys.NetstackRouter.Set(false)
	return nil
}

// startBackend reads the state file and brings the node to where it was.
func startBackend(sys *tsd.System, o nodeOptions) (*ipnlocal.LocalBackend, error) {
	state, err := store.New(log.Printf, filepath.Join(o.dir, "state"))
	if err != nil {
		return nil, err
	}
	sys.Set(state)
	sys.Tun.Get().Start()
	backend, err := ipnlocal.NewLocalBackend(log.Printf, logid.PublicID{}, sys, controlclient.LoginDefault)
	if err != nil {
		return nil, err
	}
	backend.SetVarRoot(o.dir)
	if err := backend.Start(ipn.Options{}); err != nil {
		return nil, err
	}
	return backend, nil
}
