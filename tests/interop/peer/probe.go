// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"tailscale.com/control/tsp"
	"tailscale.com/disco"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

func init() {
	register("probe", "a node that joins and asks another one odd things by disco; prints what was answered", runProbe)
}

const (
	answerWait = time.Second            // how long an answer may take
	firstWait  = 300 * time.Millisecond // the same before the target knows our key: then we ask again
	pingType   = byte(1)
)

// prober is a node of the mesh that has no data plane: it only says disco messages.
type prober struct {
	node   key.NodePrivate
	disco  key.DiscoPrivate
	shared key.DiscoShared
	conn   *net.UDPConn
	target netip.AddrPort
}

type txID = [12]byte

// probe is one question: the clear text of a disco message, and the transaction id a Pong must bear.
type probe struct {
	name  string
	id    txID
	clear []byte
}

func runProbe(args []string) error {
	flags := flag.NewFlagSet("probe", flag.ExitOnError)
	url := flags.String("url", "", "control server")
	authKey := flags.String("auth-key", "", "auth key")
	name := flags.String("target", "", "name of the node that is asked")
	addr := flags.String("addr", "", "own address; the target's is its endpoint in the same network")
	flags.Parse(args)
	ip, err := netip.ParseAddr(*addr)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	p := &prober{node: key.NewNode(), disco: key.NewDisco()}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	client, err := tsp.NewClient(tsp.ClientOpts{ServerURL: *url, MachineKey: key.NewMachine()})
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := p.join(ctx, client, *authKey, *name, ip)
	if err != nil {
		return err
	}
	defer session.Close()
	if p.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))); err != nil {
		return err
	}
	return p.ask()
}

// join registers, tells its disco key and finds the target. The session is the map stream: open, it is online.
func (p *prober) join(ctx context.Context, client *tsp.Client, authKey, name string, ip netip.Addr) (*tsp.MapSession, error) {
	info := func() *tailcfg.Hostinfo { return &tailcfg.Hostinfo{Hostname: "probe-" + name, OS: "linux"} }
	done, err := client.Register(ctx, tsp.RegisterOpts{NodeKey: p.node, Hostinfo: info(), AuthKey: authKey})
	if err != nil {
		return nil, err
	}
	if !done.MachineAuthorized {
		return nil, errors.New("not authorized: " + done.Error)
	}
	session, err := client.Map(ctx, tsp.MapOpts{NodeKey: p.node, Hostinfo: info(), Stream: true})
	if err != nil {
		return nil, err
	}
	response, err := session.Next()
	if err != nil {
		return nil, err
	}
	go func() { // the stream must be read, or the server drops it
		for {
			if _, err := session.Next(); err != nil {
				return
			}
		}
	}()
	for _, peer := range response.Peers {
		if strings.HasPrefix(peer.Name, name+".") {
			p.shared = p.disco.Shared(peer.DiscoKey)
			p.target = sameNetwork(peer.Endpoints, ip)
		}
	}
	if !p.target.IsValid() {
		return nil, errors.New("no endpoint of " + name + " in the network of " + ip.String())
	}
	return session, client.SendMapUpdate(ctx, tsp.SendMapUpdateOpts{NodeKey: p.node, DiscoKey: p.disco.Public(), Hostinfo: info()})
}

func sameNetwork(endpoints []netip.AddrPort, ip netip.Addr) netip.AddrPort {
	network, _ := ip.Prefix(24)
	for _, endpoint := range endpoints {
		if network.Contains(endpoint.Addr()) {
			return endpoint
		}
	}
	return netip.AddrPort{}
}

// send seals a clear text as a disco packet.
func (p *prober) send(clear []byte) error {
	public := p.disco.Public().Raw32()
	packet := append([]byte(disco.Magic), public[:]...)
	_, err := p.conn.WriteToUDPAddrPort(append(packet, p.shared.Seal(clear)...), p.target)
	return err
}

