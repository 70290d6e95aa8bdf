// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

func init() {
	register("derpclient", "a DERP client driven by lines: send KEY HEX, ping, close; prints what it receives", runDERPClient)
}

func runDERPClient(args []string) error {
	flags := flag.NewFlagSet("derpclient", flag.ExitOnError)
	text := flags.String("region", "", "the region as JSON, as in a DERP map")
	flags.Parse(args)
	var region tailcfg.DERPRegion
	if err := json.Unmarshal([]byte(*text), &region); err != nil {
		return fmt.Errorf("--region: %w", err)
	}
	client := derphttp.NewRegionClient(key.NewNode(), log.Printf, netmon.NewStatic(), func() *tailcfg.DERPRegion { return &region })
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := client.Connect(ctx); err != nil {
		return err
	}
	fmt.Println("key", client.SelfPublicKey())
	go printDERP(client)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := derpLine(client, strings.Fields(lines.Text())); err != nil {
			return err
		}
	}
	return lines.Err()
}

func derpLine(client *derphttp.Client, words []string) error {
	switch {
	case len(words) == 3 && words[0] == "send":
		var to key.NodePublic
		if err := to.UnmarshalText([]byte(words[1])); err != nil {
			return err
		}
		body, err := hex.DecodeString(words[2])
		if err != nil {
			return err
		}
		return client.Send(to, body)
	case len(words) == 1 && words[0] == "ping":
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := client.Ping(ctx); err != nil {
			return err
		}
		fmt.Println("pong")
		return nil
	}
	return errors.New("what is " + strings.Join(words, " ") + "?")
}

// printDERP says every message in one line; it ends with the connection.
func printDERP(client *derphttp.Client) {
	for {
		message, err := client.Recv()
		if err != nil {
			fmt.Println("error", err)
			return
		}
		switch m := message.(type) {
		case derp.ReceivedPacket:
			fmt.Println("received", m.Source, hex.EncodeToString(m.Data))
		case derp.PeerGoneMessage:
			fmt.Println("gone", m.Peer, m.Reason)
		case derp.PingMessage:
			client.SendPong(m)
		default:
			fmt.Printf("%T\n", message)
		}
	}
}
