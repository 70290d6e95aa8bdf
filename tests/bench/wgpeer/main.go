// SPDX-License-Identifier: MIT

// Command wgpeer is a peer that contrib/bench measures: a WireGuard interface made of the Go module
// golang.zx2c4.com/wireguard, configured with wg(8) over its usual socket. With -measure it times the
// module's AEAD or handshake instead.
package main

import (
	"log"
	"os"
	"os/signal"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "-measure" && os.Args[2] == "aead":
		measureAEAD()
	case len(os.Args) == 3 && os.Args[1] == "-measure" && os.Args[2] == "handshake":
		measureHandshake()
	case len(os.Args) == 2:
		run(os.Args[1])
	default:
		log.Fatal("usage: wgpeer INTERFACE | wgpeer -measure aead|handshake")
	}
}

func run(name string) {
	link, err := tun.CreateTUN(name, 1280)
	if err != nil {
		log.Fatal(err)
	}
	file, err := ipc.UAPIOpen(name)
	if err != nil {
		log.Fatal(err)
	}
	dev := device.NewDevice(link, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, name+": "))
	socket, err := ipc.UAPIListen(name, file)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			go dev.IpcHandle(c)
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	select {
	case <-stop:
	case <-dev.Wait():
	}
	socket.Close()
	dev.Close()
}
