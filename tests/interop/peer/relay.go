// SPDX-License-Identifier: MIT

package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go4.org/mem"
	"tailscale.com/disco"
	"tailscale.com/net/packet"
	"tailscale.com/net/udprelay"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
	"tailscale.com/types/views"
	"tailscale.com/util/usermetric"
)

func init() {
	register("relay", "the relay server of a node by itself, with sessions for relay-bind", runRelay)
	register("relay-bind", "binds one side of the sessions that relay has made", runRelayBind)
}

const (
	bindTries = 10
	bindWait  = 500 * time.Millisecond
)

// relayClient is the key of one end of session i, the same in every process: there is nobody to keep it from.
func relayClient(side string, i int) key.DiscoPrivate {
	seed := sha256.Sum256(fmt.Appendf(nil, "relay %s %d", side, i))
	return key.DiscoPrivateFromRaw32(mem.B(seed[:]))
}

// The left side is one node, which talks to as many others as there are sessions.
func leftClient(int) key.DiscoPrivate    { return relayClient("left", 0) }
func rightClient(i int) key.DiscoPrivate { return relayClient("right", i) }

func runRelay(args []string) error {
	flags := flag.NewFlagSet("relay", flag.ExitOnError)
	addr := flags.String("addr", "", "ADDRESS:PORT to announce; the port is listened on")
	n := flags.Int("sessions", 1, "how many; they have the VNIs from 1")
	flags.Parse(args)
	announced, err := netip.ParseAddrPort(*addr)
	if err != nil {
		return err
	}
	server, err := udprelay.NewServer(logger.Discard, announced.Port(), true, new(usermetric.Registry), nil)
	if err != nil {
		return err
	}
	defer server.Close()
	server.SetStaticAddrPorts(views.SliceOf([]netip.AddrPort{announced}))
	var public string
	left := leftClient(0).Public()
	for i := range *n {
		session, err := server.AllocateEndpoint(left, rightClient(i).Public())
		if err != nil {
			return err
		}
		if session.VNI != uint32(i)+1 {
			return fmt.Errorf("session %d has VNI %d", i, session.VNI)
		}
		text, err := session.ServerDisco.MarshalText()
		if err != nil {
			return err
		}
		public = string(text)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	fmt.Println(public)
	<-stop
	return nil
}

func runRelayBind(args []string) error {
	flags := flag.NewFlagSet("relay-bind", flag.ExitOnError)
	addr := flags.String("addr", "", "ADDRESS:PORT of the relay")
	public := flags.String("key", "", "what relay printed")
	side := flags.String("side", "left", "left or right")
	n := flags.Int("sessions", 1, "how many")
	port := flags.Int("port", 20000, "own port of the first; the others have the next ones")
	flags.Parse(args)
	var server key.DiscoPublic
	if err := server.UnmarshalText([]byte(*public)); err != nil {
		return err
	}
	relay, err := net.ResolveUDPAddr("udp", *addr)
	if err != nil {
		return err
	}
	for i := range *n {
		own, other := leftClient(i), rightClient(i)
		if *side == "right" {
			own, other = other, own
		}
		client := bindClient{own: own, shared: own.Shared(server), common: disco.BindUDPRelayEndpointCommon{
			VNI: uint32(i) + 1, Generation: 1, RemoteKey: other.Public()}}
		if err := client.bind(*port+i, relay); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
	}
	return nil
}

// bindClient is one end of one session during its handshake.
type bindClient struct {
	own    key.DiscoPrivate
	shared key.DiscoShared
	common disco.BindUDPRelayEndpointCommon
}

func (c *bindClient) send(conn *net.UDPConn, m disco.Message) error {
	header := packet.GeneveHeader{Protocol: packet.GeneveProtocolDisco, Control: true}
	header.VNI.Set(c.common.VNI)
	b := make([]byte, packet.GeneveFixedHeaderLength, 512)
	if err := header.Encode(b); err != nil {
		return err
	}
	b = append(b, disco.Magic...)
	b = c.own.Public().AppendTo(b)
	b = append(b, c.shared.Seal(m.AppendMarshal(nil))...)
	_, err := conn.Write(b)
	return err
}

// receive returns the relay's challenge.
func (c *bindClient) receive(conn *net.UDPConn) (*disco.BindUDPRelayEndpointChallenge, error) {
	const boxed = packet.GeneveFixedHeaderLength + len(disco.Magic) + key.DiscoPublicRawLen
	buf := make([]byte, 1500)
	conn.SetReadDeadline(time.Now().Add(bindWait))
	n, err := conn.Read(buf)
	if err != nil {
		return nil, err
	}
	if n < boxed {
		return nil, errors.New("short answer")
	}
	clear, ok := c.shared.Open(buf[boxed:n])
	if !ok {
		return nil, errors.New("the answer does not open")
	}
	m, err := disco.Parse(clear)
	if err != nil {
		return nil, err
	}
	challenge, ok := m.(*disco.BindUDPRelayEndpointChallenge)
	if !ok {
		return nil, fmt.Errorf("the answer is %T", m)
	}
	return challenge, nil
}

// bind does the handshake; the relay says nothing to the last message, which is why it is sent again once.
func (c *bindClient) bind(port int, relay *net.UDPAddr) error {
	conn, err := net.DialUDP("udp", &net.UDPAddr{Port: port}, relay)
	if err != nil {
		return err
	}
	defer conn.Close()
	for range bindTries {
		if err = c.send(conn, &disco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: c.common}); err != nil {
			return err
		}
		var challenge *disco.BindUDPRelayEndpointChallenge
		if challenge, err = c.receive(conn); err != nil {
			continue
		}
		answer := disco.BindUDPRelayEndpointAnswer{BindUDPRelayEndpointCommon: c.common}
		answer.Challenge = challenge.Challenge
		if err = c.send(conn, &answer); err != nil {
			return err
		}
		return c.send(conn, &answer)
	}
	return err
}
