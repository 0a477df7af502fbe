// Package sdks installs the providers' own SDKs for Python and Node, and runs the programs of test/clients that talk to a
// gateway through them. A machine needs no more than Python 3.11 for it: Node comes out of a Python package. What is installed
// is pinned by the manifests in test/clients and kept in .cache/clients, one folder for each content of a manifest, so a second
// run installs nothing.
//
// To move on to newer versions: of Python, install the SDKs alone into an empty folder (pip install --target) and write what pip list
// --path says into requirements-<set>.txt; of Node, change package.json and run npm install --package-lock-only
// --omit-lockfile-registry-resolved beside it; of Go, go get in test/clients/go/older, or in the module itself for the newest.
//
//	client := sdks.Start(t, sdks.Client{Name: "openai-node", Language: sdks.Node, Set: "newest", Program: "openai.mjs"})
//	reply := client.Ask(t, sdks.Request{API: "responses", Mode: "stream", BaseURL: gw.URL + "/openai/v1", …})
package sdks
