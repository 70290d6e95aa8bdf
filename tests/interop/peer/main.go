// SPDX-License-Identifier: MIT

// Command peer is the other side of the interop tests: real nodes, servers and tools, put together from
// the packages of the module tailscale.com. Each sub-command lies in a file of its own and registers itself.
package main

import (
	"fmt"
	"os"
	"sort"
)

// command is one sub-command: run gets the arguments behind its name.
type command struct {
	help string
	run  func(args []string) error
}

// commands is filled by the init functions of the other files and only read afterwards.
var commands = map[string]command{}

func register(name, help string, run func(args []string) error) {
	if _, taken := commands[name]; taken {
		panic("two sub-commands named " + name)
	}
	commands[name] = command{help, run}
}

func usage() {
	names := make([]string, 0, len(commands))
	for name := range commands {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintln(os.Stderr, "usage: peer SUB-COMMAND [ARGUMENT...]")
	for _, name := range names {
		fmt.Fprintf(os.Stderr, "  %-12s %s\n", name, commands[name].help)
	}
	os.Exit(2)
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	chosen, known := commands[os.Args[1]]
	if !known {
		usage()
	}
	if err := chosen.run(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "peer %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
