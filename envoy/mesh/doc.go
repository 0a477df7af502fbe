// Package mesh renders the resources that attach Keyturn to Envoys which a control plane configures: Istio's proxies, and the Gateways of Envoy
// Gateway.
package mesh
