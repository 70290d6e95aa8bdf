// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stunserver"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

func init() {
	register("derp", "a DERP and STUN server; prints its region as JSON when it listens", runDERP)
}

func runDERP(args []string) error {
	flags := flag.NewFlagSet("derp", flag.ExitOnError)
	addr := flags.String("addr", "", "address to listen on")
	port := flags.Int("port", 443, "TCP port of DERP")
	stunPort := flags.Int("stun-port", 3478, "UDP port of STUN")
	region := flags.Int("region", 901, "region id")
	insecure := flags.Bool("insecure", false, "let clients skip the check of the certificate instead of pinning it")
	flags.Parse(args)
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	ip, err := netip.ParseAddr(*addr)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	cert, pin, err := selfSigned(ip)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	stun := stunserver.New(ctx)
	if err := stun.Listen(netip.AddrPortFrom(ip, uint16(*stunPort)).String()); err != nil {
		return err
	}
	go stun.Serve()
	listener, err := net.Listen("tcp", net.JoinHostPort(*addr, strconv.Itoa(*port)))
	if err != nil {
		return err
	}
	node := &tailcfg.DERPNode{
		Name: fmt.Sprintf("%da", *region), RegionID: *region, HostName: *addr, IPv4: *addr, IPv6: "none",
		STUNPort: *stunPort, DERPPort: *port,
	}
	if *insecure {
		node.InsecureForTests = true
	} else {
		node.CertName = "sha256-raw:" + pin
	}
	json.NewEncoder(os.Stdout).Encode(&tailcfg.DERPRegion{
		RegionID: *region, RegionCode: fmt.Sprintf("real%d", *region), RegionName: "real",
		Nodes: []*tailcfg.DERPNode{node},
	})
	return serveDERP(ctx, listener, cert)
}

func serveDERP(ctx context.Context, listener net.Listener, cert tls.Certificate) error {
	derp := derpserver.New(key.NewNode(), log.Printf)
	defer derp.Close()
	mux := http.NewServeMux()
	mux.Handle("/derp", derpserver.Handler(derp))
	mux.HandleFunc("/derp/probe", derpserver.ProbeHandler)
	mux.HandleFunc("/derp/latency-check", derpserver.ProbeHandler)
	mux.HandleFunc("/generate_204", derpserver.ServeNoContent)
	mux.HandleFunc("/debug/counters", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, derp.ExpVar(false).String())
	})
	// The server's own certificate goes out beside this one, and it asks for it by this function.
	conf := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }}
	derp.ModifyTLSConfigToAddMetaCert(conf)
	server := &http.Server{Handler: mux, TLSConfig: conf, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.ServeTLS(listener, "", ""); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// selfSigned makes a certificate for one address and the SHA-256 by which a DERP map pins it.
func selfSigned(ip netip.Addr) (tls.Certificate, string, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: ip.String()}, IPAddresses: []net.IP{ip.AsSlice()},
		DNSNames:  []string{ip.String()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	sum := sha256.Sum256(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, hex.EncodeToString(sum[:]), nil
}
