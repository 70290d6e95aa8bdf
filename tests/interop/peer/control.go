// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
)

func init() {
	register("control", "the reference test control server; prints its URL when it listens, takes commands by line", runControl)
}

func runControl(args []string) error {
	flags := flag.NewFlagSet("control", flag.ExitOnError)
	addr := flags.String("addr", "", "address:port to listen on")
	derpMap := flags.String("derp-map", "", "file with the DERP map as JSON")
	authKey := flags.String("auth-key", "", "the key every node must show")
	requireAuth := flags.Bool("require-auth", false, "logins wait to be approved")
	relay := flags.Bool("peer-relay", true, "grant the use of peer relays")
	flags.Parse(args)
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	text, err := os.ReadFile(*derpMap)
	if err != nil {
		return err
	}
	regions := new(tailcfg.DERPMap)
	if err := json.Unmarshal(text, regions); err != nil {
		return fmt.Errorf("--derp-map: %w", err)
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	control := &testcontrol.Server{
		Logf: log.Printf, DERPMap: regions, ExplicitBaseURL: url, RequireAuthKey: *authKey, RequireAuth: *requireAuth,
		PeerRelayGrants: *relay, MagicDNSDomain: "real.example.com", AllNodesSameUser: true, AllOnline: true,
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{Handler: control}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	fmt.Println(url)
	go driveControl(control, os.Stdin, os.Stdout)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
