// Package kubernetes holds what "keyturn render kubernetes" prints, the Helm chart and the container image against what Kubernetes,
// Helm and BuildKit themselves say, as far as their Go packages go: there is no cluster here. It is a module of its own, so that
// those packages stay out of Keyturn's.
package kubernetes