// pong waits for the Pong with one id, and says whether it came and named our address.
func (p *prober) pong(id txID, wait time.Duration) string {
	buf := make([]byte, 65536)
	own := p.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	p.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return "silence"
		}
		if from != p.target || n < 62 || !disco.LooksLikeDiscoWrapper(buf[:n]) {
			continue
		}
		clear, ok := p.shared.Open(buf[38:n])
		if !ok {
			continue
		}
		m, err := disco.Parse(clear)
		if pong, isPong := m.(*disco.Pong); err == nil && isPong && pong.TxID == id {
			if pong.Src != own {
				return "pong to " + pong.Src.String()
			}
			return fmt.Sprintf("pong of %d bytes", n)
		}
	}
}

func (p *prober) newPing(padding int) (txID, []byte) {
	ping := &disco.Ping{NodeKey: p.node.Public(), Padding: padding}
	rand.Read(ping.TxID[:])
	return ping.TxID, ping.AppendMarshal(nil)
}

func (p *prober) ask() error {
	out := json.NewEncoder(os.Stdout)
	deadline := time.Now().Add(20 * time.Second)
	for { // until the target has our key
		id, clear := p.newPing(0)
		if err := p.send(clear); err != nil {
			return err
		}
		if p.pong(id, firstWait) != "silence" {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("no answer to the first ping")
		}
	}
	for _, q := range p.questions() {
		if err := p.send(q.clear); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		out.Encode(map[string]string{"question": q.name, "answer": p.pong(q.id, answerWait)})
	}
	for _, clear := range p.nonsense() {
		if err := p.send(clear); err != nil {
			return err
		}
	}
	id, clear := p.newPing(0)
	if err := p.send(clear); err != nil {
		return err
	}
	out.Encode(map[string]string{"question": "ping behind what no version says", "answer": p.pong(id, answerWait)})
	return nil
}

// questions are what other versions might say: probes of the path's MTU, other versions and types, odd sizes.
func (p *prober) questions() []probe {
	var list []probe
	add := func(name string, id txID, clear []byte) { list = append(list, probe{name, id, clear}) }
	for _, mtu := range []int{1280, 1360, 1400, 1500, 8000, 9000} {
		id, clear := p.newPing(mtu - 28 - 124)
		add(fmt.Sprintf("ping that fills an MTU of %d", mtu), id, clear)
	}
	id, clear := p.newPing(0)
	clear[1] = 1
	add("ping of version 1", id, clear)
	id, clear = p.newPing(0)
	add("ping without node key", id, clear[:14])
	id, clear = p.newPing(0)
	add("ping with half a node key", id, clear[:30])
	id, clear = p.newPing(0)
	add("ping with bytes of a later version behind it", id, append(clear, "what comes after the key"...))
	id, clear = p.newPing(0)
	stranger := key.NewNode().Public().Raw32()
	copy(clear[14:], stranger[:])
	add("ping with the node key of a stranger", id, clear)
	id, clear = p.newPing(0)
	copy(clear[14:], make([]byte, 32))
	add("ping with a node key of zeros", id, clear)
	id, clear = p.newPing(0)
	add("ping cut in its id", id, clear[:13])
	id, clear = p.newPing(0)
	clear[0] = 0x7f
	add("message of type 0x7f", id, clear)
	return list
}

// nonsense is sealed and authentic, and deserves nothing: unknown types, random bodies, messages cut short.
func (p *prober) nonsense() [][]byte {
	list := [][]byte{nil, {pingType}}
	for kind := 0; kind < 256; kind += 5 {
		list = append(list, append([]byte{byte(kind) | 0x10, 0}, random(60)...))
	}
	for kind := byte(2); kind < 10; kind++ {
		for _, size := range []int{0, 1, 17, 18, 30, 68, 72, 128, 146, 200, 1200} {
			list = append(list, append([]byte{kind, 0}, random(size)...), append([]byte{kind, 1}, random(size)...))
		}
	}
	return list
}

func random(size int) []byte {
	b := make([]byte, size)
	rand.Read(b)
	return b
}
