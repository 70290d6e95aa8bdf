// SPDX-License-Identifier: MIT

// Command wgpeer is the measure of tunnel.py: a WireGuard interface made of the Go module
// golang.zx2c4.com/wireguard, configured with wg(8) over its usual socket.
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
	if len(os.Args) != 2 {
		log.Fatal("usage: wgpeer INTERFACE")
	}
	name := os.Args[1]
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
