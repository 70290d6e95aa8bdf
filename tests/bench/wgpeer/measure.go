// SPDX-License-Identifier: MIT

package main

import (
	"crypto/rand"
	"fmt"
	"log"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

const (
	tries    = 15
	tryTime  = 3 * time.Millisecond
	nPairs   = 400 // a peer takes 50 handshakes a second: so many take turns
	shakeFor = time.Second
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// best returns the nanoseconds of one call, best of the tries.
func best(f func()) float64 {
	least := 1e18
	for range tries {
		n, begin := 0, time.Now()
		for ; time.Since(begin) < tryTime; n++ {
			f()
		}
		least = min(least, float64(time.Since(begin).Nanoseconds())/float64(n))
	}
	return least
}

// measureAEAD prints what x/crypto's ChaCha20-Poly1305, which wireguard-go uses, takes for a packet, in place.
func measureAEAD() {
	var key [chacha20poly1305.KeySize]byte
	var nonce [chacha20poly1305.NonceSize]byte
	aead, err := chacha20poly1305.New(key[:])
	must(err)
	for _, size := range []int{64, 256, 1280, 1350, 1420, 8192} {
		buf, sealed := make([]byte, size, size+16), make([]byte, size+16)
		fmt.Printf("{\"what\": \"seal\", \"size\": %d, \"ns\": %.1f}\n", size,
			best(func() { aead.Seal(buf[:0], nonce[:], buf, nil) }))
		work := make([]byte, size+16)
		copy(sealed, aead.Seal(nil, nonce[:], make([]byte, size), nil))
		fmt.Printf("{\"what\": \"open\", \"size\": %d, \"ns\": %.1f}\n", size, best(func() {
			copy(work, sealed)
			if _, err := aead.Open(work[:0], nonce[:], work, nil); err != nil {
				log.Fatal(err)
			}
		}))
	}
}

func newKey() (private device.NoisePrivateKey, public device.NoisePublicKey) {
	_, err := rand.Read(private[:])
	must(err)
	private[0] &= 248
	private[31] = private[31]&127 | 64
	p, err := curve25519.X25519(private[:], curve25519.Basepoint)
	must(err)
	copy(public[:], p)
	return private, public
}

func newDevice() (*device.Device, device.NoisePublicKey) {
	dev := device.NewDevice(tuntest.NewChannelTUN().TUN(), conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
	private, public := newKey()
	must(dev.SetPrivateKey(private))
	return dev, public
}

// measureHandshake prints full handshakes a second, both ends in this process.
func measureHandshake() {
	here, herePublic := newDevice()
	var there []*device.Device
	var peersHere, peersThere []*device.Peer
	for range nPairs {
		dev, public := newDevice()
		a, err := here.NewPeer(public)
		must(err)
		b, err := dev.NewPeer(herePublic)
		must(err)
		there, peersHere, peersThere = append(there, dev), append(peersHere, a), append(peersThere, b)
	}
	n, begin := 0, time.Now()
	for time.Since(begin) < shakeFor {
		for i, dev := range there {
			init, err := here.CreateMessageInitiation(peersHere[i])
			must(err)
			if dev.ConsumeMessageInitiation(init) == nil {
				continue // too soon after the last one
			}
			resp, err := dev.CreateMessageResponse(peersThere[i])
			must(err)
			if here.ConsumeMessageResponse(resp) == nil {
				log.Fatal("response refused")
			}
			must(peersHere[i].BeginSymmetricSession())
			must(peersThere[i].BeginSymmetricSession())
			n++
		}
	}
	fmt.Printf("{\"handshakes\": %.6g}\n", float64(n)/time.Since(begin).Seconds())
}
