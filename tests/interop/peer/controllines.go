// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

// driveControl carries out one command a line and answers each with one line: JSON, or "error: ...".
func driveControl(control *testcontrol.Server, in io.Reader, out io.Writer) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		answer, err := controlLine(control, lines.Text())
		if err == nil {
			var text []byte
			if text, err = json.Marshal(answer); err == nil {
				fmt.Fprintf(out, "%s\n", text)
			}
		}
		if err != nil {
			fmt.Fprintf(out, "error: %v\n", err)
		}
	}
}

func controlLine(control *testcontrol.Server, line string) (any, error) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "nodes":
		return control.AllNodes(), nil
	case "approve": // URL of an interactive login
		return control.CompleteAuth(rest), nil
	case "fake": // one more peer that nobody is
		control.AddFakeNode()
		return true, nil
	}
	return nodeLine(control, verb, rest)
}

// nodeLine is a command about one node: its key, then what the command needs.
func nodeLine(control *testcontrol.Server, verb, rest string) (any, error) {
	text, value, _ := strings.Cut(rest, " ")
	var node key.NodePublic
	if err := node.UnmarshalText([]byte(text)); err != nil {
		return nil, fmt.Errorf("%s: %w", verb, err)
	}
	switch verb {
	case "rename", "expire", "extend":
		changed := control.Node(node)
		if changed == nil {
			return nil, errors.New("no such node")
		}
		switch verb {
		case "rename":
			changed.Name = value
		case "extend":
			changed.KeyExpiry = time.Time{}
		case "expire":
			// The time that this server tells stands still in 2020, and our clock follows the server's.
			changed.KeyExpiry = time.Date(2019, 1, 2, 3, 4, 5, 0, time.UTC)
		}
		control.UpdateNode(changed)
		return true, nil
	case "message": // a MapResponse as it is; no others follow but these
		response := new(tailcfg.MapResponse)
		if err := json.Unmarshal([]byte(value), response); err != nil {
			return nil, err
		}
		return control.AddRawMapResponse(node, response), nil
	case "attributes": // JSON object of the node's attributes
		attributes := make(tailcfg.NodeCapMap)
		if err := json.Unmarshal([]byte(value), &attributes); err != nil {
			return nil, err
		}
		control.SetNodeCapMap(node, attributes)
		return true, nil
	case "ask": // GET of this path inside the node
		return askNode(control, node, value)
	}
	return nil, fmt.Errorf("unknown command %q", verb)
}

func askNode(control *testcontrol.Server, node key.NodePublic, path string) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", "http://node"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := control.NodeRoundTripper(node).RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return map[string]any{"status": response.StatusCode, "body": string(body)}, err
}
