// SPDX-License-Identifier: MIT

package main

import "tailscale.com/cmd/tailscale/cli"

func init() {
	register("cli", "the real command line: peer cli --socket=PATH status ...", cli.Run)
}
